"""Classifiers and language models, pretrained weights offline first, and sealed checkpoints."""
