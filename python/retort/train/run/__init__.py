"""A run from its request to its sealed checkpoint."""
