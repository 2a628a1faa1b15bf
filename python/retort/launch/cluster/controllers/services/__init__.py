"""Service and Endpoints: addresses, and the pods behind a name."""
