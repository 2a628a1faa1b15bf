"""The engine whose result is one for every number of processes."""
