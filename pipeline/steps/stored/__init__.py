"""How a partition's rows lie in the store: what a checkpoint writes of pages of which few rows changed (`journal`), and the bytes of it (`pieces`)."""
