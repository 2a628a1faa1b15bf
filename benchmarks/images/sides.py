"""Two ways to build the same image: the rules, and buildah by docker/Dockerfile."""

import gzip
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.oci.dockerfile.buildah import Buildah
from tools.oci.image.layout import Layout

_LAYER_NAME = "org.retort.layer"
_WRITING = re.compile(r"Writing the layer (\S+) of \S+")
_CHANGED = "python/retort/core/cli.py"
"""A file that every image has."""


@dataclass(frozen=True)
class Layer:
    """A layer of an image.

    Attributes:
        seconds: to write it; None where that is not known.
        size: bytes as stored.
    """

    name: str
    digest: str
    size: int
    seconds: float | None = None


@dataclass(frozen=True)
class Image:
    """An image that was built: its digest, and its layers from the lowest to the highest."""

    digest: str
    layers: tuple[Layer, ...]
    configuration: Layer

    @property
    def size(self) -> int:
        """Bytes of all layers."""
        return sum(layer.size for layer in self.layers)


def moved(before: Image, after: Image) -> int:
    """Bytes of blobs that a registry with the image before does not have, manifest apart."""
    there = {blob.digest for blob in (*before.layers, before.configuration)}
    blobs = {blob.digest: blob.size for blob in (*after.layers, after.configuration)}
    return sum(size for digest, size in blobs.items() if digest not in there)


def copy_checkout(source: Path, target: Path) -> None:
    """Copies what builds need; a benchmark changes it."""
    ignored = shutil.ignore_patterns(".git", "bazel-*", "runs")
    shutil.copytree(source, target, ignore=ignored)


def change_code(checkout: Path, mark: object) -> None:
    """Adds a line to one file of our code; another `mark` is another change."""
    source = checkout / _CHANGED
    source.write_text(f"{source.read_text(encoding='utf-8')}\n# {mark}\n", encoding="utf-8")


def seconds(work: Callable[[], object]) -> float:
    """How long it takes; what was written before is on the disk first."""
    os.sync()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def read_layout(path: Path, durations: dict[str, float]) -> Image:
    """An image of a layout.

    Args:
        durations: seconds by the layers' names.
    """
    layout = Layout.open(path)
    layers = []
    for number, descriptor in enumerate(layout.layers):
        name = descriptor.annotations.get(_LAYER_NAME, f"layer {number + 1}")
        layers.append(Layer(name, descriptor.digest, descriptor.size, durations.get(name)))
    configuration = layout.blobs[-1]
    return Image(
        layout.image.digest,
        tuple(layers),
        Layer("configuration", configuration.digest, configuration.size),
    )


def layer_seconds(profile: Path) -> dict[str, float]:
    """How long each layer's action took, from a profile that Bazel wrote (Chrome's trace format)."""
    content = profile.read_bytes()
    events = json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    found: dict[str, float] = {}
    for event in events["traceEvents"]:
        match = _WRITING.search(event.get("name", ""))
        if match and event.get("cat") == "action processing":
            found[match[1]] = found.get(match[1], 0.0) + event["dur"] / 1e6
    return found


@dataclass(frozen=True)
class Rules:
    """`bazel build` in a checkout, with an output base of its own."""

    checkout: Path
    output_base: Path
    image: str

    @property
    def profile(self) -> Path:
        """Where the last build's profile is."""
        return self.output_base.with_suffix(".profile.gz")

    def build(self) -> None:
        """Builds the image; what did not change is not built again."""
        self._bazel("build", f"--profile={self.profile}", f"//docker:{self.image}")

    def forget_layers(self) -> None:
        """Removes all that was built; wheels stay unpacked in their repositories."""
        self._bazel("clean")

    def built(self) -> Image:
        """The image of the last build."""
        layout = self.checkout / "bazel-bin/docker" / f"{self.image}_cpu"
        return read_layout(layout, layer_seconds(self.profile))

    def stop(self) -> None:
        """Ends the server and removes its files."""
        self._bazel("shutdown")
        subprocess.run(["chmod", "-R", "u+w", self.output_base], check=False)
        shutil.rmtree(self.output_base, ignore_errors=True)

    def _bazel(self, *arguments: str) -> None:
        command = ["./tools/bazel", f"--output_base={self.output_base}", *arguments]
        _run(command, self.checkout)


@dataclass(frozen=True)
class Dockerfile:
    """`buildah build` of docker/Dockerfile in a checkout; the storage has an image `builder`."""

    checkout: Path
    buildah: Buildah
    image: str
    scratch: Path

    def build(self) -> None:
        """Builds the image; layers that are cached are used."""
        arguments = {"BUILDER": "localhost/builder", "BASE": "localhost/builder"}
        self.buildah.build(self.checkout, self.image, arguments)

    def forget_layers(self) -> None:
        """Removes every image but the builder; pip's cache stays."""
        self.buildah.forget_layers(["builder"])

    def built(self) -> Image:
        """The image of the last build, its layers as buildah pushes them: by gzip."""
        layout = self.scratch / "exported"
        shutil.rmtree(layout, ignore_errors=True)
        self.buildah.export(self.image, layout)
        return read_layout(layout, {})

    def stop(self) -> None:
        """Removes the storage."""
        self.buildah.remove()


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\nfailed:\n{(done.stdout + done.stderr)[-4000:]}")
