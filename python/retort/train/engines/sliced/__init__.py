"""The contract for models that do not fit one process: each rank holds a slice of every weight."""
