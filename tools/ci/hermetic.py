"""Proves that a build depends on nothing around it.

The checkout is copied to two places and built twice: other output bases, other umask, time zone, locale, home and
user environment, and the second time inside a network namespace with no way out. Then every output file (content,
mode, link) and every action of the execution logs must agree. With each flag that `--control` names, which plants a
fault, the builds must differ. Where no network namespace can be had, nothing is proven: that is said, and fails in CI.

What is fetched is pinned by digest; it is fetched before the builds, with the network and in the very environment in
which each world builds. Both worlds know where the user fetches from, and use the user's downloads.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_NOT_COPIED = {".git", "runs", "user.bazelrc", "__pycache__", ".mypy_cache", ".ruff_cache"}

# Bazel's own notes of when and where it ran, and what actions print. No action here reads them, and the execution logs
# would show one that did.
_NOTES = {"stable-status.txt", "volatile-status.txt", "_tmp"}

# What says which engine runs, and where it and packages are fetched from. An engine that keys a repository on one of
# these fetches it again, without a network, if it is not the same while building.
_KEPT = {"HOME", "NETRC", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "XDG_CONFIG_HOME"}
_KEPT |= {"CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"}
_KEPT_PREFIXES = ("BAZELISK_", "PIP_", "RETORT_", "RULES_PYTHON_", "USE_BAZEL_")
_PROXIES = {"all_proxy", "ftp_proxy", "http_proxy", "https_proxy", "no_proxy"}

# The user's own settings of the same: world two's home has links to them.
_SETTINGS = (".bazeliskrc", ".config/pip", ".netrc", ".pip")

# Ways into a network namespace, for root and for others. Each keeps the user.
_WAYS_IN = (
    ("unshare", "--net"),
    ("unshare", "--user", "--map-current-user", "--keep-caps", "--net"),
    ("bwrap", "--dev-bind", "/", "/", "--unshare-net"),
)

# Runs the rest of its arguments with the loopback interface up (SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP).
_ENTER = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    name, flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, 0x8913, struct.pack("16s16x", b"lo")))
    if not flags & 1:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", name, flags | 1))
os.execvp(sys.argv[1], sys.argv[1:])
"""

# Says which process it is, and stays until its standard input ends.
_STAY = """
import os, sys
print(os.getpid(), flush=True)
sys.stdin.read()
"""

# Says so if loopback works and nothing else can be reached: a datagram socket asks for a route, and sends nothing.
_PROBE = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname()).close()
try:
    socket.socket(type=socket.SOCK_DGRAM).connect(("192.0.2.1", 9))
except OSError:
    print("cut off")
"""


@dataclass(frozen=True)
class World:
    """Where and how one of the builds runs. `cut` is the command that takes the network from one; empty if none."""

    name: str
    checkout: pathlib.Path
    output_base: pathlib.Path
    umask: int
    environment: dict[str, str]
    cut: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What a build left: files by path, and spawned actions in an order of their own."""

    outputs: dict[str, str]
    actions: list[str]


def copy_checkout(target: pathlib.Path) -> None:
    """Copies the files of the working tree, tracked or not, without what was built from them."""

    def left_out(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if name in _NOT_COPIED or name.startswith("bazel-")]

    shutil.copytree(CHECKOUT, target, symlinks=True, ignore=left_out)


def kept(environment: Mapping[str, str]) -> dict[str, str]:
    """What both worlds have of the user's environment: which engine, and where from and whereto it fetches."""
    found = {
        name: value
        for name, value in environment.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES) or name.lower() in _PROXIES
    }
    home = pathlib.Path(environment["HOME"])
    caches = pathlib.Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    # Where Bazelisk keeps engines and the air-gapped engine wheels, as they find it themselves in the user's home.
    bazelisk = found.pop("BAZELISK_HOME_LINUX", "") or found.get("BAZELISK_HOME", "")
    found["BAZELISK_HOME"] = os.path.expandvars(os.path.expanduser(bazelisk)) or str(
        caches / "bazelisk"
    )
    found.setdefault("RETORT_WHEEL_STORE", str(caches / "retort/wheels"))
    return found


def _other_home(folder: pathlib.Path, home: pathlib.Path) -> pathlib.Path:
    """A home that has nothing of the user's but where to fetch from."""
    for name in _SETTINGS:
        if (home / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(home / name)
    return folder


def _worlds(
    folder: pathlib.Path, environment: Mapping[str, str], cut: tuple[str, ...]
) -> tuple[World, World]:
    both = kept(environment)
    other_home = folder / "somebody else"
    other_home.mkdir()
    return (
        World(
            "one",
            folder / "one",
            folder / "output-1",
            0o022,
            both | {"TZ": "UTC", "LANG": "C.UTF-8"},
        ),
        World(
            "two",
            folder / "deeper" / "another-place",
            folder / "deeper" / "output-of-the-second",
            0o077,
            both
            | {
                "HOME": str(_other_home(other_home, pathlib.Path(both["HOME"]))),
                "LANG": "tr_TR.UTF-8",
                "LC_ALL": "de_DE.UTF-8",
                "PYTHONPATH": "/nowhere",
                "TZ": "Asia/Kathmandu",
                "USER": "somebody",
                "SOURCE_DATE_EPOCH": "1",
            },
            cut,
        ),
    )


def network_cut() -> tuple[str, ...]:
    """The command that runs another without a network but loopback, or nothing where this user has no such command."""
    for way in _WAYS_IN:
        command = (*way, sys.executable, "-I", "-c", _ENTER)
        if _is_cut_off(command):
            return command
    return ()


def _is_cut_off(way: Sequence[str]) -> bool:
    """Whether what a command runs reaches itself and nobody else."""
    command = [*way, sys.executable, "-I", "-c", _PROBE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return False
    return done.stdout == "cut off\n"


@contextlib.contextmanager
def _one_namespace(cut: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """A command that runs others in one network namespace, if `cut` makes a new one for each.

    An engine's server goes on serving there, which from another namespace cannot be reached, and starts anew.
    """
    if not cut:
        yield cut
        return
    with subprocess.Popen(
        [*cut, sys.executable, "-I", "-c", _STAY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        number = holder.stdout.readline().strip()
        user = ("--user", "--preserve-credentials")
        for more in ((), user):
            command = ("nsenter", f"--target={number}", "--net", *more)
            if _is_cut_off(command):
                yield command
                break
        else:
            yield cut
        holder.stdin.close()


def _bazel(world: World, *arguments: str) -> str:
    """Standard output of a command in a world; ends this process if it fails."""
    # A user's own rc file is read in neither world: world two's home has none.
    command = ["./tools/bazel", "--nohome_rc", f"--output_base={world.output_base}", *arguments]
    done = subprocess.run(
        [*world.cut, *command],
        cwd=world.checkout,
        env=world.environment,
        umask=world.umask,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\nthe build in world {world.name} failed")
    return done.stdout


def _fetch(world: World, targets: Sequence[str], cache: str) -> None:
    fetching = replace(world, cut=())
    _bazel(fetching, "build", "--nobuild", "--symlink_prefix=/", cache, *targets)
    _bazel(fetching, "shutdown")


def _build(
    world: World, targets: Sequence[str], cache: str, flags: Sequence[str] = ()
) -> list[str]:
    """Builds; returns the spawned actions."""
    log = world.output_base.with_suffix(".execution-log.json")
    print(" ".join([f"building in world {world.name}", *flags]), file=sys.stderr, flush=True)
    _bazel(
        world,
        "build",
        f"--execution_log_json_file={log}",
        "--symlink_prefix=/",
        "--noshow_progress",
        cache,
        *flags,
        *targets,
    )
    return sorted(_actions(log))


def _evidence(world: World, actions: list[str]) -> Evidence:
    roots = {
        str(world.output_base).encode(): b"<output base>",
        str(world.checkout).encode(): b"<checkout>",
    }
    return Evidence(dict(_outputs(world.output_base, roots)), actions)


def _outputs(output_base: pathlib.Path, roots: dict[bytes, bytes]) -> Iterator[tuple[str, str]]:
    for bazel_out in output_base.glob("execroot/*/bazel-out"):
        for folder, folders, files in os.walk(bazel_out):
            folders[:] = [name for name in folders if name not in _NOTES]
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in [*files, *links]:
                path = pathlib.Path(folder, name)
                if name not in _NOTES:
                    yield str(path.relative_to(bazel_out)), _describe(path, roots)


def _describe(path: pathlib.Path, roots: dict[bytes, bytes]) -> str:
    if path.is_symlink():
        return f"link to {_without_roots(os.readlink(path).encode(), roots).decode()}"
    # Bazel's lists of runfiles are absolute paths by their nature; all else is compared as it is.
    if path.name in ("MANIFEST",) or path.name.endswith(".runfiles_manifest"):
        digest = hashlib.sha256(_without_roots(path.read_bytes(), roots)).hexdigest()
    else:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    # Files of arguments are Bazel's own, under the user's umask, and no action's output.
    mode = "" if path.name.endswith(".params") else f"{path.stat().st_mode & 0o777:o} "
    return f"{mode}sha256:{digest}"


def _without_roots(content: bytes, roots: dict[bytes, bytes]) -> bytes:
    for root, word in roots.items():
        content = content.replace(root, word)
    return content


def _actions(log: pathlib.Path) -> Iterator[str]:
    """One line an action: its command, environment, inputs and outputs with digests; not its times."""
    text = log.read_text()
    decoder = json.JSONDecoder()
    at = 0
    while (at := _skip_space(text, at)) < len(text):
        action, at = decoder.raw_decode(text, at)
        for passing in ("walltime", "metrics", "cacheHit", "remoteCacheHit", "runner"):
            action.pop(passing, None)
        yield json.dumps(action, sort_keys=True)


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def differences(one: Evidence, two: Evidence) -> list[str]:
    """A line for every output and every action that is not the same in both."""
    found = []
    for path in sorted(one.outputs.keys() | two.outputs.keys()):
        left, right = (side.outputs.get(path, "not there") for side in (one, two))
        if left != right:
            found.append(f"output {path}: {left}; {right}")
    for action in sorted(set(one.actions) ^ set(two.actions)):
        side = "one" if action in set(one.actions) else "two"
        found.append(f"action in world {side} alone: {action[:2000]}")
    if len(one.actions) != len(two.actions):
        found.append(f"{len(one.actions)} actions ran; {len(two.actions)} actions ran")
    return found


def verdict(found: Sequence[str], networkless: bool, in_ci: bool) -> tuple[str, int]:
    """What was shown, and the exit code: without the network cut nothing is, which is no success in CI."""
    if found:
        return "NOT hermetic", 1
    if networkless:
        return "the second build ran without a network: hermetic", 0
    return (
        "not proven hermetic: the second build had a network, as this user may cut it neither with unshare nor "
        "with bwrap (bubblewrap)",
        int(in_ci),
    )


def _prove(
    worlds: tuple[World, World],
    targets: Sequence[str],
    controls: Sequence[str],
    controlled: Sequence[str],
) -> int:
    alike = []
    try:
        for world in worlds:
            copy_checkout(world.checkout)
        # The user's own downloads, which world one's home leads to.
        cache = "--repository_cache=" + _bazel(worlds[0], "info", "repository_cache").strip()
        for world in worlds:
            _fetch(world, targets, cache)
        one, two = (_evidence(world, _build(world, targets, cache)) for world in worlds)
        for control in controls:
            # Their actions alone: the log has the digests of what they put out.
            planted = differences(
                *(
                    Evidence({}, _build(world, controlled, cache, control.split()))
                    for world in worlds
                )
            )
            print(f"{control}: {len(planted)} differences, as there should be", file=sys.stderr)
            alike += [control] * (not planted)
    finally:
        for world in worlds:
            if world.checkout.exists():
                _bazel(world, "shutdown")
    found = differences(one, two)
    if not one.outputs or not one.actions:
        found.append("nothing was compared: the targets have no outputs or no actions")
    found += [f"the control failed: the builds agree with {control}" for control in alike]
    for line in found:
        print(line)
    said, code = verdict(
        found, bool(worlds[1].cut), os.environ.get("CI", "") not in ("", "0", "false")
    )
    print(
        f"{len(one.outputs)} output files and {len(one.actions)} actions compared; {said}",
        file=sys.stderr,
    )
    return code


def main(arguments: Sequence[str]) -> int:
    """Returns 0 if both builds agree in everything; 1 if not, or in CI if the network could not be cut."""
    parser = argparse.ArgumentParser(prog="tools/ci/hermetic.py", description=__doc__)
    parser.add_argument("targets", nargs="+")
    parser.add_argument(
        "--control",
        action="append",
        default=[],
        metavar="FLAGS",
        help="plant a fault, as --control=--//tools/oci:plant=owner; may be given again",
    )
    parser.add_argument(
        "--controlled",
        action="append",
        metavar="TARGET",
        help="what is built with a fault planted; otherwise all targets",
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="retort-hermetic-") as name:
        try:
            with _one_namespace(network_cut()) as cut:
                worlds = _worlds(pathlib.Path(name), os.environ, cut)
                controlled = options.controlled or options.targets
                return _prove(worlds, options.targets, options.control, controlled)
        finally:
            subprocess.run(["chmod", "-R", "u+w", name], check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
