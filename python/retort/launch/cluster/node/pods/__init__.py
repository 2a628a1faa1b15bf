"""What a pod asks for, and how it is given."""
