"""All documents of a source: what stays, in which part, and the report on it."""
