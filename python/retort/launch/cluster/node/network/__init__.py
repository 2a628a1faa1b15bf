"""The network between pods."""
