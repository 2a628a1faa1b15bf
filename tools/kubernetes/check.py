"""`bazel run //launch:check -- FILES_OR_DIRECTORIES`: holds manifests to their schemas and to what jobs need."""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence

from retort.core.cli import Arguments, Invocation, run
from retort.core.errors import UserError, one_line
from retort.launch.rules.check import check
from retort.launch.rules.documents import Applied, Document, Finding, read, read_stream
from retort.launch.rules.schemas import Schemas
from tools.python.wheel_programs import wheel_program


def main(arguments: Sequence[str]) -> int:
    """Print each thing that is wrong in a line of its own, and end with 2; or tell what was held to what."""
    options = _parser().parse_args(arguments)
    invocation = Invocation.from_environment()
    definitions = os.environ.get("RETORT_CRDS")
    schemas = Schemas(invocation.resolve(definitions) if definitions else None)
    found: list[Finding] = []
    documents: list[Document] = []
    sets = list(_read(options.paths, invocation))
    for applied in sets:
        documents += applied.documents
        found += check(applied, schemas, options.there)
    if not documents and not found:
        raise UserError("there are no objects in what was given; see that it is what you meant")
    unknown = sorted(
        {f"{one.api_version} {one.kind}" for one in documents if not schemas.knows(one)}
    )
    if options.json:
        findings = [dataclasses.asdict(one) for one in found]
        said = {"objects": len(documents), "sets": len(sets), "without_schema": unknown}
        print(json.dumps({**said, "findings": findings}))
        return UserError.exit_code if found else 0
    for one in found:
        print(f"error: {one_line(str(one))}", file=sys.stderr)
    if found:
        return UserError.exit_code
    without = f"; without a schema: {', '.join(unknown)} (RETORT_CRDS)" if unknown else ""
    print(f"checked {len(documents)} objects in {len(sets)} sets{without}")
    return 0


def _read(paths: Sequence[str], invocation: Invocation) -> Iterator[Applied]:
    if "-" in paths:
        yield read_stream(sys.stdin)
    resolved = [invocation.resolve(path) for path in paths if path != "-"]
    yield from read(resolved, wheel_program("kubectl"), invocation.working_directory)


def _there(text: str) -> str:
    kind, _, name = text.partition("/")
    if not kind or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND/NAME, such as secret/token")
    return f"{kind.lower()}/{name}"


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(prog="check", description="Check manifests.", allow_abbrev=False)
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="FILE_OR_DIRECTORY",
        help="manifests; directories of them, also with kustomizations; - is standard input",
    )
    parser.add_argument(
        "--there",
        action="append",
        default=[],
        type=_there,
        metavar="KIND/NAME",
        help="an object that the namespace has already, such as persistentvolumeclaim/runs",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object, with what is wrong in it"
    )
    return parser


if __name__ == "__main__":
    run(main)
