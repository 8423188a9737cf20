"""How records are read: a Faust transport that delivers one event per partition and poll, holding all records of it as columns.

In: what aiokafka has fetched. Out: a `RecordBatch` for each open partition that has room, with a `Ticket` as its key. `driver` is
the transport; `fetching` takes the columns out of aiokafka; `membership` keeps two workers from being the same member. Begin with `driver`.
"""
