"""Deployment and ReplicaSet of `apps/v1` as Kubernetes does them."""
