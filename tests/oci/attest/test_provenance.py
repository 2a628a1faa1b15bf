"""Provenance: what the statement says of image, commit, locks and base, and that a dirty checkout is not hidden."""

import json
import pathlib
import subprocess
from typing import Any

import pytest

from tests.oci.small_images import SmallLayer, write_image
from tools.oci import errors
from tools.oci.attest import provenance
from tools.oci.errors import ImageError
from tools.oci.image.layout import Layout, sha256_file

BASE = f"sha256:{'cd' * 32}"


def git(checkout: pathlib.Path, *arguments: str) -> str:
    settings = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *settings, *arguments], cwd=checkout, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "checkout"
    (path / "locks").mkdir(parents=True)
    (path / "locks/cpu.lock").write_text("a==1\n")
    git(path, "init", "--quiet")
    git(path, "add", ".")
    git(path, "commit", "--quiet", "--message=first")
    return path


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> Layout:
    layers = [SmallLayer("base", {"a": b"a"}, "+zstd"), SmallLayer("app", {"b": b"b"}, "+zstd")]
    return write_image(tmp_path / "image", layers, {"org.opencontainers.image.base.digest": BASE})


def run(layout: Layout, checkout: pathlib.Path, *more: str) -> dict[str, Any]:
    out = checkout.parent / "statement.json"
    out.unlink(missing_ok=True)
    provenance.main(
        [
            f"--layout={layout.path}",
            "--target=//docker:training",
            f"--checkout={checkout}",
            f"--locks={checkout}/locks/cpu.lock",
            f"--out={out}",
            *more,
        ]
    )
    content: dict[str, Any] = json.loads(out.read_bytes())
    return content


def test_it_says_what_was_built_from_what(layout: Layout, checkout: pathlib.Path) -> None:
    lock = sha256_file(checkout / "locks/cpu.lock").removeprefix("sha256:")
    assert run(layout, checkout) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "name": "training",
                "digest": {"sha256": layout.image.digest.removeprefix("sha256:")},
            }
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:retort:bazel-image:v1",
                "externalParameters": {
                    "target": "//docker:training",
                    "architecture": "amd64",
                    "compression": "zstd",
                },
                "internalParameters": {"sourceTreeClean": True},
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": git(checkout, "rev-parse", "HEAD")}},
                    {"name": "locks/cpu.lock", "digest": {"sha256": lock}},
                    {"name": "base image", "digest": {"sha256": "cd" * 32}},
                ],
            },
            "runDetails": {"builder": {"id": "urn:retort:local-build"}},
        },
    }


def test_builder_source_and_run_are_said_when_they_are_given(
    layout: Layout, checkout: pathlib.Path
) -> None:
    predicate = run(
        layout,
        checkout,
        "--builder-id=urn:example:builder",
        "--build-type=urn:example:type",
        "--source-uri=git+ssh://example.org/retort",
        "--invocation-id=17",
    )["predicate"]
    assert predicate["runDetails"] == {
        "builder": {"id": "urn:example:builder"},
        "metadata": {"invocationId": "17"},
    }
    definition = predicate["buildDefinition"]
    assert definition["buildType"] == "urn:example:type"
    assert definition["resolvedDependencies"][0]["uri"] == "git+ssh://example.org/retort"


def test_labels_of_the_image_are_parameters_of_its_build(
    tmp_path: pathlib.Path, checkout: pathlib.Path
) -> None:
    prefix = "org.opencontainers.image."
    labels = {
        prefix + "revision": git(checkout, "rev-parse", "HEAD"),
        prefix + "source": "https://example.org/retort",
        prefix + "version": "1.2.0",
        prefix + "title": "small",
    }
    layers = [SmallLayer("app", {"b": b"b"})]
    labelled = write_image(tmp_path / "labelled", layers, labels=labels)
    definition = run(labelled, checkout)["predicate"]["buildDefinition"]
    parameters = definition["externalParameters"]
    assert parameters["revision"] == labels[prefix + "revision"]
    assert parameters["version"] == "1.2.0"
    assert "title" not in parameters
    assert definition["resolvedDependencies"][0]["uri"] == "https://example.org/retort"
    labels[prefix + "revision"] = "0" * 40
    other = write_image(tmp_path / "other", layers, labels=labels)
    with pytest.raises(ImageError, match=r"built as revision 0{40}, but the checkout is at"):
        run(other, checkout)


def test_it_is_the_same_every_time(layout: Layout, checkout: pathlib.Path) -> None:
    run(layout, checkout)
    first = (checkout.parent / "statement.json").read_bytes()
    run(layout, checkout)
    assert (checkout.parent / "statement.json").read_bytes() == first


@pytest.mark.parametrize("path", ["locks/cpu.lock", "new.py"], ids=["changed", "added"])
def test_a_dirty_checkout_is_said_and_can_be_refused(
    layout: Layout, checkout: pathlib.Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(layout, checkout, "--require-clean")
    (checkout / path).write_text("other\n")
    definition = run(layout, checkout)["predicate"]["buildDefinition"]
    assert definition["internalParameters"] == {"sourceTreeClean": False}
    with pytest.raises(SystemExit) as end:
        errors.run(lambda: void(run(layout, checkout, "--require-clean")))
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "has changes that are not in commit" in line


def void(_: object) -> None:
    """Drops a result."""


def test_layers_compressed_differently_are_all_named(
    tmp_path: pathlib.Path, checkout: pathlib.Path
) -> None:
    layers = [SmallLayer("base", {"a": b"a"}), SmallLayer("app", {"b": b"b"}, "+gzip")]
    definition = run(write_image(tmp_path / "mixed", layers), checkout)["predicate"][
        "buildDefinition"
    ]
    assert definition["externalParameters"]["compression"] == "gzip+none"
    assert "base image" not in json.dumps(definition)


def test_what_is_no_checkout_is_refused(
    layout: Layout, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(ImageError, match="not a git repository"):
        run(layout, tmp_path)


def test_a_missing_lock_is_refused(layout: Layout, checkout: pathlib.Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.lock: No such file"):
        run(layout, checkout, "--locks", f"{checkout}/gone.lock")


@pytest.mark.parametrize("target", ["", "//docker:", "//"])
def test_what_is_no_target_is_refused(layout: Layout, checkout: pathlib.Path, target: str) -> None:
    with pytest.raises(ImageError, match="not a target"):
        run(layout, checkout, f"--target={target}")
