"""How records are read: a Faust transport that delivers one event per topic and poll, holding all records of it as columns.

In: what the broker sends to the group's member. Out: a `RecordBatch` for each partition that is open and has room (with its
`Ticket`), what Kafka says of a partition, and commits of what is stored. `driver` is what Faust and the agents call, in the app's thread; `thread`
is the life of the client in a thread of its own. There, `polling` makes batches of what `fetching` takes out of aiokafka, for the
open partitions in `lanes`; `positions` asks and commits; `membership` keeps two workers from being the same member. Begin with `driver`.
"""
