"""Messages to columns: byte strings in one buffer (`binary`), compact batches (`columns`), and what was seen of each source before (`positions`)."""
