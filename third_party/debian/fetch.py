"""Fetches the Debian packages of a lock. A package is taken, by its digest, from the first place that has it:

1. the store beside the user's other caches (`RETORT_DEB_STORE`, by default `~/.cache/retort/debs`);
2. the mirrors of the machine's apt, where there is one;
3. the mirror that `RETORT_DEBIAN_MIRROR` names;
4. the archive of snapshots that `RETORT_DEBIAN_SNAPSHOTS` names, which keeps what mirrors have dropped.

Run by debian.bzl with the standard library alone.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

sys.path.append(str(pathlib.Path(__file__).parents[2]))
from third_party.debian.lock import Deb, Lock, read

_APT_HELPER = pathlib.Path("/usr/lib/apt/apt-helper")
_TIMEOUT_SECONDS = 60


def _store() -> pathlib.Path:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(os.environ.get("RETORT_DEB_STORE") or os.path.join(cache, "retort", "debs"))


def _apt_mirrors() -> list[str]:
    """Addresses of archives, each with a slash at its end; none where there is no apt."""
    if not _APT_HELPER.exists():
        return []
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return sorted({line.rstrip("/") + "/" for line in done.stdout.split()})


def addresses(lock: Lock, deb: Deb, apt: list[str]) -> Iterator[tuple[str, bool]]:
    """Where a package may be, in order, and whether apt's own client should fetch it."""
    path = urllib.parse.quote(deb.path)
    for mirror in apt:
        if mirror.endswith(f"/{deb.archive}/"):
            yield mirror + path, True
    if mirror := os.environ.get("RETORT_DEBIAN_MIRROR", ""):
        yield f"{mirror.rstrip('/')}/{deb.archive}/{path}", False
    if snapshots := os.environ.get("RETORT_DEBIAN_SNAPSHOTS", ""):
        yield f"{snapshots.rstrip('/')}/archive/{deb.archive}/{lock.date}/{path}", False


def _download(address: str, by_apt: bool, deb: Deb, target: pathlib.Path) -> str:
    """Fetches to a file; returns what is wrong, or an empty word."""
    if by_apt:
        command = [str(_APT_HELPER), "-o", "APT::Sandbox::User=root", "-qq"]
        command += ["download-file", address, str(target), f"SHA256:{deb.sha256}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["apt-helper failed"])[0]
    else:
        try:
            with (
                urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as answer,
                target.open("wb") as file,
            ):
                shutil.copyfileobj(answer, file)
        except (OSError, urllib.error.URLError, ValueError) as error:
            return str(error)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    return "" if digest == deb.sha256 else f"has the digest {digest}, not {deb.sha256}"


def fetch(lock: Lock, deb: Deb, apt: list[str], store: pathlib.Path) -> pathlib.Path:
    """Returns the package's file in the store.

    Raises:
        SystemExit: no place has it; says what to do.
    """
    home = store / f"{deb.sha256}.deb"
    if home.exists() and hashlib.sha256(home.read_bytes()).hexdigest() == deb.sha256:
        return home
    store.mkdir(parents=True, exist_ok=True)
    tried = []
    with tempfile.TemporaryDirectory(dir=store, prefix=".fetch-") as temporary:
        part = pathlib.Path(temporary, "deb")
        for address, by_apt in addresses(lock, deb, apt):
            problem = _download(address, by_apt, deb, part)
            if not problem:
                part.chmod(0o444)
                part.replace(home)
                return home
            tried.append(f"  {address}: {problem}")
    sys.exit(
        f"{deb.name} {deb.version} is in no place that was asked; mirrors keep the newest version alone.\n"
        + "\n".join(tried or ["  nothing was asked: there is no apt here"])
        + "\nName a mirror (RETORT_DEBIAN_MIRROR) or an archive of snapshots (RETORT_DEBIAN_SNAPSHOTS) that has it,\n"
        "or lock the newest on Debian 12: bazel run //docker:update"
    )


def main() -> None:
    """Puts every package of a lock into a directory as `NAME.deb`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lock", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args()
    os.umask(0o022)
    lock = read(options.lock)
    apt, store = _apt_mirrors(), _store()
    for deb in lock.debs:
        shutil.copyfile(fetch(lock, deb, apt, store), options.out / f"{deb.name}.deb")


if __name__ == "__main__":
    main()
