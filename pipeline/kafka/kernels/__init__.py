"""Loops over bytes from Kafka as Numba compiles them (`detectors.compiling`): each module has `run` and the types of its arguments.

Their oracles are the readers of single records in `pipeline.kafka.record_batches`.
"""
