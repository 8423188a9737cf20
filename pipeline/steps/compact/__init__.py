"""Compact batches to columns (`columns`), and what was seen of each source before (`positions`)."""
