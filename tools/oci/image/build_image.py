"""Writes an image layout, its digest and its contents; the rule `oci_image` runs this."""

import argparse
import json
import pathlib
from collections.abc import Sequence

from tools.oci import errors
from tools.oci.image.image import Layer, check_entrypoint, configuration, contents, manifest, merged
from tools.oci.image.layout import (
    BASE_DIGEST,
    MANIFEST,
    REF_NAME,
    Descriptor,
    describe,
    write_layout,
)


def _layer(text: str) -> Layer:
    blob, index, descriptor = text.split("\t")
    return Layer.read(pathlib.Path(blob), pathlib.Path(index), descriptor)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the layout.

    Raises:
        ImageError: the layers cannot be one image, or its entry point is not in it.
    """
    parser = argparse.ArgumentParser(fromfile_prefix_chars="@", allow_abbrev=False)
    parser.add_argument("--name", required=True)
    parser.add_argument("--settings", required=True, type=pathlib.Path)
    parser.add_argument("--base-digest", type=pathlib.Path, help="file with the digest of the base")
    parser.add_argument(
        "--layer", action="append", default=[], help="BLOB<tab>INDEX<tab>DESCRIPTOR"
    )
    parser.add_argument("--layout", required=True, type=pathlib.Path)
    parser.add_argument("--digest", required=True, type=pathlib.Path)
    parser.add_argument("--contents", required=True, type=pathlib.Path)
    options = parser.parse_args(arguments)

    settings = json.loads(options.settings.read_bytes())
    layers = [_layer(text) for text in options.layer]
    check_entrypoint(merged(layers), settings["entrypoint"], settings["env"])
    config = configuration(settings, layers)
    annotations = dict(settings["annotations"])
    if options.base_digest:
        annotations[BASE_DIGEST] = options.base_digest.read_text().strip()
    image = manifest(config, layers, annotations)
    described: Descriptor = describe(MANIFEST, image, **{REF_NAME: "latest"})
    files = {layer.descriptor.digest: layer.blob for layer in layers}
    new = {describe(MANIFEST, config).digest: config, described.digest: image}
    write_layout(options.layout, described, files, new)
    options.digest.write_text(f"{described.digest}\n")
    options.contents.write_bytes(contents(options.name, layers))


if __name__ == "__main__":
    errors.run(main)
