"""Has pip fetch what is pinned from where this machine's pip settings say, or else from the index that a lock names.

The repository rules run this with the standard library alone.
"""

import configparser
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

_LISTS = ("extra-index-url", "find-links", "trusted-host")
_WHERE = (
    *("cert", "client-cert", "default-timeout", "index-url", "keyring-provider", "no-index"),
    *("proxy", "pypi-url", "resume-retries", "retries", "timeout", *_LISTS),
)
"""The settings that say where pip looks for packages and how it gets there. No other is taken from the user."""

_PLACES = ("index-url", "pypi-url", "no-index", "extra-index-url", "find-links")
_FIXED = ("--no-deps", "--require-hashes")
_METADATA_ONLY = pathlib.Path(__file__).parents[1] / "source_archives/metadata_only.py"


class FetchError(Exception):
    """A distribution cannot be had; the message is one line that says where it was looked for and what to do."""


def refuse(message: object) -> NoReturn:
    """Ends a program with one line."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


@dataclass(frozen=True)
class Index:
    """Where a distribution is that the common index does not have."""

    distribution: str
    address: str

    @property
    def variable(self) -> str:
        """The environment variable that replaces the address."""
        return f"RETORT_{self.distribution.upper().replace('-', '_')}_INDEX"

    def chosen(self) -> str:
        """The address, or what replaces it.

        Raises:
            FetchError: the variable holds no address.
        """
        named = os.environ.get(self.variable) or self.address
        if not re.match(r"(https?|file)://", named):
            raise FetchError(
                f"{self.variable} is '{named}'; it must be the address of an index, such as {self.address} "
                f"(for a folder of wheels: pip config set global.find-links FOLDER)"
            )
        return named

    def to_line(self) -> str:
        """The comment in a lock's header."""
        return f"# Index of {self.distribution}: {self.address}"


def read_indexes(lock: str) -> dict[str, Index]:
    """The indexes that the header of a lock names, by distribution."""
    found = re.findall(r"^# Index of (\S+): (\S+)$", lock, re.MULTILINE)
    return {distribution: Index(distribution, address) for distribution, address in found}


def _files() -> Iterator[pathlib.Path]:
    """pip's configuration files (https://pip.pypa.io/en/stable/topics/configuration/), the strongest last."""
    named = os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    home = os.path.expanduser("~")
    everybody = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    yield from (pathlib.Path(folder, "pip/pip.conf") for folder in everybody.split(os.pathsep))
    yield pathlib.Path("/etc/pip.conf")
    if not (named and os.path.exists(named)):
        yield pathlib.Path(home, ".pip/pip.conf")
        own = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        yield pathlib.Path(own, "pip/pip.conf")
    yield pathlib.Path(sys.base_prefix, "pip.conf")
    if named:
        yield pathlib.Path(named)


def settings() -> dict[str, str]:
    """Where the user has pip look, of files and variables alike: the option's name to its value.

    Raises:
        FetchError: a configuration file cannot be read.
    """
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, "download": {}}
    for path in _files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            said = str(error).replace("\n", " ")
            raise FetchError(f"pip's configuration file {path} cannot be read: {said}") from error
        for section in sections.keys() & set(parser.sections()):
            for key, value in parser.items(section):
                sections[section][key.lower().replace("_", "-").removeprefix("--")] = value
    found = {key: value for section in sections.values() for key, value in section.items() if value}
    for name, value in os.environ.items():
        if name.startswith("PIP_") and value:
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return {key: value for key, value in found.items() if key in _WHERE}


def _environment(where: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))
    }
    fixed = {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return (
        kept
        | fixed
        | {f"PIP_{key.upper().replace('-', '_')}": value for key, value in where.items()}
    )


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)


def _describe(where: Mapping[str, str]) -> str:
    named = [f"{key} {' '.join(where[key].split())}" for key in _PLACES if key in where]
    return f"pip's settings ({_without_password('; '.join(named)) or 'the default index alone'})"


def _reason(said: str) -> str:
    """Why pip failed, in a few words of its own."""
    if "DO NOT MATCH THE HASHES" in said:
        return "the bytes there are not those pinned"
    if "EOFError" in said:
        return "it asks for a name and a password"
    errors = re.findall(r"^ERROR: (.+)$", said, re.MULTILINE)
    broken = re.findall(r"Could not fetch URL (.+?)(?: - skipping)?$", said, re.MULTILINE)
    if broken and (not errors or "No matching distribution" in errors[-1]):
        cause = re.search(r"Caused by (.+)\)$", broken[-1])
        text = re.sub(r"<[^<>]*>: ", "", cause[1] if cause else broken[-1])  # of Python's objects
    else:
        text = (errors or said.strip().splitlines() or ["pip failed"])[-1]
    return _without_password(text)[:300]


def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Runs pip; returns why it failed, or None."""
    base = getattr(sys, "_base_executable", sys.executable)  # a virtual environment may lack pip
    done = subprocess.run(
        [base, "-P", "-m", "pip", "-vv", "download", *_FIXED, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return _reason(done.stdout) if done.returncode else None


def _attempts(index: Index | None) -> Iterator[tuple[str, dict[str, str]]]:
    """Where to look, in order: what it is called, and pip's environment for it.

    Raises:
        FetchError: the variable that names an index does not hold an address.
    """
    where = settings()
    yield _describe(where), _environment(where)
    if index is None:
        return
    address = index.chosen()
    # Who tells pip to ask no index means that one too, unless he names it himself.
    asked = where.get("no-index", "0").lower() in ("0", "f", "false", "n", "no", "off")
    if asked or os.environ.get(index.variable):
        rest = {key: value for key, value in where.items() if key not in _PLACES}
        yield _without_password(address), _environment(rest | {"index-url": address})


def fetch(
    requirements: Sequence[str],
    into: pathlib.Path,
    folder: pathlib.Path,
    *,
    source: bool = False,
    index: Index | None = None,
    python_version: str | None = None,
) -> None:
    """Fetches distributions without what they need, and refuses other bytes than those pinned.

    Args:
        requirements: each `NAME==VERSION --hash=sha256:DIGITS …`.
        into: a folder for the wheels or source archives.
        folder: for temporary files.
        source: whether source archives are wanted; none of their code runs.
        index: where to look after pip's own settings.
        python_version: for which the wheels are, such as "3.12", if not for this one.
    Raises:
        FetchError: no place has them.
    """
    several = f"{len(requirements)} distributions"
    names = requirements[0].split()[0] if len(requirements) == 1 else several
    print(f"retort: fetching {names}", file=sys.stderr, flush=True)
    listed = folder / "requirements.txt"
    listed.write_text("".join(f"{one}\n" for one in requirements), encoding="utf-8")
    arguments = [f"--requirement={listed}", f"--dest={into}"]
    python = {}
    if source:
        backend = folder / "backend/setuptools"
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        shutil.copy(_METADATA_ONLY, backend / "build_meta.py")
        python = {"PYTHONPATH": str(backend.parent)}
        arguments += ["--no-binary=:all:", "--use-pep517", "--no-build-isolation", "--no-cache-dir"]
    else:
        arguments += ["--only-binary=:all:"]
    if python_version is not None:
        arguments += [f"--python-version={python_version}"]
    tried: list[str] = []
    for place, environment in _attempts(index):
        if tried:
            print(f"retort: {names}: looking at {place}", file=sys.stderr, flush=True)
        reason = _run(arguments, environment | python)
        if reason is None:
            return
        tried.append(f"{place}: {reason}")
    where = (
        "pip's index-url, extra-index-url or find-links (pip config set global.find-links FOLDER)"
    )
    advice = f"{index.variable} to an index that has it, or {where}" if index else where
    raise FetchError(f"{names} cannot be fetched. {'. '.join(tried)}. Set {advice}")


def requirement(distribution: str, version: str, hashes: Sequence[str]) -> str:
    """A line for `fetch`; hashes are `sha256:` and 64 hexadecimal digits."""
    return " ".join([f"{distribution}=={version}", *(f"--hash={digest}" for digest in hashes)])
