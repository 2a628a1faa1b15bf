"""An image out of layers: what must hold between them, its configuration and its manifest.

Follows the OCI Image Format Specification 1.1 (config.md, manifest.md).
"""

import json
import pathlib
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.oci.errors import ImageError
from tools.oci.image.layout import CONFIG, LAYER, MANIFEST, Descriptor, canonical_json, describe

MOST_LAYERS = 127
"""Of overlay file systems as container engines mount them."""
CREATED = "1970-01-01T00:00:00Z"
"""When every image was made: the real time would be in its digest."""
LAYER_NAME = "org.retort.layer"
"""Annotation of a layer's descriptor: the tier that it is."""
_MOST_LINKS = 40


@dataclass(frozen=True)
class Layer:
    """A layer that was written.

    Attributes:
        index: see `tools.oci.layers.layer.write_layer`.
        descriptor: of the blob, compressed or not.
        blob: where it lies.
    """

    index: Mapping[str, Any]
    descriptor: Descriptor
    blob: pathlib.Path

    @classmethod
    def read(cls, blob: pathlib.Path, index: pathlib.Path, descriptor: str = "") -> "Layer":
        """Reads what stands beside a blob: its index and, if it is compressed, its descriptor."""
        content = json.loads(index.read_bytes())
        if descriptor:
            described = Descriptor.from_json(json.loads(pathlib.Path(descriptor).read_bytes()))
        else:
            described = Descriptor(LAYER, content["diff_id"], content["size"])
        return cls(content, described, blob)


def merged(layers: Sequence[Layer]) -> dict[str, list[Any]]:
    """What an image holds: path to `[kind, mode, SHA-256 or link target, size]`.

    Raises:
        ImageError: two layers have different things at one path, or there are too many layers.
    """
    if len(layers) > MOST_LAYERS:
        raise ImageError(f"{len(layers)} layers; no more than {MOST_LAYERS} can be mounted")
    found: dict[str, list[Any]] = {}
    first: dict[str, str] = {}
    for layer in layers:
        name = str(layer.index["name"])
        for path, entry in layer.index["entries"].items():
            before = found.setdefault(path, entry)
            if before is entry:
                first[path] = name
            elif before != entry:
                raise ImageError(
                    f"/{path} is in the layers {first[path]} and {name}, with different content"
                )
    return found


def resolve(entries: Mapping[str, Sequence[Any]], path: str) -> str:
    """Follows the symbolic links of a path as a kernel would below the image's root.

    Raises:
        ImageError: it is not in the image.
    """
    todo = [part for part in path.split("/") if part]
    at: list[str] = []
    links = 0
    while todo:
        part = todo.pop(0)
        if part in (".", ".."):
            at = at[:-1] if part == ".." else at
            continue
        here = posixpath.join(*at, part)
        if here not in entries:
            raise ImageError(f"{path} is not in the image (no /{here})")
        kind, _, target, _ = entries[here]
        if kind != "symlink":
            at.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise ImageError(f"{path} is a loop of links")
        at = [] if target.startswith("/") else at
        todo = [step for step in target.split("/") if step] + todo
    return "/".join(at)


def check_entrypoint(
    entries: Mapping[str, Sequence[Any]], entrypoint: Sequence[str], env: Mapping[str, str]
) -> None:
    """Finds the program of an entry point, in PATH where it has no slash.

    Raises:
        ImageError: it is not in the image, or cannot be executed.
    """
    if not entrypoint:
        return
    program = entrypoint[0]
    folders = [""] if "/" in program else env.get("PATH", "").split(":")
    problem = f"{program} is in no directory of PATH"
    for folder in folders:
        try:
            resolved = resolve(entries, posixpath.join(folder, program))
        except ImageError as error:
            problem = str(error) if not folder else problem
            continue
        kind, mode, _, _ = entries[resolved]
        if kind == "file" and mode & 0o111:
            return
        problem = f"{program} is no program (/{resolved}: {kind}, mode {mode:o})"
    raise ImageError(f"entry point: {problem}")


def configuration(settings: Mapping[str, Any], layers: Sequence[Layer]) -> bytes:
    """The image's configuration.

    Args:
        settings: `architecture`, `os`, `variant`, `entrypoint`, `cmd`, `env`, `user`, `workdir`, `labels`,
            `exposed_ports`, `volumes`, `stop_signal`; those that are empty are left out.
    """
    run: dict[str, Any] = {
        "User": settings.get("user"),
        "ExposedPorts": {port: {} for port in settings.get("exposed_ports", [])},
        "Env": [f"{name}={value}" for name, value in sorted(settings.get("env", {}).items())],
        "Entrypoint": settings.get("entrypoint"),
        "Cmd": settings.get("cmd"),
        "Volumes": {path: {} for path in settings.get("volumes", [])},
        "WorkingDir": settings.get("workdir"),
        "Labels": settings.get("labels"),
        "StopSignal": settings.get("stop_signal"),
    }
    platform = {name: settings.get(name) for name in ("architecture", "os", "variant")}
    return canonical_json(
        {
            **{name: value for name, value in platform.items() if value},
            "created": CREATED,
            "config": {name: value for name, value in run.items() if value},
            "rootfs": {"type": "layers", "diff_ids": [layer.index["diff_id"] for layer in layers]},
            "history": [
                {"created": CREATED, "created_by": f"retort: {layer.index['name']}"}
                for layer in layers
            ],
        }
    )


def manifest(config: bytes, layers: Sequence[Layer], annotations: Mapping[str, str]) -> bytes:
    """The image's manifest."""
    content: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": describe(CONFIG, config).to_json(),
        "layers": [
            layer.descriptor.to_json() | {"annotations": {LAYER_NAME: layer.index["name"]}}
            for layer in layers
        ],
    }
    if annotations:
        content["annotations"] = dict(annotations)
    return canonical_json(content)


def contents(name: str, layers: Iterable[Layer]) -> bytes:
    """The packages of every layer: what an SBOM is made from.

    A requirement is named where the image has it, in whatever layer.
    """
    packages = [package for layer in layers for package in layer.index["packages"]]
    names = {package["name"] for package in packages if package["type"] == "pypi"}
    for package in packages:
        if "requires" in package:
            package["requires"] = [need for need in package["requires"] if need in names]
    packages.sort(key=lambda package: (package["type"], package["name"]))
    return canonical_json({"image": name, "packages": packages})
