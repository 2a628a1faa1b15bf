"""What a write has to keep, whoever it comes from."""
