"""Buildifier, which no Python wheel carries: the npm package, pinned by the digest of its program."""

import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile

_PACKAGE = "@bazel/buildifier@8.2.1"
_SHA256 = {
    "linux_amd64": "6ceb7b0ab7cf66fceccc56a027d21d9cc557a7f34af37d2101edb56b92fcfa1a",
    "linux_arm64": "3baa1cf7eb41d51f462fdd1fff3a6a4d81d757275d05b2dd5f48671284e9a1a5",
}


def buildifier() -> str:
    """The path of the program, fetched on first use into the user's cache; its digest is checked each time."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"{platform.system().lower()}_{machine}"
    if name not in _SHA256:
        sys.exit(f"buildifier: no digest is recorded for {name}")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    program = pathlib.Path(cache, "retort", "buildifier", _SHA256[name], "buildifier")
    if not program.is_file():
        _fetch(f"package/buildifier-{name}", program)
    if hashlib.sha256(program.read_bytes()).hexdigest() != _SHA256[name]:
        program.unlink()
        sys.exit(f"buildifier: what {_PACKAGE} holds is not the pinned program; it was removed")
    return str(program)


def _fetch(member: str, program: pathlib.Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        sys.exit(
            "buildifier comes as an npm package, and there is no npm here (Debian: apt-get install npm)"
        )
    print(f"retort: fetching {_PACKAGE}", file=sys.stderr, flush=True)
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as name:
        folder = pathlib.Path(name)
        subprocess.run(
            [npm, "pack", "--silent", _PACKAGE], cwd=folder, stdout=subprocess.DEVNULL, check=True
        )
        (package,) = folder.glob("*.tgz")
        with tarfile.open(package) as archive:
            content = archive.extractfile(member)
            if content is None:
                sys.exit(f"buildifier: {_PACKAGE} holds no {member}")
            fresh = folder / "buildifier"
            fresh.write_bytes(content.read())
        fresh.chmod(0o755)
        fresh.rename(program)
