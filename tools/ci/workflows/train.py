"""What the workflow of training does beside the gates: `python3 tools/ci/workflows/train.py STEP --help`.

`image` pulls what will be applied, and tells its digest; `render` makes the objects of a job with it and holds them to
their rules; `proof` has it train in two pods here; `launch` and `watch` are the launcher's, on the cluster of the
kubeconfig that KUBECONFIG_CONTENT holds. Only the standard library of Python 3.11 is used here.
"""

import argparse
import contextlib
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(CHECKOUT))

from tools.ci.workflows.images import image_repository, signed_in  # noqa: E402
from tools.oci import errors  # noqa: E402
from tools.oci.errors import ImageError  # noqa: E402
from tools.oci.image.layout import Layout  # noqa: E402

OVERLAYS_IMAGE = "registry.example/retort-training"
"""As the overlays in k8s/ name it."""
_PINNED = re.compile(r"[a-z0-9][a-z0-9.:/_-]*@sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[\w][\w.-]{0,127}")
_PULLED = re.compile(r"pulled (\S+@sha256:[0-9a-f]{64}) ")
_SEAL = re.compile(r"sha256:[0-9a-f]{64}")
_SEAL_LINE = re.compile(r"^seal (sha256:[0-9a-f]{64}) ", re.MULTILINE)
_JOB = re.compile(r"[\w][\w./-]*\.yaml")
_LINES = 40
"""Of the pods' log, at its end, in the summary."""


def _bazel(target: str, *words: str, out: pathlib.Path | None = None) -> None:
    """Run one of our programs; what it prints goes to a file, too, if one is named.

    Raises:
        ImageError: it failed.
    """
    command = ["./tools/bazel", "run", target, "--", *words]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with contextlib.ExitStack() as opened:
            file = opened.enter_context(out.open("w", encoding="utf-8")) if out else None
            for line in process.stdout:
                print(line, end="", flush=True)
                if file is not None:
                    file.write(line)
                    file.flush()
    if process.returncode:
        raise ImageError(f"{shlex.join(command)} ended with {process.returncode}")


def image(given: str, tag: str, out: pathlib.Path) -> None:
    """Pull the image that a job will have, into `out/layout`; by its digest, or as a tag of main names it.

    Raises:
        ImageError: what is given is not pinned, there is no such image, or images go nowhere (IMAGE_REPOSITORY is off).
    """
    if given:
        if not _PINNED.fullmatch(given):
            raise ImageError(f"the image is {given!r}; it must be pinned: NAME@sha256:…")
        wanted = given
    else:
        repository = image_repository()
        if not repository:
            raise ImageError(
                "IMAGE_REPOSITORY is off, so no image was pushed; name one by its digest"
            )
        if not _TAG.fullmatch(tag):
            raise ImageError(f"the tag is {tag!r}; it is like main-SHA")
        wanted = f"{repository}/training:{tag}"
    out.mkdir(parents=True, exist_ok=True)
    with signed_in(wanted) as environment:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tools.oci.distribution.pull", wanted),
                *("--out", str(out.resolve() / "layout"), "--platform", "linux/amd64"),
            ],
            cwd=CHECKOUT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    found = _PULLED.search(done.stdout)
    if done.returncode or found is None:
        raise ImageError(f"{wanted} was not pulled; see that `images` has passed for this commit")
    print(done.stdout, end="")
    if "GITHUB_OUTPUT" in os.environ:
        with pathlib.Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
            file.write(f"image={found[1]}\n")


def render(job: str, image: str, out: pathlib.Path) -> None:
    """Write the objects of a job with its image to `out/objects.yaml`, and hold them to their rules.

    Raises:
        ImageError: the job or the image is not named as such are, the job is refused, or a rule does not hold.
    """
    out.mkdir(parents=True, exist_ok=True)
    objects = out / "objects.yaml"
    _bazel("//launch:render", *_job(job, image), out=objects)
    _bazel("//launch:check", str(objects))


def proof(out: pathlib.Path) -> None:
    """Train with the image, by its digest, in two pods here, of which one is killed, to the seal of a plain run.

    Raises:
        ImageError: the seals differ, or training failed.
    """
    layout = out / "layout"
    overlay = write_overlay(out, f"digest: {Layout.open(layout).image.digest}")
    _bazel(
        *("//launch:proof", "--directory", str(out / "proof"), "--kustomization", str(overlay)),
        *("--image", f"{OVERLAYS_IMAGE}={layout}"),
    )


def write_overlay(out: pathlib.Path, image: str) -> pathlib.Path:
    """The overlay `local` with another digest or tag of the image, in `out/overlay`.

    Args:
        image: the line of kustomize that says which.
    """
    place = out / "overlay"
    place.mkdir(parents=True, exist_ok=True)
    # A kustomization names its resources by where they are from it.
    local = os.path.relpath(CHECKOUT / "k8s/overlays/local", place.resolve())
    (place / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\n"
        "kind: Kustomization\n"
        f"resources:\n  - {local}\n"
        f"images:\n  - name: {OVERLAYS_IMAGE}\n    {image}\n",
        encoding="utf-8",
    )
    return place


def launch(job: str, image: str) -> None:
    """Apply a job.

    Raises:
        ImageError: KUBECONFIG_CONTENT is not set, or the cluster refuses.
    """
    with _kubeconfig() as file:
        _bazel("//launch", "launch", *_job(job, image), "--yes", "--kubeconfig", file)


def watch(job: str, image: str, out: pathlib.Path) -> None:
    """Tell what becomes of a job; `out/pods.log` is what its pods say, `out/watch.log` what the launcher does.

    Raises:
        ImageError: it did not end well.
    """
    out.mkdir(parents=True, exist_ok=True)
    logs = ("--file", str(out / "pods.log"))
    with _kubeconfig() as file:
        words = (*_job(job, image), *logs, "--kubeconfig", file)
        _bazel("//launch", "watch", *words, out=out / "watch.log")


def verify(expected: str, out: pathlib.Path) -> None:
    """Hold the seal that the run has told to the one that it must have, if one is given; `out/seal` is it.

    Raises:
        ImageError: there is none, or another.
    """
    if expected and not _SEAL.fullmatch(expected):
        raise ImageError(f"the seal to be is {expected!r}; it is like sha256:…")
    found = _seals(out)
    if len(found) != 1:
        raise ImageError(f"{len(found)} seals were told; a run that ended well has told one")
    if expected and found != {expected}:
        raise ImageError(f"the seal is {found.pop()}, not {expected}")
    seal = found.pop()
    (out / "seal").write_text(f"{seal}\n", encoding="utf-8")
    print(f"seal {seal}" + (", as expected" if expected else ""))


def summary(job: str, image: str, out: pathlib.Path) -> None:
    """Write what came of a job, with the end of what its pods said, where GITHUB_STEP_SUMMARY says, or print it."""
    seal, log = out / "seal", out / "pods.log"
    rows = {"job": job, "image": image}
    rows["seal"] = seal.read_text(encoding="utf-8").strip() if seal.is_file() else "none"
    lines = ["# Training", "", "| | |", "|---|---|"]
    lines += [f"| {name} | `{value}` |" for name, value in rows.items()]
    if log.is_file():
        text = log.read_text(encoding="utf-8", errors="replace").replace("```", "'''")
        lines += ["", "```text", *text.splitlines()[-_LINES:], "```"]
    text = "\n".join(lines) + "\n"
    if "GITHUB_STEP_SUMMARY" in os.environ:
        with pathlib.Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
            file.write(text)
    else:
        print(text, end="")


def _job(job: str, image: str) -> list[str]:
    """The arguments of a job of this checkout with an image."""
    path = pathlib.PurePosixPath(job)
    if not _JOB.fullmatch(job) or ".." in path.parts or not (CHECKOUT / path).is_file():
        raise ImageError(f"the job is {job!r}; it is the path of a .yaml in this repository")
    if not _PINNED.fullmatch(image):
        raise ImageError(f"the image is {image!r}; it must be pinned: NAME@sha256:…")
    return [job, "--set", f"image={image}"]


def _seals(out: pathlib.Path) -> set[str]:
    file = out / "watch.log"
    return set(_SEAL_LINE.findall(file.read_text(encoding="utf-8"))) if file.is_file() else set()


@contextlib.contextmanager
def _kubeconfig() -> Iterator[str]:
    """A file with what KUBECONFIG_CONTENT holds, for its owner alone, and gone afterwards."""
    content = os.environ.pop("KUBECONFIG_CONTENT", "")
    if not content.strip():
        raise ImageError(
            "KUBECONFIG_CONTENT is not set: it is the secret KUBECONFIG of the environment"
        )
    with tempfile.TemporaryDirectory() as name:
        file = pathlib.Path(name, "kubeconfig")
        file.touch(mode=0o600)
        file.write_text(content, encoding="utf-8")
        yield str(file)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one step.

    Raises:
        ImageError: it cannot be done.
    """
    parser = argparse.ArgumentParser(prog="tools/ci/workflows/train.py", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    flags = {
        "image": ("given", "tag", "out"),
        "render": ("job", "image", "out"),
        "proof": ("out",),
        "launch": ("job", "image"),
        "watch": ("job", "image", "out"),
        "verify": ("expected", "out"),
        "summary": ("job", "image", "out"),
    }
    for name, wanted in flags.items():
        step = steps.add_parser(name)
        for flag in wanted:
            step.add_argument(
                f"--{flag}", required=True, type=pathlib.Path if flag == "out" else str
            )
    options = vars(parser.parse_args(arguments))
    calls: dict[str, Callable[..., None]] = {
        "image": image,
        "render": render,
        "proof": proof,
        "launch": launch,
        "watch": watch,
        "verify": verify,
        "summary": summary,
    }
    calls[options.pop("step")](**options)


if __name__ == "__main__":
    errors.run(main)
