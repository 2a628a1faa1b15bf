"""Writes the layer of a root file system out of Debian packages; the rule `oci_debian_layer` runs this."""

import argparse
import pathlib
from collections.abc import Sequence

from tools.oci import errors
from tools.oci.layers import faults, layer
from tools.oci.layers.bytecode import compiled, scratch_folder
from tools.oci.layers.debian_files import certificate_bundle, packages
from tools.oci.layers.layer import Entry, Tree


def _users(user: str) -> list[Entry]:
    name, _, number = user.partition(":")
    return [
        layer.file(
            "etc/passwd",
            b"root:x:0:0:root:/root:/usr/sbin/nologin\n"
            + f"{name}:x:{number}:{number}:{name}:/tmp:/usr/sbin/nologin\n".encode(),
        ),
        layer.file("etc/group", f"root:x:0:\n{name}:x:{number}:\n".encode()),
        layer.file("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n"),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the layer and its index.

    Raises:
        ImageError: a package cannot be unpacked, or two want one path.
    """
    parser = argparse.ArgumentParser(fromfile_prefix_chars="@", allow_abbrev=False)
    parser.add_argument("--name", required=True)
    parser.add_argument("--tar", required=True, type=pathlib.Path)
    parser.add_argument("--index", required=True, type=pathlib.Path)
    parser.add_argument("--plant", default="none", choices=faults.LAYER_FAULTS)
    parser.add_argument("--interpreter", type=pathlib.Path)
    parser.add_argument("--deb", action="append", default=[], type=pathlib.Path)
    parser.add_argument("--user", required=True, help="NAME:ID")
    options = parser.parse_args(arguments)
    tree = packages(sorted(options.deb, key=lambda deb: deb.name))
    entries = [*tree.entries, *certificate_bundle(tree.entries), *_users(options.user)]
    with scratch_folder() as scratch:
        if options.interpreter:
            entries += compiled(entries, options.interpreter, pathlib.Path(scratch))
        canonical = faults.planted(layer.canonical(entries), options.plant)
        layer.write_layer(options.name, Tree(canonical, tree.packages), options.tar, options.index)


if __name__ == "__main__":
    errors.run(main)
