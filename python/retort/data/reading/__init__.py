"""Pieces of sources into chunks of documents, in processes here or on many machines."""
