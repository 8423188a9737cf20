"""Where the state of partitions is kept between two checkpoints of a worker's life: one hash each, fenced by its owner's nonce.

In: a `Checkpoint` (changed pages, the next offset). Out: the same, or a refusal (`Refused`). `base` is the contract, `redis` and `memory`
keep it, `patience` waits for a store that is away. Begin with `base`.
"""
