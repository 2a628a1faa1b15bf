"""The Dockerfile's lists of distributions follow from the locks and the BUILD files."""

import pathlib
import re
import shutil

import pytest

from tools.oci.dockerfile.build_graph import closure
from tools.oci.dockerfile.requirements import PROGRAMS, lists, needed, read_lock, stale
from tools.oci.errors import ImageError

ROOT = pathlib.Path(__file__).resolve().parents[3]
LOCK = f"""# a comment
base==1.0 \\
    --hash=sha256:{"a" * 64} \\
    --hash=sha256:{"b" * 64}
    # via
    #   middle
    #   top
middle[fast]==2.0+cpu \\
    --hash=sha256:{"c" * 64}
    # via top
other==3.0 \\
    --hash=sha256:{"d" * 64}
    # via -r runtime.in
To.P==4.0 \\
    --hash=sha256:{"e" * 64}
    # via -r runtime.in
"""


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    """What the lists depend on, to change."""
    for name in ("docker", "python", "third_party/requirements"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def _edit(path: pathlib.Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_lists_are_up_to_date() -> None:
    assert stale(ROOT) == []


def test_a_new_version_in_a_lock_makes_its_lists_stale(checkout: pathlib.Path) -> None:
    _edit(checkout / "third_party/requirements/cpu.lock", "fastapi==", "fastapi==1")
    assert stale(checkout) == ["docker/inference_cpu.txt"]


def test_a_new_dependency_in_a_build_file_makes_lists_stale(checkout: pathlib.Path) -> None:
    build = checkout / "python/retort/serve/BUILD.bazel"
    _edit(build, '"@pypi//uvicorn"', '"@pypi//uvicorn", "@pypi//matplotlib"')
    assert stale(checkout) == ["docker/inference_cpu.txt", "docker/inference_cuda.txt"]


def test_an_absent_list_is_stale(checkout: pathlib.Path) -> None:
    (checkout / "docker/training_cuda.txt").unlink()
    assert stale(checkout) == ["docker/training_cuda.txt"]


def test_the_closure_follows_who_wants_whom() -> None:
    pins = read_lock(LOCK.replace("#   top", "#   to-p").replace("via top", "via to-p"))
    assert needed(pins, ["to_p"]) == ["base", "middle", "to_p"]
    assert needed(pins, ["middle"]) == ["base", "middle"]


def test_an_entry_keeps_its_lines_and_loses_its_comments() -> None:
    pin = read_lock(LOCK)["base"]
    assert pin.text.splitlines()[0] == "base==1.0 \\"
    assert pin.text.count("--hash=sha256:") == 2
    assert "#" not in pin.text


def test_what_a_lock_lacks_is_named() -> None:
    with pytest.raises(ImageError, match="the lock has no absent"):
        needed(read_lock(LOCK), ["absent", "base"])


def test_the_server_installs_no_trainer_and_the_cpu_no_cuda() -> None:
    made = {path: set(read_lock(text)) for path, text in lists(ROOT).items()}
    assert {"deepspeed", "setuptools", "torch"} <= made["docker/training_cpu.txt"]
    assert {"fastapi", "torch", "uvicorn"} <= made["docker/inference_cpu.txt"]
    assert not {"deepspeed", "datasets", "wandb"} & made["docker/inference_cpu.txt"]
    for image in PROGRAMS:
        cuda = {name for name in made[f"docker/{image}_cuda.txt"] if name.startswith("nvidia")}
        assert cuda
        assert not cuda & made[f"docker/{image}_cpu.txt"]


def test_the_dockerfile_fetches_the_source_archives_that_programs_read() -> None:
    stages = re.split(r"^FROM ", (ROOT / "docker/Dockerfile").read_text(), flags=re.MULTILINE)
    for image, program in PROGRAMS.items():
        (stage,) = [text for text in stages if f" AS {image}-packages\n" in text]
        read = {name.removesuffix("_source") for name in closure(ROOT, program).archives}
        pins = set(re.findall(r"--pin third_party/source_archives/(\w+)\.json", stage))
        assert pins == read
