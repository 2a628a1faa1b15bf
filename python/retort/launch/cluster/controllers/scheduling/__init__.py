"""Where pods run, and what their claims are."""
