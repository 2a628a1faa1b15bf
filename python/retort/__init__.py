"""Retort: train and serve language models from sealed inputs to sealed outputs."""

import os

# How threads wait for each other is read by libgomp when torch loads it, so it is said before. It
# spins by default, which on a busy machine burns the time of the very thread that is waited for:
# there a step takes several times as long. Whoever has said otherwise is not contradicted.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
