"""PyTorchJob as the training operator (1.9) does it."""
