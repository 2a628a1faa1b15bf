"""What all controllers are made of."""
