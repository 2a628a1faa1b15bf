"""From sources to documents, tokens and batches."""
