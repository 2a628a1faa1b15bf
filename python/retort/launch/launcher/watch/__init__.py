"""A job while it runs: its pods, its progress, its logs, and how it ends."""
