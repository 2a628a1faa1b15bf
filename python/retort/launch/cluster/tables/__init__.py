"""Objects as rows that people read."""
