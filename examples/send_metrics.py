"""Sends made-up request rates of three shops, a value every five minutes each, with confluent-kafka and nothing of Tidewatch.

python examples/send_metrics.py --days 21                       # three weeks from 2026-01-01 on
python examples/send_metrics.py --skip 21 --days 1 --outage     # the day after them; one shop loses half of its requests at noon

Exit code: 0 when Kafka has acknowledged everything, 1 when something was not delivered, 2 when no broker answers.
"""

import argparse
import json
import math
import random
import sys

from confluent_kafka import KafkaException, Producer

FIVE_MINUTES = 300_000
FIRST = 1_767_225_600_000  # 2026-01-01T00:00:00Z
SHOPS = ("berlin", "lyon", "porto")


def observations(first_day, days, outage):
    """Shop, event time in ms and value, in order of time."""
    start = FIRST + first_day * 86_400_000
    noise = random.Random(start)
    for step in range(days * 288):
        time = start + step * FIVE_MINUTES
        day = 2 * math.pi * (time % 86_400_000) / 86_400_000
        for number, shop in enumerate(SHOPS):
            value = (1 + number) * (100 - 60 * math.cos(day)) * noise.gauss(1, 0.03)
            if outage and shop == "lyon" and 144 <= step % 288 < 168:
                value *= 0.5
            yield shop, time, value


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, default=21)
    parser.add_argument("--skip", type=int, default=0, help="days from 2026-01-01 to the first one sent")
    parser.add_argument("--outage", action="store_true")
    parser.add_argument("--topic", default="shops.observations")
    parser.add_argument("--brokers", default="127.0.0.1:9092")
    args = parser.parse_args()

    producer = Producer(
        {
            "bootstrap.servers": args.brokers,
            "partitioner": "murmur2_random",  # as Kafka's Java clients do, so that a series lands where they would put it
            "enable.idempotence": True,
            "delivery.timeout.ms": 30_000,  # a record that is not taken by then counts as lost
            "log_level": 0,  # what goes wrong is told below
        }
    )
    try:
        producer.list_topics(timeout=10)
    except KafkaException:
        print(
            f"error: no Kafka broker answers at {args.brokers}; start one, or name another with --brokers",
            file=sys.stderr,
        )
        return 2

    delivered, failures = 0, []

    def on_delivery(error, message):
        nonlocal delivered
        if error is None:
            delivered += 1
        else:
            failures.append(error.str())

    sent = 0
    try:
        for shop, time, value in observations(args.skip, args.days, args.outage):
            record = json.dumps({"timestamp": time, "value": value})
            while True:
                try:
                    producer.produce(args.topic, key=shop, value=record, on_delivery=on_delivery)
                    break
                except BufferError:  # the queue is full: wait until some of it is delivered
                    producer.poll(0.1)
            producer.poll(0)
            sent += 1
        producer.flush(35)
    except KafkaException as error:
        failures.append(error.args[0].str())
    if delivered < sent or failures:
        why = failures[0] if failures else "no answer in time"
        print(f"error: {sent - delivered} of {sent} observations not delivered to {args.topic}: {why}", file=sys.stderr)
        return 1
    print(f"{delivered} observations delivered to {args.topic}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
