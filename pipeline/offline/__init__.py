"""The stream's own steps over files: score, evaluate, train. No Kafka but for a history to train on, no Redis.

In: a data set of `producers.datasets`. Out: rows with scores and alerts (`scorefile`), figures and pictures (`evaluation`), model files
(`training_job`). `run` is where a file goes through `pipeline.partition.core`. Begin there.
"""
