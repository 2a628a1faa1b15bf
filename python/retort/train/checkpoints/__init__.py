"""The state of a run: written, kept, found again."""
