"""Describes and packs the images that were built last: `bazel run //tools/ci/workflows:image_reports -- --help`.

The job that builds images runs it; jobs after that one, which install nothing, read the pack with `images.py`.
"""

import argparse
import os
import pathlib
import tarfile
from collections.abc import Sequence

from tools.ci.workflows.images import IMAGES
from tools.oci import errors, paths
from tools.oci.attest.provenance import Build, Source, lock_digest, statement
from tools.oci.attest.sbom import read_digest, sbom
from tools.oci.image import contents as contents_file
from tools.oci.image.layout import Layout, canonical_json
from tools.oci.report.markdown import markdown
from tools.oci.report.page import page
from tools.oci.report.size_changes import APP_BUDGET, budgets, compare
from tools.oci.report.sizes import measure, read_sizes


def report(
    checkout: pathlib.Path, built: pathlib.Path, out: pathlib.Path, sizes: pathlib.Path
) -> str:
    """Describes and packs the images.

    Args:
        checkout: what they were built from; it must be clean.
        built: where `IMAGE_cpu`, its `.digest` and `.contents.json` are.
        out: gets `reports/`, and `images.tar` with a folder for each image: layout, SBOM and provenance.
        sizes: those of an earlier build, if there are any; they are compared, and replaced by this build's.
    Returns:
        The sizes and what changed of them, as Markdown.
    Raises:
        ImageError: an image is not there or not what it should be, or the checkout has changes.
    """
    source = Source.of(checkout, require_clean=True)
    requirements = checkout / "third_party/requirements/cpu.lock"
    files = [requirements, *checkout.glob("third_party/debian/*.lock")]
    locks = [lock_digest(file, checkout) for file in files]
    reports = out / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    sizes.mkdir(parents=True, exist_ok=True)
    said = []
    with tarfile.open(out / "images.tar", "w", dereference=True) as pack:
        for image in IMAGES:
            layout = Layout.open(built / f"{image}_cpu")
            document = contents_file.document(built / f"{image}_cpu.contents.json")
            digest = read_digest(built / f"{image}_cpu.digest")
            measured = measure(layout, contents_file.parse(document), {})
            earlier = sizes / f"{image}.json"
            changes = compare(read_sizes(earlier), measured) if earlier.is_file() else None
            limits = budgets(measured, None, None, APP_BUDGET)
            said.append(markdown(measured, changes, limits))
            for path in (reports / earlier.name, earlier):
                path.write_bytes(canonical_json(measured.to_json()))
            (reports / f"{image}.html").write_bytes(page(measured, changes, limits).encode())
            attached = {
                "sbom.json": sbom(document, digest),
                "provenance.json": statement(layout, Build(f"//docker:{image}"), source, locks),
            }
            pack.add(layout.path, f"{image}/layout")
            for name, content in attached.items():
                path = reports / f"{image}.{name}"
                path.write_bytes(content)
                pack.add(path, f"{image}/{name}")
    return "\n".join(said)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the reports and the pack; the sizes go to standard output and into the summary of the workflow's run.

    Raises:
        ImageError: as `report`.
    """
    parser = argparse.ArgumentParser(prog="image_reports", description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", required=True, type=paths.given)
    parser.add_argument("--sizes", required=True, type=paths.given)
    parser.add_argument("--checkout", default=paths.given("."), type=paths.given)
    parser.add_argument("--built", default=paths.given("bazel-bin/docker"), type=paths.given)
    options = parser.parse_args(arguments)
    text = report(options.checkout, options.built, options.out, options.sizes)
    print(text)
    if "GITHUB_STEP_SUMMARY" in os.environ:
        with pathlib.Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    errors.run(main)
