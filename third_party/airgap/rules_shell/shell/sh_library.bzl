"""Stand-in for @rules_shell//shell:sh_library.bzl: the rule that is native in Bazel 4.2.3."""

sh_library = native.sh_library
