"""The images run: without a daemon, as their own user, with a read-only root."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator

import pytest

from tests.oci.image.containers import Container, unpack

_DOCKER = pathlib.Path(__file__).parents[3] / "docker"
_TRAIN = pathlib.Path(__file__).parents[3] / "python/retort/train/main"
_SOMEBODY = 54321
_SETTINGS = ("train.steps=6", "data.held_out=0.02", "evaluate.min_accuracy=0")
_RECIPE = ("--config", "smoke", *(word for one in _SETTINGS for word in ("--set", one)))


@pytest.fixture(scope="module")
def folder() -> Iterator[pathlib.Path]:
    """A folder that the images' user may enter, as pytest's own is its owner's alone."""
    with tempfile.TemporaryDirectory(prefix="images-") as name:
        path = pathlib.Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="module")
def training(folder: pathlib.Path) -> Container:
    return unpack(_DOCKER / "training_cpu", folder)


@pytest.fixture(scope="module")
def inference(folder: pathlib.Path) -> Container:
    return unpack(_DOCKER / "inference_cpu", folder)


@pytest.fixture(scope="module")
def run(folder: pathlib.Path, training: Container) -> pathlib.Path:
    """A training run that the image made as the owner of the directory, whom its /etc/passwd does not know."""
    runs = folder / "runs"
    runs.mkdir()
    mine = f"{_SOMEBODY}:{_SOMEBODY}"
    if os.getuid() == 0:
        os.chown(runs, _SOMEBODY, _SOMEBODY)
    else:
        mine = f"{os.getuid()}:{os.getgid()}"
    done = training.run(*_RECIPE, "--out", "small", writable={"/runs": runs}, user=mine)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(" /runs/small/checkpoint"), done.stdout
    return runs / "small"


def _seal(text: str) -> str:
    found = re.search(r"^seal (sha256:[0-9a-f]{64}) ", text, re.MULTILINE)
    assert found, text
    return found[1]


def test_the_image_seals_the_checkpoint_that_bazels_own_run_seals(
    run: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "bazel"
    done = subprocess.run(
        [_TRAIN, *_RECIPE, "--out", str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    manifests = [(path / "checkpoint/manifest.json").read_bytes() for path in (run, out)]
    assert manifests[0] == manifests[1]
    other = [path / "checkpoint/model.safetensors" for path in (run, out)]
    assert other[0].read_bytes() == other[1].read_bytes()
    assert _seal(done.stdout)


def test_the_user_is_not_root_and_can_write_nowhere(training: Container) -> None:
    check = (
        "import os, pathlib; print(os.getuid(), os.getgid())\n"
        "for path in ('/x', '/opt/retort/x', '/usr/x', '/etc/passwd'):\n"
        "    try: open(path, 'a')\n"
        "    except OSError as error: print(path, type(error).__name__)\n"
        "    else: print(path, 'was written')\n"
    )
    done = training.run("-c", check, entrypoint=["/opt/retort/bin/python3"])
    assert done.stdout.splitlines()[0] == "65532 65532", done.stderr
    assert "was written" not in done.stdout


def test_a_user_whom_nobody_knows_has_a_home_and_a_name(training: Container) -> None:
    check = (
        "import getpass, os, pathlib, tempfile, torch\n"
        "from torch._inductor.runtime.cache_dir_utils import cache_dir\n"
        "import matplotlib, huggingface_hub.constants as hub\n"
        "print(os.getuid(), getpass.getuser())\n"
        "for path in (pathlib.Path.home(), tempfile.gettempdir(), cache_dir(), "
        "matplotlib.get_configdir(), matplotlib.get_cachedir(), hub.HF_HOME):\n"
        "    os.makedirs(path, exist_ok=True)\n"
        "    pathlib.Path(path, 'x').write_text('')\n"
    )
    done = training.run("-c", check, entrypoint=["/opt/retort/bin/python3"], user="54321:12345")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["54321", "retort"]
    assert done.stderr == ""


def test_what_was_left_out_is_not_missed(training: Container) -> None:
    """What people import beside the trainer, and what torch imports of its own when it is asked to."""
    names = (
        *("torch.testing", "torch.distributed.fsdp"),
        *("torch.distributed.checkpoint", "torch.distributed.tensor", "torch._dynamo"),
        *("torch._inductor.compile_fx", "torch.utils.cpp_extension", "torch.utils.tensorboard"),
        *("numpy.testing", "numpy.f2py", "pandas.testing", "sympy.testing", "matplotlib.testing"),
        *("pyarrow.parquet", "pyarrow.dataset", "networkx", "mpmath", "transformers", "datasets"),
    )
    check = (
        f"import importlib\nfor name in {names!r}: importlib.import_module(name)\nprint('all')\n"
    )
    done = training.run("-c", check, entrypoint=["/opt/retort/bin/python3"])
    assert done.stdout.splitlines()[-1:] == ["all"], done.stderr


def test_byte_code_is_that_of_the_images_own_python(training: Container) -> None:
    """Each file's byte code is what this Python makes of it again, and is what an import takes."""
    check = (
        "import importlib._bootstrap_external as b, importlib.util, sys, _imp, torch, retort, json\n"
        "for module in (torch, retort, json):\n"
        "    with open(module.__file__, 'rb') as f: source = f.read()\n"
        "    with open(module.__cached__, 'rb') as f: found = f.read()\n"
        "    assert found[:4] == importlib.util.MAGIC_NUMBER and found[4] == 1, module\n"
        "    assert found[8:16] == _imp.source_hash(b._RAW_MAGIC_NUMBER, source), module\n"
        "print('all')\n"
    )
    done = training.run("-c", check, entrypoint=["/opt/retort/bin/python3"])
    assert done.stdout.strip() == "all", done.stderr


def test_every_module_of_the_trainer_can_be_imported(training: Container) -> None:
    check = (
        "import importlib, pkgutil, retort.train, retort.data, retort.evaluate, deepspeed\n"
        "count = 0\n"
        "for package in (retort.train, retort.data, retort.evaluate):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "        count += 1\n"
        "assert count > 100, count\n"
        "print('all')\n"
    )
    done = training.run("-c", check, entrypoint=["/opt/retort/bin/python3"])
    assert done.stdout.splitlines()[-1:] == ["all"], done.stderr


class _Server:
    """The inference image serving a checkpoint."""

    def __init__(self, inference: Container, checkpoint: pathlib.Path) -> None:
        command = inference.command(
            "--checkpoint", ".", "--port", "0", user="54321:12345",
            readable={"/checkpoint": checkpoint}, network=True,
        )  # fmt: skip
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def address(self) -> str:
        """Where it is ready."""
        assert self.process.stderr is not None
        said = []
        for line in self.process.stderr:
            said.append(line)
            if found := re.search(r"ready: http://[^ :]+:(\d+) ", line):
                return f"http://127.0.0.1:{found[1]}"
        raise AssertionError("".join(said))


def test_the_inference_image_serves_what_the_training_image_sealed(
    run: pathlib.Path, inference: Container
) -> None:
    server = _Server(inference, run / "checkpoint")
    try:
        request = urllib.request.Request(
            f"{server.address()}/predict",
            json.dumps({"text": "The striker scored twice in the cup final"}).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            prediction = json.load(answer)
        assert prediction["label"] == "sports"
    finally:
        server.process.kill()
        server.process.wait()


def test_the_inference_image_refuses_a_checkpoint_that_was_tampered_with(
    run: pathlib.Path, inference: Container, folder: pathlib.Path
) -> None:
    tampered = folder / "tampered"
    shutil.copytree(run / "checkpoint", tampered)
    weights = tampered / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(content)
    done = inference.run("--checkpoint", "/checkpoint", readable={"/checkpoint": tampered})
    assert done.returncode == 2
    assert "model.safetensors" in done.stderr


def test_the_example_of_the_documents_writes_on_as_outside_its_image(folder: pathlib.Path) -> None:
    root, out = _DOCKER.parent, folder / "example"
    recipe = ["--config", "examples/language_model/recipe.yaml", "--out", str(out)]
    recipe += ["--set", "train.steps=20", "--set", "evaluate.max_loss=7"]
    trained = subprocess.run(
        [_TRAIN, *recipe], cwd=root, capture_output=True, text=True, check=False
    )
    assert trained.returncode == 0, trained.stderr
    outside = subprocess.run(
        [
            root / "examples/language_model/continue_text",
            "--checkpoint",
            out / "checkpoint",
            "The wind",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outside.returncode == 0, outside.stderr
    example = unpack(root / "examples/language_model/image", folder)
    inside = example.run(
        "--checkpoint", "/checkpoint", "The wind", readable={"/checkpoint": out / "checkpoint"}
    )
    assert inside.returncode == 0, inside.stderr
    assert inside.stdout == outside.stdout
    assert inside.stdout.startswith("The wind")
