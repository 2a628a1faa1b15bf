"""Proves that a build depends on nothing around it.

The checkout is copied to two places and built twice: other output bases, other umask, time zone, locale, home and
user environment, and the second time inside a network namespace with no way out. Then every output file (content,
mode, link) and every action of the execution logs must agree. With each flag that `--control` names, which plants a
fault, the builds must differ.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_NOT_COPIED = {".git", "runs", "user.bazelrc", "__pycache__", ".mypy_cache", ".ruff_cache"}

# Bazel's own notes of when and where it ran, and what actions print. No action here reads them, and the execution logs
# would show one that did.
_NOTES = {"stable-status.txt", "volatile-status.txt", "_tmp"}


@dataclass(frozen=True)
class World:
    """Where and how one of the builds runs."""

    name: str
    checkout: pathlib.Path
    output_base: pathlib.Path
    umask: int
    environment: dict[str, str]
    networkless: bool


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


def _worlds(folder: pathlib.Path) -> tuple[World, World]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME") or name.startswith("RETORT_")
    }
    other_home = folder / "somebody else"
    other_home.mkdir()
    return (
        World(
            "one",
            folder / "one",
            folder / "output-1",
            0o022,
            kept | {"TZ": "UTC", "LANG": "C.UTF-8"},
            networkless=False,
        ),
        World(
            "two",
            folder / "deeper" / "another-place",
            folder / "deeper" / "output-of-the-second",
            0o077,
            kept
            | {
                "HOME": str(other_home),
                "LANG": "tr_TR.UTF-8",
                "LC_ALL": "de_DE.UTF-8",
                "PYTHONPATH": "/nowhere",
                "TZ": "Asia/Kathmandu",
                "USER": "somebody",
                "SOURCE_DATE_EPOCH": "1",
            },
            networkless=_can_unshare(),
        ),
    )


def _can_unshare() -> bool:
    """Whether this user may make a network namespace (root may; in many containers nobody may)."""
    command = ["unshare", "-n", "ip", "link", "set", "lo", "up"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _bazel(world: World, *arguments: str) -> None:
    command = ["./tools/bazel", f"--output_base={world.output_base}", *arguments]
    if world.networkless:
        command = ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", *command]
    done = subprocess.run(
        command,
        cwd=world.checkout,
        env=world.environment,
        umask=world.umask,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\nthe build in world {world.name} failed")


def _fetch(world: World, targets: Sequence[str]) -> None:
    # What is fetched is pinned by digest, and fetched as the user would; the proof is about what happens then.
    fetching = dataclasses.replace(world, environment=dict(os.environ), networkless=False)
    _bazel(fetching, "build", "--nobuild", "--symlink_prefix=/", *targets)
    _bazel(fetching, "shutdown")


def _build(world: World, targets: Sequence[str], flags: Sequence[str] = ()) -> Evidence:
    log = world.output_base.with_suffix(".execution-log.json")
    print(" ".join([f"building in world {world.name}", *flags]), file=sys.stderr, flush=True)
    _bazel(
        world,
        "build",
        f"--execution_log_json_file={log}",
        "--symlink_prefix=/",
        "--noshow_progress",
        *flags,
        *targets,
    )
    roots = {
        str(world.output_base).encode(): b"<output base>",
        str(world.checkout).encode(): b"<checkout>",
    }
    return Evidence(dict(_outputs(world.output_base, roots)), sorted(_actions(log)))


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


def _prove(folder: pathlib.Path, targets: Sequence[str], controls: Sequence[str]) -> int:
    worlds = _worlds(folder)
    alike = []
    try:
        for world in worlds:
            copy_checkout(world.checkout)
            _fetch(world, targets)
        one, two = (_build(world, targets) for world in worlds)
        for control in controls:
            planted = differences(*(_build(world, targets, control.split()) for world in worlds))
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
    places = "without a network" if worlds[1].networkless else "(this user may not cut the network)"
    print(
        f"{len(one.outputs)} output files and {len(one.actions)} actions compared; "
        f"the second build ran {places}: " + ("NOT hermetic" if found else "hermetic"),
        file=sys.stderr,
    )
    return 1 if found else 0


def main(arguments: Sequence[str]) -> int:
    """Returns 0 if both builds agree in everything."""
    parser = argparse.ArgumentParser(prog="tools/ci/hermetic.py", description=__doc__)
    parser.add_argument("targets", nargs="+")
    parser.add_argument(
        "--control",
        action="append",
        default=[],
        metavar="FLAGS",
        help="plant a fault, as --control=--//tools/oci:plant=owner; may be given again",
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="retort-hermetic-") as name:
        try:
            return _prove(pathlib.Path(name), options.targets, options.control)
        finally:
            subprocess.run(["chmod", "-R", "u+w", name], check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
