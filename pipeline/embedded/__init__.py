"""Kafka and Redis on this machine with nothing but Python: what the demo, `tidewatch servers` and the tests start.

In: nothing, or a folder to keep data in. Out: an address each, of servers that end with whoever started them (`process`). `servers` is the
pair, and is where to begin; `kafka` runs Apache Kafka from the jars that `jars` fetches, with Tansu where they cannot be had.
"""
