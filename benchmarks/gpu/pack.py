"""Packs what `benchmarks.gpu.train` needs on a machine that has a GPU, torch and transformers, and no network.

    ./tools/bazel run //benchmarks/gpu:pack -- --out gpu.tar.gz

and there

    tar xzf gpu.tar.gz && gpu/run

Sources, tokens of BBC News, and wheels of the few packages that transformers does not bring along, as the lock
pins them.
"""

import argparse
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.train.stores import find_weights, prepare
from retort.core import errors
from retort.core.atomic import storage_errors
from retort.core.cli import Invocation, run
from retort.data.config import CorpusConfig
from retort.data.preparation.recipe import TokenizerTraining
from retort.data.preparation.run import prepare_store
from third_party.requirements import locks, pip

_BROUGHT = (
    "annotated-types",
    "contourpy",
    "cycler",
    "fonttools",
    "kiwisolver",
    "matplotlib",
    "orjson",
    "pillow",
    "pydantic",
    "pydantic-core",
    "pyparsing",
    "python-dateutil",
    "six",
    "typing-extensions",
    "typing-inspection",
)
_BENCHMARKS = ("markdown.py", "process.py", "gpu", "train")
_ROOT = "gpu"
_RUN = """#!/bin/sh
# Measures on this machine; options are those of benchmarks/gpu/train.py.
here=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH="$here/packages:$here/sources" exec "${PYTHON:-python3}" -m benchmarks.gpu.train --inputs "$here/inputs" "$@"
"""
_VOCABULARY = 4096
_LOCK = Path(locks.__file__).with_name("cpu.lock")


def main(arguments: Sequence[str]) -> int:
    """Pack."""
    options = _parser().parse_args(arguments)
    out = Invocation.from_environment().resolve(options.out)
    if not out.parent.is_dir():
        raise errors.UserError(f"--out: {out.parent} is no directory")
    with tempfile.TemporaryDirectory(prefix="retort-pack-") as scratch:
        root = Path(scratch) / _ROOT
        copy_sources(root / "sources")
        write_inputs(root / "inputs")
        fetch_packages(root / "packages", options.python_version, Path(scratch) / "wheels")
        script = root / "run"
        script.write_text(_RUN, encoding="utf-8")
        script.chmod(0o755)
        with storage_errors(out):
            partial = out.with_name(f".{out.name}.partial")
            with tarfile.open(partial, "w:gz") as archive:
                archive.add(root, _ROOT)
            partial.replace(out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB. There: tar xzf {out.name} && {_ROOT}/run")
    return 0


def copy_sources(into: Path) -> None:
    """Our packages, kernels included, as far as these programs have them at hand."""
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(Path(errors.__file__).parents[1], into / "retort", ignore=ignore)
    for name in _BENCHMARKS:
        source, target = Path(__file__).parents[1] / name, into / "benchmarks" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignore)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def write_inputs(into: Path) -> None:
    """BBC News in the words of MiniLM, and in 4,096 of its own for a language model."""
    into.mkdir(parents=True)
    weights = find_weights()
    prepare(["bbc_news"], weights, into)
    shutil.copyfile(weights / "tokenizer.json", into / "tokenizer.json")
    training = TokenizerTraining(model="bpe", vocabulary=_VOCABULARY)
    prepare_store(
        into / "bbc_blocks", CorpusConfig.model_validate({"source": "bbc_news"}), training
    )


def fetch_packages(into: Path, python_version: str, scratch: Path) -> None:
    """Wheels for another Python, of the lock's versions and bytes, unpacked.

    Raises:
        UserError: they cannot be fetched.
    """
    pins = locks.read_pins(_LOCK.read_text(encoding="utf-8"))
    wanted = [
        pip.requirement(name, str(pins[name].version), pins[name].hashes) for name in _BROUGHT
    ]
    wheels = scratch / "fetched"
    wheels.mkdir(parents=True)
    try:
        pip.fetch(wanted, wheels, scratch, python_version=python_version)
    except pip.FetchError as error:
        raise errors.UserError(str(error)) from error
    for wheel in sorted(wheels.iterdir()):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(into)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pack", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", default="gpu.tar.gz", metavar="FILE")
    parser.add_argument(
        "--python-version", default="3.12", metavar="VERSION", help="of the machine (%(default)s)"
    )
    return parser


if __name__ == "__main__":
    run(main)
