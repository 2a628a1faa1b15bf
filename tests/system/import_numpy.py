"""Imports a package, then a child process does: the programs of declared_packages_test."""

import subprocess
import sys

import numpy

child = subprocess.run([sys.executable, "-c", "import numpy; print(numpy.__version__)"], check=True)
print(numpy.__version__, sys.path, sep="\n")
