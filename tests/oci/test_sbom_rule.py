"""What the rule oci_sbom makes, run by Bazel over `tiny.contents.json`."""

import json
import pathlib
import shutil

from retort.core.seal import verify
from tools.oci.sbom import read_digest, sbom

HERE = pathlib.Path(__file__).parent


def test_the_rule_seals_the_bill_with_image_and_lock(tmp_path: pathlib.Path) -> None:
    digest = read_digest(HERE / "tiny.digest")
    contents = json.loads((HERE / "tiny.contents.json").read_bytes())
    # A sandbox shows files as links, which a sealed directory must not hold.
    shutil.copytree(HERE / "tiny.sbom", tmp_path / "tiny.sbom")
    sealed = verify(tmp_path / "tiny.sbom", kind="sbom")
    assert sealed.read("sbom.cdx.json") == sbom(contents, digest)
    assert sealed.manifest.inputs.keys() == {"image", "cpu.lock"}
    assert sealed.manifest.inputs["image"] == digest
