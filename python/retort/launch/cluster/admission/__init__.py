"""Functions that may complete or refuse what is written."""
