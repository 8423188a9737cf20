"""The intake: raw topics in, observations out, each series whole in one partition of the stream's own topic. Begin with `run`.

raw topic ──▶ reading ──▶ decoder ──▶ merging (by event time) ──▶ grouping (by partition) ──▶ compact batches ──▶ the stream's topic
"""
