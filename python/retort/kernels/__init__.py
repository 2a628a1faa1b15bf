"""Arithmetic of our own, whose bits depend on the numbers alone: docs/arithmetic.md says what it computes."""
