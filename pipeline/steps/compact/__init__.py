"""Compact batches as a partition reads them: messages to columns (`columns`), and what was seen of each source before (`positions`)."""
