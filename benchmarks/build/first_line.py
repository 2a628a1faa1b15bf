"""Prints. benchmarks/build/main.py times how long `bazel run` takes to come here."""

print("the first line of our code")
