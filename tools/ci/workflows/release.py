"""Writes the notes of a release: `python3 tools/ci/workflows/release.py --tag v1.2.0 … --out notes.md`.

They hold what a stranger compares: digests of images, seals of sealed directories, digests of locks, and the commands
that check the attestations. Only the standard library of Python 3.11 is used here.
"""

import argparse
import hashlib
import json
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
_LOCKS = ("third_party/requirements/*.lock", "third_party/debian/*.lock", "MODULE.bazel.lock")


def seal_of(manifest: pathlib.Path) -> str:
    """The seal of the directory whose manifest this is: the SHA-256 of the canonical file.

    Raises:
        ValueError: it is no manifest.
    """
    content = manifest.read_bytes()
    if not isinstance(parsed := json.loads(content), dict) or "files" not in parsed:
        raise ValueError(f"{manifest} is no manifest of a sealed directory: it lists no files")
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def notes(
    tag: str,
    repository: str,
    source: str,
    *,
    images: Mapping[str, str],
    seals: Mapping[str, str],
    locks: Mapping[str, str],
) -> str:
    """The text, in Markdown.

    Args:
        repository: where the images are, `HOST/NAME`; images are `HOST/NAME/IMAGE`. Empty if none were pushed.
        source: the repository whose workflow signed the attestations, `OWNER/NAME`.
        images, seals, locks: `sha256:…` by name.
    """

    def table(title: str, rows: Mapping[str, str]) -> list[str]:
        lines = [f"| {title} | digest |", "|---|---|"]
        return [*lines, *(f"| `{name}` | `{digest}` |" for name, digest in rows.items()), ""]

    lines = [f"# {tag}", ""]
    if repository and images:
        pulled = {f"{repository}/{name}": digest for name, digest in images.items()}
        lines += ["## Images", "", *table("image", pulled)]
        lines += [
            "Provenance and bill of materials of each are attested by the workflow that built it:",
            "",
            "```sh",
        ]
        for name, digest in pulled.items():
            lines += [
                f"gh attestation verify oci://{name}@{digest} --repo {source}",
                f"gh attestation verify oci://{name}@{digest} --repo {source} "
                "--predicate-type https://cyclonedx.org/bom",
            ]
        lines += ["```", ""]
    lines += ["## Seals", "", *table("sealed by `//train:smoke`", seals)]
    lines += [
        "Arithmetic differs between kinds of processor, so another kind may give other seals.",
        "",
    ]
    lines += ["## Locks", "", *table("lock", locks)]
    return "\n".join(lines)


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs = dict(word.split("=", 1) for word in words if "=" in word)
    if len(pairs) != len(words):
        raise ValueError(f"not NAME=VALUE, or a name twice: {' '.join(words)}")
    return pairs


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 2 where something that the notes must hold is missing or is no digest."""
    parser = argparse.ArgumentParser(prog="tools/ci/workflows/release.py", description=__doc__)
    parser.add_argument("--tag", required=True)
    parser.add_argument("--repository", default="")
    parser.add_argument("--source", required=True, metavar="OWNER/NAME")
    parser.add_argument("--image", action="append", default=[], metavar="NAME=DIGEST")
    parser.add_argument("--seal", action="append", default=[], metavar="NAME=MANIFEST")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args(arguments)
    try:
        images = _pairs(options.image) if options.repository else {}
        seals = {name: seal_of(pathlib.Path(path)) for name, path in _pairs(options.seal).items()}
        if wrong := [
            name
            for name, digest in images.items()
            if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
        ]:
            raise ValueError(f"no digest of {', '.join(wrong)}")
        if not seals:
            raise ValueError("no seal is named")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    locks = {
        path.relative_to(
            CHECKOUT
        ).as_posix(): f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        for pattern in _LOCKS
        for path in sorted(CHECKOUT.glob(pattern))
    }
    text = notes(
        options.tag, options.repository, options.source, images=images, seals=seals, locks=locks
    )
    options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
