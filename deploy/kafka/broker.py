"""Apache Kafka on this machine without Docker: 1 to 3 brokers in KRaft mode, on loopback, until Ctrl-C.

    .venv/bin/python deploy/kafka/broker.py --brokers 3 --port 9092

A command over `pipeline.embedded.kafka`, which the embedded pair and the tests use too.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from pipeline.embedded.jars import KafkaUnavailable, fetch_jars
from pipeline.embedded.kafka import Cluster


def main() -> int:
    """Run a cluster until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Apache Kafka on loopback, without Docker.")
    parser.add_argument("--brokers", type=int, default=1, choices=(1, 2, 3), help="how many (default: 1)")
    parser.add_argument("--port", type=int, default=9092, help="port of the first (default: 9092); 0: a free one")
    parser.add_argument("--data", type=Path, help="folder to keep the logs in (default: a temporary one)")
    parser.add_argument("--heap", type=int, default=512, help="heap of each broker in MB (default: 512)")
    parser.add_argument("--fetch", action="store_true", help="only fetch the jars")
    given = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        jars = fetch_jars(lambda line: print(line, file=sys.stderr, flush=True))
        if given.fetch:
            print(f"Kafka's jars are in {jars}")
            return 0
        with Cluster(given.brokers, port=given.port, data=given.data, heap_mb=given.heap) as kafka:
            print(f"Kafka is at {kafka.bootstrap} (Ctrl-C ends it)", flush=True)
            ended.wait()
    except KafkaUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
