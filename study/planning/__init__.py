"""A space becomes a plan, is compared with the one on disk, and may be extended."""
