"""The machine's CPython 3.11 as a pinned toolchain."""

_MINOR = "3.11"

_IDENTITY = """
import hashlib, json, os, platform, sys, sysconfig

def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()

library = hashlib.sha256()
root = sysconfig.get_path("stdlib")
for folder, folders, files in os.walk(root):
    folders[:] = sorted(set(folders) - {"__pycache__", "site-packages", "dist-packages", "test"})
    for name in sorted(files):
        if name.endswith((".py", ".so")):
            path = os.path.join(folder, name)
            library.update((os.path.relpath(path, root) + sha256(path)).encode())

executable = os.path.realpath(sys.executable)
print(json.dumps({
    "implementation": platform.python_implementation(),
    "version": platform.python_version(),
    "executable_sha256": sha256(executable),
    "standard_library_sha256": library.hexdigest(),
}, indent=2, sort_keys=True))
print(executable)
"""

def _candidates(rctx):
    named = rctx.os.environ.get("RETORT_PYTHON")
    if named:
        return [named]

    # Debian's own first: which interpreter is used must not depend on the user's PATH when both are there.
    found = ["/usr/bin/python" + _MINOR]
    for name in ["python" + _MINOR, "python3"]:
        path = rctx.which(name)
        if path:
            found.append(str(path))
    return found

def _interpreter_repository_impl(rctx):
    refused = []
    for candidate in _candidates(rctx):
        if not rctx.path(candidate).exists:
            refused.append("%s: there is no such file" % candidate)
            continue
        asked = rctx.execute([candidate, "-I", "-c", "import platform, pip; print(platform.python_implementation(), platform.python_version())"])
        if asked.return_code:
            refused.append("%s: has no pip (Debian: apt-get install python3-pip)" % candidate)
            continue
        answer = asked.stdout.strip()
        if not answer.startswith("CPython %s." % _MINOR):
            refused.append("%s: is %s" % (candidate, answer))
            continue
        identity = rctx.execute([candidate, "-I", "-c", _IDENTITY])
        if identity.return_code:
            fail("The Python interpreter %s does not run: %s" % (candidate, identity.stderr))
        lines = identity.stdout.strip().split("\n")
        executable = lines[-1]
        rctx.symlink(executable, "bin/python3")
        rctx.file("interpreter.json", "\n".join(lines[:-1]) + "\n", executable = False)
        rctx.file("pyvenv.cfg", "home = %s\ninclude-system-site-packages = false\n" % executable.rpartition("/")[0], executable = False)
        rctx.file("BUILD.bazel", """\
exports_files(["bin/python3", "interpreter.json", "pyvenv.cfg"], visibility = ["//visibility:public"])
""", executable = False)
        return
    fail("Retort needs CPython %s with pip; another minor version is refused.\n  %s\nInstall it, or name one with RETORT_PYTHON=/path/to/python%s." % (
        _MINOR,
        "\n  ".join(refused),
        _MINOR,
    ))

interpreter_repository = repository_rule(
    implementation = _interpreter_repository_impl,
    doc = """Finds CPython 3.11 and writes down what it is.

    `interpreter.json` (version, digests of the executable and of the standard library) is an input of
    every Python target, so another interpreter never meets a cached result of this one.
    """,
    environ = ["RETORT_PYTHON"],
    local = True,
)
