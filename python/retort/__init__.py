"""Retort: train and serve language models from sealed inputs to sealed outputs."""
