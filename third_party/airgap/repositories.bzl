"""Every repository but the wheels, for an engine that can reach no module registry.

The names are those of the modules in MODULE.bazel; each stand-in offers a part of what the module
offers, under the same labels. Debian's own copies are taken where there are any.
"""

load("//third_party/airgap:interpreter.bzl", "interpreter_repository")

_STAND_INS = ["remote_coverage_tools", "rules_cc", "rules_python", "rules_shell"]

_DEBIAN = {
    "bazel_skylib": "/usr/share/bazel/tools/skylib",
    "platforms": "/usr/share/bazel/platforms",
    "rules_java": "/usr/share/bazel/rules/java",
    "rules_proto": "/usr/share/bazel/rules/proto",
}

# buildifier: disable=unnamed-macro
def airgap_repositories():
    """Declares the stand-ins, Debian's packaged modules and the Python interpreter."""
    for name in _STAND_INS:
        native.local_repository(name = name, path = "third_party/airgap/" + name)
    for name, path in _DEBIAN.items():
        native.local_repository(name = name, path = path)
    interpreter_repository(name = "python_interpreter")
