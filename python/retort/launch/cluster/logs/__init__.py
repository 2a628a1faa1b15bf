"""What containers have written, in files that whoever runs them writes."""
