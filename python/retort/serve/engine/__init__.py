"""What answers: an engine, and one for a single model."""
