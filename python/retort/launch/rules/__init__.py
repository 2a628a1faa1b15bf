"""What must hold for manifests, beyond what `kubectl apply` looks at."""
