"""`bazel run //docker:update`: chooses the newest Debian packages of the base image and locks them.

It asks the mirrors of the machine's own apt configuration (Debian 12); none is written into the repository.
"""

import datetime
import email.parser
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from email.message import Message

from third_party.debian.lock import Deb, Lock, read_wanted, unmet

_RELEASE = "bookworm"
_ARCHITECTURE = "amd64"


def _apt(command: Sequence[str], state: str) -> str:
    options = [f"Dir::State={state}/state", f"Dir::Cache={state}/cache", "APT::Sandbox::User=root"]
    arguments = [command[0], *(word for option in options for word in ("-o", option)), *command[1:]]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        sys.exit(f"there is no {command[0]} here: packages are locked on Debian 12")
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return done.stdout


def _newest(name: str, state: str) -> Message:
    text = _apt(["apt-cache", "show", "--no-all-versions", f"{name}:{_ARCHITECTURE}"], state)
    return email.parser.Parser().parsestr(text.strip().partition("\n\n")[0])


def _archive(name: str, fields: Message, state: str) -> str:
    """The archive that offers a version: the directory before the path in the file's address."""
    package = f"{name}:{_ARCHITECTURE}={fields['Version']}"
    line = _apt(["apt-get", "download", "--print-uris", package], state)
    address = line.split("'")[1]
    pool = str(fields["Filename"]).partition("/")[0]
    return address.partition(f"/{pool}/")[0].rpartition("/")[2]


def main() -> None:
    """Writes `base.lock`; says which versions moved."""
    checkout = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    if checkout is None:
        sys.exit("run it through Bazel: it writes into the checkout")
    folder = pathlib.Path(checkout, "third_party/debian")
    wanted = read_wanted(folder / "base.in")
    debs, depends = [], {}
    with tempfile.TemporaryDirectory() as state:
        for part in ("state/lists/partial", "cache/archives/partial"):
            pathlib.Path(state, part).mkdir(parents=True)
        print("reading the package lists of apt's mirrors", file=sys.stderr, flush=True)
        _apt(["apt-get", "update"], state)
        if f" {_RELEASE}\n" not in _apt(
            ["apt-get", "indextargets", "--format", "x $(CODENAME)"], state
        ):
            sys.exit(f"apt's mirrors here are not of Debian's {_RELEASE}")
        for name in sorted(wanted.names):
            fields = _newest(name, state)
            depends[name] = [str(fields.get(key, "")) for key in ("Depends", "Pre-Depends")]
            debs.append(
                Deb(
                    name=name,
                    version=str(fields["Version"]),
                    architecture=str(fields["Architecture"]),
                    archive=_archive(name, fields, state),
                    path=str(fields["Filename"]),
                    size=int(str(fields["Size"])),
                    sha256=str(fields["SHA256"]),
                )
            )
    if problems := unmet(wanted, depends):
        sys.exit("base.in neither takes nor leaves out:\n" + "\n".join(problems))
    date = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT000000Z")
    target = folder / "base.lock"
    before = target.read_text() if target.exists() else ""
    for deb in debs:
        if f'"version": "{deb.version}"' not in before:
            print(f"{deb.name} {deb.version}", file=sys.stderr)
    target.write_text(Lock(_RELEASE, _ARCHITECTURE, date, tuple(debs)).to_text())


if __name__ == "__main__":
    main()
