"""`bazel run //docker:golden`: the digests that images must have.

They stand in a file that is checked in, image by image and layer by layer, so that a review sees which layers a change
touches. Layers of our own sources, which change with every commit, are left out: two builds of them are compared
(tools/ci/hermetic.py), and their digests printed. Without `--check` the file is written anew. It is the air-gapped
engine's: newer ones unpack wheels otherwise, so what they build is compared with what they build elsewhere alone.
"""

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tools.oci import errors
from tools.oci.errors import ImageError
from tools.oci.image.image import LAYER_NAME
from tools.oci.image.layout import CONFIG, Layout, canonical_json, describe

Digests = Mapping[str, Mapping[str, Any]]

# Keys of a configuration that follow from its layers.
_OF_LAYERS = ("history", "rootfs")


def digests(
    layouts: Sequence[pathlib.Path], sources: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """Image to the digests of its configuration, as far as it follows from no layer, and of its layers.

    Args:
        sources: names of layers that are left out.
    Raises:
        ImageError: a layout is none, or a blob in it has other content.
    """
    found = {}
    for path in layouts:
        layout = Layout.open(path)
        if problems := layout.problems():
            raise ImageError(f"{path}: {problems[0]}")
        layers = {layer.annotations[LAYER_NAME]: layer.digest for layer in layout.layers}
        print(f"{path.name}: {layout.image.digest}", file=sys.stderr)
        for name in sorted(layers.keys() & set(sources)):
            print(f"  {name}: {layers.pop(name)}", file=sys.stderr)
        own = {key: value for key, value in layout.config.items() if key not in _OF_LAYERS}
        configuration = describe(CONFIG, canonical_json(own)).digest
        found[path.name] = {"configuration": configuration, "layers": layers}
    return found


def differences(golden: Digests, built: Digests) -> list[str]:
    """What is not as the golden file says, a line for each image, configuration and layer."""
    found = []
    for name in sorted({*golden, *built}):
        if name not in golden or name not in built:
            where = "built" if name in built else "in the file"
            found.append(f"{name}: only {where}")
            continue
        old, new = golden[name], built[name]
        pairs = [("configuration", old["configuration"], new["configuration"])]
        for layer in {**old["layers"], **new["layers"]}:
            before, after = (side["layers"].get(layer, "nothing") for side in (old, new))
            pairs.append((f"layer {layer}", before, after))
        found += [
            f"{name}: {what}: {before} became {after}"
            for what, before, after in pairs
            if before != after
        ]
        if list(old["layers"]) != list(new["layers"]) and old["layers"] == new["layers"]:
            found.append(f"{name}: the layers lie in another order")
    return found


def is_airgap(runfiles: pathlib.Path) -> bool:
    """Whether a program was built by the air-gapped engine: engines with modules write a mapping of repositories."""
    return not (runfiles / "_repo_mapping").exists()


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the golden file, or compares with it.

    Raises:
        ImageError: a layout cannot be read, or another engine than the file's would write it.
    """
    parser = argparse.ArgumentParser(prog="bazel run //docker:golden --")
    parser.add_argument("--file", required=True, type=pathlib.Path)
    parser.add_argument("--layout", action="append", required=True, type=pathlib.Path)
    parser.add_argument(
        "--sources", action="append", default=[], metavar="LAYER", help="is left out"
    )
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args(arguments)
    if not is_airgap(pathlib.Path(os.environ.get("RUNFILES_DIR", "."))):
        said = f"{options.file} holds digests of the air-gapped engine, and this is another one"
        if not options.check:
            raise ImageError(f"{said}: RETORT_ENGINE=airgap ./tools/bazel run //docker:golden")
        print(f"not compared: {said}; tools/ci/hermetic.py compares two builds", file=sys.stderr)
        return
    built = digests(options.layout, options.sources)
    target = pathlib.Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."), options.file)
    golden = json.loads(target.read_text()) if target.exists() else {}
    changes = differences(golden, built)
    print(
        "\n".join(changes or ["every layer and configuration has the digest of the golden file"]),
        file=sys.stderr,
    )
    if not options.check:
        target.write_text(json.dumps(built, indent=2) + "\n")
    elif changes:
        print(
            f"{options.file} says otherwise. If your change is meant to change these layers:\n"
            "  ./tools/bazel run //docker:golden",
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    errors.run(main)
