"""Whether this machine, or every machine of a cluster, is ready for studies."""
