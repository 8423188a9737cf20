"""The life of one partition: assigned, batch after batch, checkpoint, revoked. Knows neither Faust nor Kafka.

In: batches (`pipeline.steps.batches`), a store (`stores`), a publisher, a clock; all handed in. Out: alerts, dead letters and scores in
order (`messages`, `outbox`), checkpoints, and what the loop says of itself (`reports`). `stream` puts the steps in order and decides
results; `loop` decides when they are stored, `checkpoints` what follows where a write is refused. Production, the simulation and offline
evaluation run this code. Begin with `stream`.
"""
