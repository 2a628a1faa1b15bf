"""Where the API is served, and to whom."""
