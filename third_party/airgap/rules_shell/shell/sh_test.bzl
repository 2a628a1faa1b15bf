"""Stand-in for @rules_shell//shell:sh_test.bzl: the rule that is native in Bazel 4.2.3."""

sh_test = native.sh_test
