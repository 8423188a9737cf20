"""The steps that a batch goes through, as arrays: bytes to observations, windows, scores; and the state of a partition.

In: a `RecordBatch` (columns of raw keys and values). Out: `Observations`, `Windows`, `Scored`, all in `batches`, which is where
to begin. Nothing here knows a broker, a store or a clock, and nothing depends on how the stream was cut into batches.

    decoding ──▶ state (rows of series) ──▶ windows (totals, judging by policy, packing, scales) ──▶ scoring ──▶ bands
"""
