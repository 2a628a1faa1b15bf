"""Metrics, the report, and the verification of a checkpoint by a fresh process."""
