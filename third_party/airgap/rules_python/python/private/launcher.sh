#!/bin/sh
# Starts a Python program in the virtual environment that Bazel laid into its runfiles.
set -eu

environment='%environment%'
main='%main%'

try() {
  [ -f "$1/$environment/pyvenv.cfg" ] || return 1
  case $1 in
    /*) RUNFILES_DIR=$1 ;;
    *) RUNFILES_DIR=$PWD/$1 ;;
  esac
}

program=$0
find_runfiles() {
  try "$program.runfiles" && return
  [ -n "${RUNFILES_DIR:-}" ] && try "$RUNFILES_DIR" && return
  [ -n "${TEST_SRCDIR:-}" ] && try "$TEST_SRCDIR" && return
  case $program in
    *.runfiles/*) try "${program%%.runfiles/*}.runfiles" && return ;;
  esac
  if [ -L "$program" ]; then
    program=$(readlink -f "$program")
    find_runfiles
    return
  fi
  echo "$0: its runfiles are not beside it; build it with Bazel and run it from where it lies" >&2
  exit 2
}
find_runfiles
export RUNFILES_DIR

# What the user's shell says to Python must not reach the program's children either: not a module path, not a start-up file.
for name in $(env | sed -n 's/^\(PYTHON[A-Z0-9_]*\)=.*/\1/p'); do
  unset "$name"
done
export PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 PYTHONNOUSERSITE=1 PYTHONUTF8=1

exec "$RUNFILES_DIR/$environment/bin/python3" %interpreter_args% "$RUNFILES_DIR/$main" "$@"
