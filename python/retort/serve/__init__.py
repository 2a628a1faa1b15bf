"""A checkpoint behind HTTP: an engine that answers, and the server that speaks for it."""
