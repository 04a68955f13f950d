"""Research questions as YAML files, and the schema that reads them."""
