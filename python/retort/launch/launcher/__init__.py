"""Launches a job on a cluster, watches it, and brings it back."""
