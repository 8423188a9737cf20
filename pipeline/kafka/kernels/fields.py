"""What `pipeline.kafka.kernels.records` finds of each record."""

AT, STAMP, OFFSET, KEY, KEY_END, VALUE, VALUE_END = range(7)
"""Rows of its table: where the record begins, its time and offset relative to the batch, where key and value begin and end. None ends at -1."""
