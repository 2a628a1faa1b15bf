"""Byte code of an image's Python files, made by the very interpreter that will run them.

The interpreter of the machine that builds may be another patch release, whose byte code differs. So the image's own is
started, by its own loader and with its own libraries. Files are hash-based and unchecked (PEP 552): they hold no time,
and an image's sources don't change below them.
"""

import os
import pathlib
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tools.oci.errors import ImageError
from tools.oci.layers.layer import Entry, file

# What the marshalled bytes say of shared strings depends on what the process compiled before. So a process gets a fixed
# share of the files, in their order, however many processes run.
_FILES_PER_PROCESS = 250

_COMPILE = """
import _imp, importlib._bootstrap_external as loader, sys
for line in sys.stdin:
    source, target, name = line.rstrip("\\n").split("\\t")
    with open(source, "rb") as file:
        data = file.read()
    try:
        code = loader.SourceLoader.source_to_code(None, data, name)
    except (SyntaxError, ValueError):
        continue
    digest = _imp.source_hash(loader._RAW_MAGIC_NUMBER, data)
    with open(target, "wb") as file:
        file.write(loader._code_to_hash_pyc(code, digest, False))
"""


def _start(interpreter: pathlib.Path) -> list[str]:
    loader = next(interpreter.glob("lib/ld-linux-*.so.*"), None)
    program = interpreter / "bin" / "python3.11"
    if loader is None or not program.is_file():
        raise ImageError(f"{interpreter} has no Python with its loader")
    libraries = ["--library-path", str(interpreter / "lib")]
    return [str(loader), *libraries, str(program), "-S", "-s", "-P", "-B", "-W", "ignore"]


def _compile(interpreter: pathlib.Path, lines: Sequence[str]) -> None:
    done = subprocess.run(
        [*_start(interpreter), "-c", _COMPILE],
        env={"PYTHONHOME": str(interpreter.resolve()), "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
        input="\n".join(lines),
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise ImageError(f"the image's Python cannot compile: {done.stderr.strip()[-500:]}")


def compiled(
    entries: Sequence[Entry], interpreter: pathlib.Path, scratch: pathlib.Path
) -> list[Entry]:
    """The byte code files of every Python file among entries that is valid Python.

    Args:
        interpreter: a directory with `bin/python3.11`, `lib/python3.11` and, in `lib`, its loader and libraries.
        scratch: an empty directory that lives as long as the entries.
    Raises:
        ImageError: the interpreter does not run.
    """
    sources = [entry for entry in entries if entry.kind == "file" and entry.path.endswith(".py")]
    lines = []
    targets = {}
    for number, entry in enumerate(sources):
        source = entry.content
        if isinstance(source, bytes):
            path = scratch / f"{number}.py"
            path.write_bytes(source)
            source = path
        folder, _, name = entry.path.rpartition("/")
        target = scratch / str(number)
        targets[f"{folder}/__pycache__/{name[:-3]}.cpython-311.pyc"] = target
        lines.append(f"{source.resolve()}\t{target}\t/{entry.path}")
    shares = [
        lines[start : start + _FILES_PER_PROCESS]
        for start in range(0, len(lines), _FILES_PER_PROCESS)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda share: _compile(interpreter, share), shares))
    return [file(path, target) for path, target in targets.items() if target.exists()]


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Where byte code waits to be written into a layer."""
    return tempfile.TemporaryDirectory(prefix="bytecode-")
