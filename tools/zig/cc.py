"""Compiles C into a shared library or a program with Zig's compiler, the same bytes on every builder.

The compiler is a wheel with every libc that it needs, pinned by the lock as all wheels are. A source that is compiled
once for each instruction set has SUFFIX defined as its name.
"""

import argparse
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence

# A fused multiply-add is where the source has one, and nowhere else; what is undefined is not guarded against at run
# time, as libraries have no handler for it.
_FLAGS = (
    *(
        "-std=c11",
        "-O3",
        "-g0",
        "-fPIC",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fno-sanitize=all",
    ),
    *("-Wall", "-Wextra", "-Werror"),
)
_WIDE = "-mprefer-vector-width=512"


def _zig() -> str:
    found = importlib.util.find_spec("ziglang")
    assert found is not None
    assert found.origin is not None
    return str(pathlib.Path(found.origin).with_name("zig"))


def compile_all(
    sources: Sequence[str],
    for_each: Sequence[str],
    sets: Sequence[str],
    target: str,
    out: pathlib.Path,
    *,
    shared: bool,
) -> None:
    """Compile and link.

    Args:
        sources: compiled for every processor of the architecture.
        for_each: compiled for each instruction set.
        sets: of each the suffix and the compiler's name of the processor, as in `avx2=x86_64_v3`.
        target: architecture, system and C library, as in `x86_64-linux-gnu.2.28`.
        shared: a library; otherwise a program.
    Raises:
        subprocess.CalledProcessError: the compiler has said why.
    """
    architecture = target.partition("-")[0]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        cache = {f"ZIG_{which}_CACHE_DIR": name for which in ("GLOBAL", "LOCAL")}
        environment = {**os.environ, **cache}

        def zig(*arguments: str) -> None:
            command = [_zig(), "cc", *_FLAGS, "-I.", "-target", target, *arguments]
            subprocess.run(command, env=environment, check=True)

        objects = []
        for number, source in enumerate(for_each):
            for one in sets:
                suffix, _, processor = one.partition("=")
                made = str(folder / f"{number}-{suffix}.o")
                wide = [_WIDE] if architecture == "x86_64" else []
                zig(f"-mcpu={processor}", *wide, f"-DSUFFIX={suffix}", "-c", source, "-o", made)
                objects.append(made)
        linked = str(folder / "linked")
        plain = "generic" if architecture == "aarch64" else architecture
        kind = ["-shared"] if shared else []
        zig(f"-mcpu={plain}", *kind, *sources, *objects, "-lpthread", "-s", "-o", linked)
        shutil.copy(linked, out)


def main(arguments: Sequence[str]) -> int:
    """Returns the compiler's exit code."""
    parser = argparse.ArgumentParser(prog="cc", description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--for-each", action="append", default=[])
    parser.add_argument("--source", action="append", default=[])
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args(arguments)
    try:
        compile_all(
            *(options.source, options.for_each, options.set, options.target, options.out),
            shared=options.shared,
        )
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
