"""The program of the image: what its layers brought."""

import torch
from rich.console import Console

if __name__ == "__main__":
    Console().print(f"hello from torch {torch.__version__}: 2 + 3 = {torch.tensor([2, 3]).sum()}")
