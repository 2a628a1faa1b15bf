"""What the workflow of images does beside its gate: `python3 tools/ci/workflows/images.py label|scan|push --help`.

`label` builds what is published, with its commit and version; `scan` and `push` read the pack of
`//tools/ci/workflows:image_reports` in jobs of their own. A scanner and another registry are settings; without them
nothing fails. Only the standard library of Python 3.11 is used here: these jobs install nothing.
"""

import argparse
import base64
import contextlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(CHECKOUT))

from tools.oci import errors  # noqa: E402
from tools.oci.errors import ImageError  # noqa: E402
from tools.oci.image.layout import Layout  # noqa: E402

IMAGES = ("training", "inference")
_PINNED = re.compile(r"[a-z0-9][a-z0-9.:/_-]*@sha256:[0-9a-f]{64}")
_ATTACHED = {
    "sbom.json": "application/vnd.cyclonedx+json",
    "provenance.json": "application/vnd.in-toto+json",
}


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise ImageError(f"{shlex.join(command)} ended with {done.returncode}")
    return done.stdout


def _setting(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise ImageError(f"{name} is not set: it is a variable of the repository's settings")
    return value


def label(source: str, revision: str, version: str) -> None:
    """Builds the images with labels for the repository, the commit and, of a release, the version.

    Their layers are those without.

    Raises:
        ImageError: a word is not fit for a label, or the build failed.
    """
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ImageError(f"the revision is {revision!r}; it is a commit in 40 hexadecimal digits")
    if not re.fullmatch(r"([0-9A-Za-z][0-9A-Za-z.+-]*)?", version):
        raise ImageError(f"the version is {version!r}; it is like 1.2.0, or empty between releases")
    if not re.fullmatch(r"https?://[\w.:/-]+", source):
        raise ImageError(f"the source is {source!r}; it is the address of the repository")
    labels = {"source": source, "revision": revision, "version": version}
    flags = (f"--//docker:{name}={value}" for name, value in labels.items())
    _run(["./tools/bazel", "build", *flags, *(f"//docker:{image}" for image in IMAGES)])


def _unpack(pack: pathlib.Path, folder: pathlib.Path) -> None:
    with tarfile.open(pack) as archive:
        for member in archive:
            path = pathlib.PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts:
                raise ImageError(
                    f"{pack.name}: the member {member.name!r} would be written outside"
                )
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                with (folder / path).open("xb") as file:
                    shutil.copyfileobj(content, file)
    for image in IMAGES:
        if found := Layout.open(folder / image / "layout").problems():
            raise ImageError(f"{image}: {'; '.join(found)}")


def scan(pack: pathlib.Path, out: pathlib.Path) -> None:
    """Runs the scanner's container on each image; it leaves `IMAGE.sarif`.

    SCANNER_IMAGE names it by digest; without it nothing is scanned, and a notice says so. SCANNER_COMMAND is its
    arguments; `{image}` in them becomes the path of the layout and `{report}` that of the SARIF file.

    Raises:
        ImageError: the scanner is not named by digest, failed, or left no SARIF.
    """
    scanner = os.environ.get("SCANNER_IMAGE", "")
    if not scanner:
        print(
            "::notice::no scanner is set (SCANNER_IMAGE, SCANNER_COMMAND): the images were not scanned"
        )
        return
    command = shlex.split(_setting("SCANNER_COMMAND"))
    if not _PINNED.fullmatch(scanner):
        raise ImageError(f"SCANNER_IMAGE is {scanner!r}; it must be pinned: NAME@sha256:…")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        _unpack(pack, pathlib.Path(name))
        for image in IMAGES:
            places = {"{image}": f"/images/{image}/layout", "{report}": f"/reports/{image}.sarif"}
            words = []
            for word in command:
                for mark, place in places.items():
                    word = word.replace(mark, place)  # noqa: PLW2901
                words.append(word)
            _run(
                [
                    *("docker", "run", "--rm", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"),
                    *("--security-opt=no-new-privileges", f"--user={os.getuid()}:{os.getgid()}"),
                    *(f"--volume={name}:/images:ro", f"--volume={out.resolve()}:/reports"),
                    *(scanner, *words),
                ]
            )
            _check_sarif(out / f"{image}.sarif")


def _check_sarif(path: pathlib.Path) -> None:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ImageError(f"the scanner left no SARIF: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("runs"), list):
        raise ImageError(f"{path.name} is not SARIF: it has no runs")


def image_repository() -> str:
    """Where images go: what IMAGE_REPOSITORY says, nowhere ("") where it is `off`, else GitHub's registry."""
    named = os.environ.get("IMAGE_REPOSITORY", "")
    if named == "off":
        return ""
    return named or f"ghcr.io/{_setting('GITHUB_REPOSITORY').lower()}"


@contextlib.contextmanager
def signed_in(repository: str) -> Iterator[dict[str, str]]:
    """The environment of a program that asks a registry: the credentials are in a file that is gone afterwards.

    They are REGISTRY_USER's and REGISTRY_TOKEN's.

    Raises:
        ImageError: one of them is not set.
    """
    user, token = _setting("REGISTRY_USER"), _setting("REGISTRY_TOKEN")
    with tempfile.TemporaryDirectory() as name:
        auth = base64.b64encode(f"{user}:{token}".encode()).decode()
        config = {"auths": {repository.partition("/")[0]: {"auth": auth}}}
        file = pathlib.Path(name, "config.json")
        file.touch(mode=0o600)
        file.write_text(json.dumps(config), encoding="utf-8")
        environment = {key: value for key, value in os.environ.items() if key != "REGISTRY_TOKEN"}
        yield environment | {"DOCKER_CONFIG": name}


def push(pack: pathlib.Path, tag: str) -> None:
    """Pushes each image of a pack with its SBOM and provenance, and tells the workflow the digests.

    The image repository is `HOST/NAME`; images go to `HOST/NAME/IMAGE`. Without one a notice is all. REGISTRY_USER and
    REGISTRY_TOKEN are handed on in a file that is gone when this ends.

    Raises:
        ImageError: a setting is missing, the pack is damaged, or the push failed.
    """
    repository = image_repository()
    if not repository:
        print("::notice::IMAGE_REPOSITORY is off: the images were not pushed")
        return
    with tempfile.TemporaryDirectory() as name, signed_in(repository) as environment:
        folder = pathlib.Path(name)
        _unpack(pack, folder)
        said = [f"repository={repository}\n"]
        for image in IMAGES:
            attached = [f"{folder / image / file}:{kind}" for file, kind in _ATTACHED.items()]
            print(
                _run(
                    [
                        *(sys.executable, "-m", "tools.oci.distribution.push"),
                        *("--layout", str(folder / image / "layout")),
                        *("--repository", f"{repository}/{image}", "--tag", tag),
                        *(f"--attach={one}" for one in attached),
                    ],
                    environment,
                ),
                end="",
            )
            digest = Layout.open(folder / image / "layout").image.digest
            said.append(f"{image}={digest}\n")
    if "GITHUB_OUTPUT" in os.environ:
        with pathlib.Path(os.environ["GITHUB_OUTPUT"]).open("a") as file:
            file.writelines(said)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one step.

    Raises:
        ImageError: it cannot be done.
    """
    parser = argparse.ArgumentParser(prog="tools/ci/workflows/images.py", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    labelling = steps.add_parser("label")
    labelling.add_argument("--source", required=True)
    labelling.add_argument("--revision", required=True)
    labelling.add_argument("--version", default="")
    scanning = steps.add_parser("scan")
    scanning.add_argument("--images", required=True, type=pathlib.Path)
    scanning.add_argument("--out", required=True, type=pathlib.Path)
    pushing = steps.add_parser("push")
    pushing.add_argument("--images", required=True, type=pathlib.Path)
    pushing.add_argument("--tag", required=True)
    options = parser.parse_args(arguments)
    if options.step == "label":
        label(options.source, options.revision, options.version)
    elif options.step == "scan":
        scan(options.images, options.out)
    else:
        push(options.images, options.tag)


if __name__ == "__main__":
    errors.run(main)
