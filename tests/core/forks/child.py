"""A process that does as it is told: python -m tests.core.forks.child WHAT ..."""

import atexit
import gc
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from retort.core.forks.client import ADDRESS, fork_server, start

CHILD = "tests.core.forks.child"


def _facts() -> None:
    umask = os.umask(0)
    print("on standard error", file=sys.stderr)
    facts = {
        "arguments": sys.argv[1:],
        "name": __name__,
        "directory": str(Path.cwd()),
        "umask": umask,
        "only": os.environ.get("ONLY"),
        "leads": os.getsid(0) == os.getpid() == os.getpgrp(),
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "collects": gc.isenabled(),
        "descriptors": len(os.listdir("/proc/self/fd")) - 1,
        "imported": "decimal" in sys.modules,
    }
    print(json.dumps(facts))


def _wait(file: str) -> None:
    Path(file).touch()
    time.sleep(10_000)


def _ask(file: str) -> None:
    """Have another started, which starts one by itself."""
    inner = Path(f"{file}.inner")
    process = start([CHILD, "family", str(inner)])
    while not inner.exists():
        time.sleep(0.01)
    _write(file, f"{process.pid} {inner.read_text()}")
    process.wait()


def _family(file: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(10000)"]) as child:
        _write(file, str(child.pid))


def _own(file: str) -> None:
    with fork_server():
        process = start([CHILD, "wait", f"{file}.inner"])
        _write(file, f"{os.environ[ADDRESS]} {process.pid}")
        process.wait()


def _write(file: str, text: str) -> None:
    partial = Path(f"{file}.partial")
    partial.write_text(text)
    partial.rename(file)


def _abort() -> None:
    os.abort()


def _bug() -> None:
    raise ZeroDivisionError("of the test")


def _interrupted() -> None:
    raise KeyboardInterrupt


def _thread() -> None:
    def speak() -> None:
        time.sleep(0.1)
        print("of a thread")

    threading.Thread(target=speak).start()


_DEEDS: dict[str, Callable[..., object]] = {
    "abort": _abort,
    "ask": _ask,
    "bug": _bug,
    "exit": lambda code="7": sys.exit(int(code)),
    "exit_with_words": lambda: sys.exit("words of the test"),
    "facts": lambda *_: _facts(),
    "family": _family,
    "interrupted": _interrupted,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "nothing": lambda: None,
    "own": _own,
    "random": lambda: print(random.random()),
    "thread": _thread,
    "wait": _wait,
}

if __name__ == "__main__":
    if sys.argv[1] in ("abort", "bug", "exit", "kill", "nothing", "thread"):
        atexit.register(print, "at the end")
    _DEEDS[sys.argv[1]](*sys.argv[2:])
