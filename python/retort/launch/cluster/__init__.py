"""A cluster on this machine, for development: what `kubectl` speaks to, and what acts on its objects."""
