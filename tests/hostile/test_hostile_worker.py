"""A worker on real Kafka in a flood of hostile records: memory stays flat, and the good series between them fare as if alone.

100,000 hostile records here; `make hostile` sends 1,000,000 (`TIDEWATCH_HOSTILE`). They carry series of their own names, so what
is promised for the good ones is equality: the same alerts, window and score to the last digit; only offsets differ.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from hostile.attacks import attacks
from security.servers import clean_environment, small_model

from pipeline.alerts.records import dead_letter_facts
from pipeline.embedded.servers import start_redis
from pipeline.settings.reference import as_toml
from producers.publisher import Publisher
from producers.records import Observation, encode

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(3000)]

COUNT = int(os.environ.get("TIDEWATCH_HOSTILE", "100000"))
GOOD_SERIES, GOOD_ROWS = 4, 1200
SETTLED_MB = 48
"""How much a worker may grow in the second half of the flood: what malloc keeps of records of a megabyte."""


def good_records() -> list[tuple[bytes, bytes]]:
    """Four calm series with a planted outage each."""
    records = []
    for row in range(GOOD_ROWS):
        for series in range(GOOD_SERIES):
            chance = np.random.default_rng([row, series])
            value = (
                100.0
                + 10.0 * np.sin(row / 4.0 + series)
                + chance.normal()
                + (500.0 if row in (900, 1100 + series) else 0.0)
            )
            name = f"good-{series}"
            records.append((name.encode(), encode(Observation(name, 1_404_172_800_000 + 60_000 * row, float(value)))))
    return records


class Run:
    """One worker over one topic, until it has done all of it."""

    def __init__(self, kafka: str, redis_port: int, folder: Path) -> None:
        self.kafka, self.folder = kafka, folder
        self.name = f"h-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        small_model(folder)
        self.topics = {
            "topic": f"{self.name}.in",
            "alert_topic": f"{self.name}.alerts",
            "dead_letter_topic": f"{self.name}.dlq",
        }
        (folder / "tidewatch.toml").write_text(
            as_toml({
                "kafka": {"brokers": kafka, "partitions": 1},
                "redis": {"url": f"redis://127.0.0.1:{redis_port}/0", "prefix": self.name},
                "worker": {"group": self.name, "session_timeout": "20s", "log_format": "json"},
                # What series of a partition share by promise, its event time and its room, is kept out of it.
                "streams": [{"name": "s", "model": "small.model", "probation": 64, "max_series": 10_000, "idle_after": "9999d", "alerts": {"silence": "9999d"}, **self.topics}],
            })
        )  # fmt: skip
        self.sizes: list[float] = []
        self.seconds = 0.0

    def flood(self, records: Iterator[tuple[bytes | None, bytes | None]], total: int) -> None:
        """Start the worker, send, and watch its memory until all is committed."""
        topic = self.topics["topic"]
        admin = AdminClient({"bootstrap.servers": self.kafka})  # held: what it was asked ends with it
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
        with (self.folder / "worker.log").open("w") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "pipeline", "worker"],
                cwd=self.folder,
                env=clean_environment(),
                stdout=log,
                stderr=log,
            )
        try:
            self._until(lambda: "worker started" in self.log, worker, 120)
            process = psutil.Process(worker.pid)
            with Publisher(
                self.topics["topic"], {"bootstrap.servers": self.kafka, "message.max.bytes": 4 << 20}
            ) as publisher:
                began = time.monotonic()
                while batch := [r for _, r in zip(range(2000), records, strict=False)]:
                    publisher.send([k for k, _ in batch], [v for _, v in batch])  # type: ignore[misc]  # None is hostile too
                    self.sizes.append(process.memory_info().rss / 2**20)
            self._until(
                lambda: self.committed() >= total,
                worker,
                1500,
                lambda: self.sizes.append(process.memory_info().rss / 2**20),
            )
            self.seconds = time.monotonic() - began
            worker.terminate()
            assert worker.wait(30) == 0, self.log
        finally:
            worker.kill()
            worker.wait()

    @property
    def log(self) -> str:
        return (self.folder / "worker.log").read_text()

    def _until(self, true: Any, worker: subprocess.Popen[bytes], seconds: float, look: Any = lambda: None) -> None:
        end = time.monotonic() + seconds
        while not true():
            look()
            if worker.poll() is not None or time.monotonic() > end:
                pytest.fail(self.log[-3000:])
            time.sleep(0.25)

    def committed(self) -> int:
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": self.name})
        try:
            [answer] = consumer.committed([TopicPartition(self.topics["topic"], 0)], timeout=20)
        except KafkaException as error:  # the group is about to have its coordinator
            if error.args[0].code() not in (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS):
                raise
            return -1
        finally:
            consumer.close()
        return int(answer.offset)

    def read(self, which: str) -> list[Any]:
        """All messages of one of its topics."""
        consumer = Consumer(
            {"bootstrap.servers": self.kafka, "group.id": f"{self.name}-reader", "fetch.message.max.bytes": 8 << 20}
        )
        place = TopicPartition(self.topics[which], 0, 0)
        _, end = consumer.get_watermark_offsets(place, timeout=20)
        consumer.assign([place])
        found: list[Any] = []
        while len(found) < end:
            found += [m for m in consumer.consume(5000, timeout=20) if m.error() is None]
        consumer.close()
        return found


def alerts_of_the_good(run: Run) -> list[dict[str, Any]]:
    """Contents of their alerts, without where in the log they were seen and the topic's name."""
    found = []
    for message in run.read("alert_topic"):
        alert = json.loads(message.value())
        if str(alert.get("series", alert.get("data", {}).get("series", ""))).startswith("good-"):
            text = json.dumps(alert, sort_keys=True).replace(run.name, "RUN")
            kept = json.loads(text)
            for part in (
                kept,
                kept.get("data", {}),
                kept.get("evidence", {}),
                kept.get("data", {}).get("evidence", {}),
            ):
                if isinstance(part, dict):
                    part.pop("offset", None)
            found.append(kept)
    return sorted(found, key=lambda a: json.dumps(a, sort_keys=True))


def test_a_flood_of_hostile_records_harms_nothing(kafka: str, tmp_path: Path) -> None:
    good = good_records()
    with start_redis(tmp_path / "redis") as redis:
        alone = Run(kafka, redis.port, tmp_path / "alone")
        alone.flood(iter(good), len(good))
        among = Run(kafka, redis.port, tmp_path / "among")
        every = max(COUNT // len(good), 1)

        def mixed() -> Iterator[tuple[bytes | None, bytes | None]]:
            hostile, waiting = attacks(11, "native", COUNT), iter(good)
            for i, record in enumerate(hostile):
                yield record
                if i % every == 0 and (one := next(waiting, None)) is not None:
                    yield one
            yield from waiting

        among.flood(mixed(), COUNT + len(good))

    letters = among.read("dead_letter_topic")
    reasons = Counter(dead_letter_facts(m.headers() or [])["reason"] for m in letters)
    tenths = [float(np.median(part)) for part in np.array_split(among.sizes, 10)]
    growth = tenths[-1] - max(tenths[4:6])
    rate = (COUNT + len(good)) / among.seconds
    print(
        f"{COUNT:,} hostile records: {len(letters):,} dead letters, {rate:,.0f} records/s with sending; resident MiB by tenths "
        f"{[round(x) for x in tenths]}, grew {growth:.0f} in the second half; {dict(reasons.most_common())}"
    )
    assert len(letters) > COUNT // 2
    assert growth < SETTLED_MB
    assert "Traceback" not in among.log
    mine, theirs = alerts_of_the_good(among), alerts_of_the_good(alone)
    assert len(theirs) >= 2 * GOOD_SERIES
    differing = {
        f"{key}: {one.get(key)!r:.200} alone, {other.get(key)!r:.200} among"
        for one, other in zip(theirs, mine, strict=True)
        for key in one.keys() | other.keys()
        if one.get(key) != other.get(key)
    }
    assert differing == set()
