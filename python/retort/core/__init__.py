"""Seals, configuration, errors, digests and the command line. Imports nothing else of ours."""
