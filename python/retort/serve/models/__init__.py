"""The models of a server: loaded, counted, replaced while others ask, and let go."""
