"""How the answer is asked for: HTTP, its requests, its errors, its connections."""
