"""Baseline (e) of `run.py`: what two hops through Kafka take by themselves. Reads a topic with librdkafka and sends on, at once, what is above 4; nothing else.

python benchmarks/end_to_end/relay.py BROKERS TOPIC OUT GROUP
"""

from __future__ import annotations

import json
import sys

import numpy as np
from confluent_kafka import Consumer, Producer


def main() -> None:
    brokers, topic, out, group = sys.argv[1:]
    consumer = Consumer(
        {"bootstrap.servers": brokers, "group.id": group, "auto.offset.reset": "earliest", "auto.commit.interval.ms": 500}
    )  # fmt: skip
    producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "linger.ms": 0})
    consumer.subscribe([topic])
    while True:
        for message in consumer.consume(500, 0.001):
            if message.error():
                continue
            record = json.loads(message.value())
            if record["value"] > 4:
                at = np.datetime_as_string(np.datetime64(record["timestamp"], "ms"))
                alert = {"series": record["series"], "starts_at": f"{at}Z", "status": "firing", "sequence": 0}
                producer.produce(out, json.dumps(alert), record["series"])
        producer.poll(0)


if __name__ == "__main__":
    main()
