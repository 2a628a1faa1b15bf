"""Embeddings of texts, learned without labels: the loss, and what is said of the results."""
