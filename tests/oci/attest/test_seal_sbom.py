"""The bill of materials sealed beside its image."""

import json
import pathlib

import pytest

from retort.core.seal import verify
from tools.oci.attest import seal_sbom
from tools.oci.attest.sbom import sbom
from tools.oci.errors import ImageError
from tools.oci.image.layout import canonical_json, sha256_file

DIGEST = f"sha256:{'ab' * 32}"
PACKAGE = {"type": "pypi", "name": "a", "version": "1", "sha256": "0" * 64, "licence": "MIT"}
DOCUMENT = {"image": "training_cpu", "packages": [PACKAGE]}


@pytest.fixture
def arguments(tmp_path: pathlib.Path) -> list[str]:
    (tmp_path / "given.json").write_bytes(canonical_json(DOCUMENT))
    (tmp_path / "digest").write_text(f"{DIGEST}\n")
    (tmp_path / "cpu.lock").write_text("a==1\n")
    return [
        f"--contents={tmp_path}/given.json",
        f"--digest-file={tmp_path}/digest",
        f"--lock={tmp_path}/cpu.lock",
    ]


def test_it_seals_the_bill_with_what_it_belongs_to(
    tmp_path: pathlib.Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "training.sbom"
    out.mkdir()  # as a build's declared directory is
    seal_sbom.main([*arguments, f"--out={out}"])
    sealed = verify(out, kind="sbom")
    assert sealed.read("sbom.cdx.json") == sbom(DOCUMENT, DIGEST)
    assert json.loads(sealed.read("contents.json")) == DOCUMENT
    assert sealed.manifest.inputs == {
        "image": DIGEST,
        "cpu.lock": sha256_file(tmp_path / "cpu.lock"),
    }
    assert capsys.readouterr().out == f"seal {sealed.seal} {out}\n"


def test_the_seal_follows_from_the_inputs_alone(
    tmp_path: pathlib.Path, arguments: list[str]
) -> None:
    for name in ("one", "two"):
        seal_sbom.main([*arguments, f"--out={tmp_path}/{name}"])
    (tmp_path / "cpu.lock").write_text("a==2\n")
    seal_sbom.main([*arguments, f"--out={tmp_path}/three"])
    one, two, three = (verify(tmp_path / name).seal for name in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_two_locks_of_one_name_are_refused(tmp_path: pathlib.Path, arguments: list[str]) -> None:
    with pytest.raises(ImageError, match=r"two locks have the name cpu\.lock"):
        seal_sbom.main([*arguments, arguments[-1], f"--out={tmp_path}/out"])
    assert not (tmp_path / "out").exists()


def test_what_is_in_the_way_is_left_alone(tmp_path: pathlib.Path, arguments: list[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    with pytest.raises(ImageError, match="not sealed"):
        seal_sbom.main([*arguments, f"--out={tmp_path}/out"])
    assert (tmp_path / "out/mine").read_text() == "mine"
