"""A cluster's API, as far as jobs need it."""
