"""Who computes a step: the gradient's sum over all processes, and the update."""
