"""What the real Bazel modules offer, read from their sources, and what our files may use of it.

`inventory` writes `upstream.json` from checkouts of the modules; `portability` finds what an engine
would not load; `syntax` and `evaluate` read Starlark for both.
"""
