"""Job of `batch/v1` as Kubernetes does it."""
