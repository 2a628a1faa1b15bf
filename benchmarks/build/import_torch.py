"""Imports torch, as a test. benchmarks/build/main.py times it in the sandbox and outside."""

import torch

assert torch.ones(2).sum().item() == 2
