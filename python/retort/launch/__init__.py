"""A job on a Kubernetes cluster: what it is, the objects that it becomes, and what must hold for them."""
