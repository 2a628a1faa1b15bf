"""The proof of hermeticity itself: it passes where it should, and a planted clock makes it fail."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tools.ci import hermetic
from tools.ci.hermetic import Evidence, differences

TARGETS = "//tests/system/hermetic/..."
CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def test_what_actions_see_is_the_same_in_two_worlds_until_one_writes_the_time() -> None:
    time, nothing = (f"--//tests/system/hermetic:planted={what}" for what in ("time", "nothing"))
    command = [sys.executable, str(CHECKOUT / "tools/ci/hermetic.py"), TARGETS]
    command += [f"--control={time}", f"--control={nothing}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "1 output files and 1 actions compared" in done.stderr, done.stdout + done.stderr
    # That nothing was planted is found out, and is all that is found.
    assert done.stdout == f"the control failed: the builds agree with {nothing}\n"
    assert done.returncode == 1


@pytest.mark.parametrize(
    "other",
    [
        Evidence({"a": "555 sha256:2"}, ["x"]),
        Evidence({"a": "644 sha256:1"}, ["x"]),
        Evidence({}, ["x"]),
        Evidence({"a": "555 sha256:1", "b": "555 sha256:1"}, ["x"]),
        Evidence({"a": "555 sha256:1"}, ["y"]),
        Evidence({"a": "555 sha256:1"}, ["x", "x"]),
    ],
    ids=["content", "mode", "missing", "more", "action", "count"],
)
def test_every_kind_of_difference_is_found(other: Evidence) -> None:
    one = Evidence({"a": "555 sha256:1"}, ["x"])
    assert differences(one, one) == []
    assert differences(one, other) != []


def test_an_execution_log_is_compared_without_its_times(tmp_path: pathlib.Path) -> None:
    lines: list[list[str]] = []
    for walltime, command in [("1s", "cp a b"), ("2s", "cp a b"), ("1s", "cp a c")]:
        log = tmp_path / f"{len(lines)}.json"
        log.write_text(json.dumps({"commandArgs": [command], "walltime": walltime}, indent=1) * 2)
        lines.append(list(hermetic._actions(log)))
    assert lines[0] == lines[1]
    assert len(lines[0]) == 2
    assert lines[0] != lines[2]


# --- what is fetched, and the network


_ENGINE = """#!/bin/sh
# Says what it was asked to do, in which environment and on which network interfaces, and leaves what a build leaves.
for word; do
  case $word in
    --output_base=*) base=${word#*=} ;;
    --execution_log_json_file=*) log=${word#*=} ;;
    info) echo "$HOME/downloads" ;;
  esac
done
interfaces=$(sed 1,2d /proc/net/dev | cut -d: -f1)
{ printf '%s\\0' "$@"; printf '\\0'; env -0; printf '\\0%s' "$interfaces"; } > "@CALLS@/$$"
if [ -n "${log:-}" ]; then
  mkdir -p "$base/execroot/_main/bazel-out"
  echo output > "$base/execroot/_main/bazel-out/file"
  chmod 555 "$base/execroot/_main/bazel-out/file"
  echo '{}' > "$log"
fi
"""


class _Call:
    """One start of the engine."""

    def __init__(self, record: bytes) -> None:
        arguments, variables, interfaces = record.split(b"\0\0")
        self.arguments = arguments.decode().split("\0")
        pairs = (pair.partition("=") for pair in variables.decode().split("\0"))
        self.environment = {
            name: value for name, _, value in pairs if name not in ("PWD", "OLDPWD", "SHLVL", "_")
        }
        self.networkless = set(interfaces.decode().split()) == {"lo"}

    def has(self, *words: str) -> bool:
        return set(words) <= set(self.arguments)


def _proof(
    tmp_path: pathlib.Path, environment: dict[str, str]
) -> tuple[subprocess.CompletedProcess[str], list[_Call]]:
    """Runs the proof in a checkout of its own, whose engine writes down what it is told."""
    calls = tmp_path / "calls"
    calls.mkdir()
    checkout = tmp_path / "checkout"
    (checkout / "tools/ci").mkdir(parents=True)
    shutil.copy(hermetic.__file__, checkout / "tools/ci/hermetic.py")
    engine = checkout / "tools/bazel"
    engine.write_text(_ENGINE.replace("@CALLS@", str(calls)))
    engine.chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(checkout / "tools/ci/hermetic.py"), "//..."],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    ordered = sorted(calls.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return done, [_Call(path.read_bytes()) for path in ordered]


def test_each_world_fetches_in_the_environment_in_which_it_builds(tmp_path: pathlib.Path) -> None:
    where_from = {
        "BAZELISK_BASE_URL": "https://mirror.example/bazel",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "NETRC": "/netrc",
        "PIP_EXTRA_INDEX_URL": "https://index.example/more",
        "PIP_INDEX_URL": "https://index.example/simple",
        "RETORT_DEBIAN_MIRROR": "https://mirror.example/debian",
        "USE_BAZEL_VERSION": "8.5.1",
    }
    done, calls = _proof(tmp_path, where_from | {"A_WISH": "of the user's", "USER": "me"})
    assert done.returncode == 0, done.stderr
    fetches = [call for call in calls if call.has("build", "--nobuild")]
    builds = [call for call in calls if call.has("build") and not call.has("--nobuild")]
    assert [call.environment for call in fetches] == [call.environment for call in builds]
    home = tmp_path / "home"
    downloads = {
        "BAZELISK_HOME": str(home / ".cache/bazelisk"),
        "RETORT_WHEEL_STORE": str(home / ".cache/retort/wheels"),
    }
    for call in calls:
        assert call.environment.items() >= (where_from | downloads).items()
        assert "A_WISH" not in call.environment
        assert call.has("--nohome_rc")
    assert all(call.has(f"--repository_cache={home}/downloads") for call in fetches + builds)
    # All else differs, the home among it.
    one, two = builds
    assert {one.environment[name] != two.environment[name] for name in ("HOME", "TZ", "LANG")} == {
        True
    }


def test_bazelisk_keeps_its_engines_where_the_user_says() -> None:
    home = {"HOME": "/home/me"}
    assert hermetic.kept(home)["BAZELISK_HOME"] == "/home/me/.cache/bazelisk"
    assert hermetic.kept(home | {"XDG_CACHE_HOME": "/c"})["BAZELISK_HOME"] == "/c/bazelisk"
    assert hermetic.kept(home | {"BAZELISK_HOME": "/b"})["BAZELISK_HOME"] == "/b"
    named = {"BAZELISK_HOME": "/b", "BAZELISK_HOME_LINUX": "/linux"}
    assert hermetic.kept(home | named)["BAZELISK_HOME"] == "/linux"


def test_the_other_home_has_the_users_settings_of_where_to_fetch_from(
    tmp_path: pathlib.Path,
) -> None:
    home = tmp_path / "home"
    for name in (".netrc", ".config/pip/pip.conf", ".config/git/config", ".bazelrc"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    (folder := tmp_path / "worlds").mkdir()
    _, two = hermetic._worlds(folder, {"HOME": str(home), "PATH": "/bin"}, ())
    other = pathlib.Path(two.environment["HOME"])
    assert (other / ".netrc").read_text() == ".netrc"
    assert (other / ".config/pip/pip.conf").read_text() == ".config/pip/pip.conf"
    assert not (other / ".config/git").exists()
    assert not (other / ".bazelrc").exists()


@pytest.mark.skipif(not hermetic.network_cut(), reason="this user may not cut the network")
def test_the_second_build_alone_has_no_network(tmp_path: pathlib.Path) -> None:
    done, calls = _proof(tmp_path, {})
    assert done.stderr.endswith("the second build ran without a network: hermetic\n")
    cut = [call.arguments for call in calls if call.networkless]
    two = [call for call in calls if any("output-of-the-second" in word for word in call.arguments)]
    assert all("output-of-the-second" in " ".join(arguments) for arguments in cut)
    assert [call.networkless for call in two if call.has("build")] == [False, True]


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1), ("1", 1), ("false", 0)])
def test_where_the_network_cannot_be_cut_nothing_is_proven(
    tmp_path: pathlib.Path, ci: str, code: int
) -> None:
    refusing = tmp_path / "bin"
    refusing.mkdir()
    for name in ("unshare", "bwrap"):
        (refusing / name).write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
        (refusing / name).chmod(0o755)
    done, _ = _proof(tmp_path, {"PATH": f"{refusing}:{os.environ['PATH']}", "CI": ci})
    assert "1 output files and 1 actions compared; not proven hermetic: " in done.stderr
    assert ": hermetic" not in done.stderr
    assert done.returncode == code


@pytest.mark.parametrize("networkless", [True, False])
def test_a_difference_is_a_failure_with_and_without_a_network(networkless: bool) -> None:
    assert hermetic.verdict(["output a"], networkless, in_ci=False) == ("NOT hermetic", 1)
