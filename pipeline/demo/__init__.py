"""The main job on one machine in a few minutes: data, training, Kafka, workers, replay, alerts, and an honest report."""
