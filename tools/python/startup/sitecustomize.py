"""Imported by Python itself at its start: what the user's shell says to Python reaches no child of a program.

A program is started with `-I`, so that Python reads none of its variables; its children are started by their own
command lines and would read them. A child is told what the program was told, as variables. Only an interpreter started
with `-I` does this: a variable that a program sets for a child is the program's own word.
"""

import os
import sys

if sys.flags.isolated:
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.environ["PYTHONNOUSERSITE"] = "1"
    os.environ["PYTHONSAFEPATH"] = "1"
    os.environ["PYTHONUTF8"] = "1"
