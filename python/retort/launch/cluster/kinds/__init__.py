"""The kinds of objects that the cluster knows, and what their fields are."""
