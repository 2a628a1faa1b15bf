"""What there is: jobs and pods on a cluster, and their runs in a directory."""
