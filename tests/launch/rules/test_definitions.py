"""Custom kinds, held to CustomResourceDefinitions where there is a directory of them."""

from pathlib import Path

import pytest

from retort.core.errors import UserError
from tools.kubernetes.check import main

_WIDGET = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: widgets.example.org
spec:
  group: example.org
  names:
    kind: Widget
    plural: widgets
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            apiVersion:
              type: string
            kind:
              type: string
            metadata:
              type: object
            spec:
              type: object
              properties:
                port:
                  x-kubernetes-int-or-string: true
                kind:
                  type: string
                  enum: [round, square]
                free:
                  type: object
                  x-kubernetes-preserve-unknown-fields: true
"""


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ("{port: 8080, kind: round, free: {a: 1}}", ""),
        ("{port: http}", ""),
        ("{prot: 8080}", "spec.prot: unknown key; did you mean port?"),
        ("{kind: oval}", "spec.kind: cannot be"),
        ("{port: [1]}", "spec.port: cannot be [1]"),
    ],
)
def test_a_custom_kind_is_held_to_its_definition_where_there_is_one(
    spec: str,
    what: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "widget.yaml"
    file.write_text(
        f"apiVersion: example.org/v1\nkind: Widget\nmetadata: {{name: a}}\nspec: {spec}\n"
    )
    monkeypatch.delenv("RETORT_CRDS", raising=False)
    assert main([str(file)]) == 0
    assert "without a schema: example.org/v1 Widget" in capsys.readouterr().out
    definitions = tmp_path / "crds/example"
    definitions.mkdir(parents=True)
    (definitions / "widget.yaml").write_text(_WIDGET)
    monkeypatch.setenv("RETORT_CRDS", str(tmp_path / "crds"))
    code, lines = main([str(file)]), capsys.readouterr().err.splitlines()
    assert (code, len(lines)) == ((2, 1) if what else (0, 0)), lines
    assert what in "".join(lines)


def test_a_directory_of_definitions_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETORT_CRDS", str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"RETORT_CRDS: .*absent is not a directory"):
        main([str(tmp_path)])
