"""Recipes, the training loop, and the run that joins all stages."""
