"""Objects on the disk, and every change of them in order."""
