"""`bazel run //launch:kubectl -- …`: the kubectl that the locks pin, where the command was typed."""

import os
import sys

from tools.python.wheel_programs import wheel_program

if __name__ == "__main__":
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    program = wheel_program("kubectl")
    os.execv(program, ["kubectl", *sys.argv[1:]])
