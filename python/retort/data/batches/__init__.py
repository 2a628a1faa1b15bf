"""The order of an epoch, and batches read in it."""
