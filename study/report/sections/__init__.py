"""A section of the report each: figures become blocks of a document."""
