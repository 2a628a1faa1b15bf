"""Classifiers, pretrained weights found offline first, and sealed checkpoints."""
