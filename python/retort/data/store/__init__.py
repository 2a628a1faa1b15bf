"""Sealed token stores: shards, their keys, and who reads them."""
