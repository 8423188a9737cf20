"""Everything that speaks to a Kafka broker, and the only wing, beside the app, that knows Faust.

In: settings (`clients` turns them into those of the client libraries). Out: batches of records, one event per topic and
poll (`transport`, `agents`), read so that no bytes cost more than is bounded (`record_batches`, `unpacking`); messages that are
acknowledged (`publisher`); what there is of topics, offsets and rights (`topics`, `offsets`, `rights`). Errors of the libraries end
here: what leaves is a `BrokerError`. Begin with `transport`.
"""
