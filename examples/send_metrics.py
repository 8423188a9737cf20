"""Sends made-up request rates of three shops, a value every five minutes each, with confluent-kafka and nothing of Tidewatch.

python examples/send_metrics.py --days 21                       # three weeks from 2026-01-01 on
python examples/send_metrics.py --skip 21 --days 1 --outage     # the day after them; one shop loses half of its requests at noon
"""

import argparse
import json
import math
import random

from confluent_kafka import Producer

FIVE_MINUTES = 300_000
FIRST = 1_767_225_600_000  # 2026-01-01T00:00:00Z
SHOPS = ("berlin", "lyon", "porto")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, default=21)
    parser.add_argument("--skip", type=int, default=0, help="days from 2026-01-01 to the first one sent")
    parser.add_argument("--outage", action="store_true")
    parser.add_argument("--topic", default="shops.observations")
    parser.add_argument("--brokers", default="127.0.0.1:9092")
    args = parser.parse_args()

    start = FIRST + args.skip * 86_400_000
    noise = random.Random(start)
    # murmur2: the partitioner of Kafka's Java clients, so that a series lands where they would put it.
    producer = Producer(
        {"bootstrap.servers": args.brokers, "partitioner": "murmur2_random", "enable.idempotence": True}
    )
    for step in range(args.days * 288):
        time = start + step * FIVE_MINUTES
        day = 2 * math.pi * (time % 86_400_000) / 86_400_000
        for number, shop in enumerate(SHOPS):
            value = (1 + number) * (100 - 60 * math.cos(day)) * noise.gauss(1, 0.03)
            if args.outage and shop == "lyon" and 144 <= step % 288 < 168:
                value *= 0.5
            while True:
                try:
                    producer.produce(args.topic, key=shop, value=json.dumps({"timestamp": time, "value": value}))
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)
    producer.flush()
    print(f"{args.days * 288 * len(SHOPS)} observations sent to {args.topic}")


if __name__ == "__main__":
    main()
