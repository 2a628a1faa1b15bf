"""Has pip fetch one pinned distribution from where this machine's pip configuration says.

The repository rules run this with the standard library alone.
"""

import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence


def fetch(
    distribution: str,
    version: str,
    hashes: Sequence[str],
    *,
    arguments: Sequence[str],
    folder: pathlib.Path,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Runs pip on one distribution, without what it needs, and refuses other bytes than those pinned.

    Args:
        hashes: each `sha256:` and 64 hexadecimal digits.
        arguments: pip's command and its options, among them where the file goes.
        folder: for temporary files.
        environment: what pip sees beside the user's variables, of which those of Python are left out.
    Raises:
        SystemExit: pip failed; what it said is the message.
    """
    pin = f"{distribution}=={version}"
    requirement = folder / "requirement.txt"
    requirement.write_text(" ".join([pin, *(f"--hash={digest}" for digest in hashes)]) + "\n")
    print(f"retort: fetching {pin}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check"),
            *arguments,
            *("--no-deps", "--require-hashes", f"--requirement={requirement}"),
        ],
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(
            f"{done.stdout}\npip failed. It looks where this machine's pip configuration says: see `pip config list`"
        )
