"""Stand-in for @rules_shell//shell:sh_binary.bzl: the rule that is native in Bazel 4.2.3."""

sh_binary = native.sh_binary
