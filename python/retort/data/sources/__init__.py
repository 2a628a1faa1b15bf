"""Sources of documents: what each kind of file holds, in pieces that can be read apart."""
