"""Retort: train and serve language models from sealed inputs to sealed outputs."""

import os

# How long a thread spins at a barrier before it sleeps is read by libgomp when torch loads it, so it
# is said before. 300,000 times, its own, burn the time of the very thread that is waited for on a
# busy machine: a step takes four times as long there. No spinning at all costs a quiet machine a
# sixth (benchmarks/results/busy-2026-11-27.md). Whoever has said otherwise is not contradicted.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
