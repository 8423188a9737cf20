"""A canary: a series of its own with one planted anomaly, sent the whole way, with topics, group and state of its own.

    calm ~~~~~~~~~~~~~~~~~~~~~~~~~~█~~~~~~~~   ──▶ Kafka ──▶ a real worker process ──▶ one alert, at the right moment
    and one record of garbage                                       │             ──▶ one dead letter
                                                                    └──▶ Redis, and the offset committed

It proves broker, topics, worker, scoring, calibration, alerts, dead letters and checkpoints with the settings at hand; of the
configured models it proves nothing (`pipeline.operations.doctor.examine` plants an anomaly for each of them).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from detectors.calibration import Empirical
from detectors.model_file import save
from detectors.training import train_metric
from pipeline.alerts.feed import AlertFeed
from pipeline.alerts.records import rfc3339
from pipeline.errors import TidewatchError
from pipeline.kafka import topics
from pipeline.kafka.clients import connect_admin, librdkafka_config
from pipeline.kafka.group_watch import GroupWatch
from pipeline.kafka.offsets import Offsets
from pipeline.kafka.reader import read_to_the_end
from pipeline.operations.doctor.findings import Finding
from pipeline.operations.processes import Children
from pipeline.partition.stores.presence import workers_of
from pipeline.partition.stores.redis import RedisStore
from pipeline.settings import Settings, StreamSettings
from pipeline.settings.reference import as_toml
from producers.publisher import Publisher
from producers.records import Observation, encode

SERIES = "canary"
ROWS, TRAINED, PLANTED = 420, 300, 390
START, STEP = 1_700_000_000_000, 60_000
LIMIT = 60.0


def send_canary(settings: Settings) -> Finding:
    """Send one and tell what came of it; everything that was made for it is removed again."""
    name = f"doctor-{secrets.token_hex(4)}"
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            problem = _fly(settings, name, Path(folder), stack)
    except TidewatchError as error:
        problem = str(error)
    if problem:
        return Finding("canary", "failed", problem)
    seconds = time.monotonic() - began
    return Finding("canary", "ok", f"planted anomaly found, garbage put aside, state stored, in {seconds:.0f} s")


def _values() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    rows = np.arange(ROWS)
    values = 100.0 + 10.0 * np.sin(rows / 4.0) + np.random.default_rng(0).normal(0.0, 1.0, ROWS)
    values[PLANTED] += 500.0
    return values


def _fly(settings: Settings, name: str, folder: Path, stack: ExitStack) -> str:
    times, values = START + STEP * np.arange(ROWS, dtype=np.int64), _values()
    model = train_metric(
        {SERIES: (times, values[:, None])}, [("zscore", {"window": 24})], Empirical(), training_rows=lambda _: TRAINED
    )
    save(model, folder / "canary.tidewatch")
    own = {
        "name": name,
        "alert_topic": f"{name}.alerts",
        "decision_topic": f"{name}.decisions",
        "alerts": {"resolve_count": 3},
    }
    stream = StreamSettings.model_validate({**own, "model": folder / "canary.tidewatch"})
    config = folder / "tidewatch.toml"
    config.write_text(as_toml({"streams": [{**own, "model": "canary.tidewatch"}]}))
    plans = topics.plan([stream])
    admin = connect_admin(settings.kafka)
    own_topics = [
        p.name for p in plans if p.name.startswith(f"{name}.")
    ]  # whatever else is in the plans is not its own
    stack.callback(lambda: topics.delete(admin, settings.kafka, own_topics))
    stack.callback(lambda: Offsets(admin, settings.kafka).delete_group(name))
    topics.create(admin, settings.kafka, plans)
    stack.callback(lambda: asyncio.run(_forget(settings, name)))
    children = stack.enter_context(Children())
    command = [sys.executable, "-m", "pipeline", "worker", "--config", str(config)]
    children.start("the canary's worker", command, _environment(settings, name), folder / "log")
    with Publisher(stream.input_topic, librdkafka_config(settings.kafka)) as publisher:
        records = [encode(Observation(SERIES, int(t), float(v))) for t, v in zip(times, values, strict=True)]
        records.insert(10, b"not an observation")
        publisher.send([SERIES.encode()] * len(records), records)
    group = GroupWatch(settings.kafka, name)
    stack.callback(group.close)
    feed = stack.enter_context(AlertFeed(settings.kafka, stream.alert_topic))
    deadline = time.monotonic() + LIMIT
    while group.committed([stream.input_topic]) < len(records):
        if time.monotonic() > deadline:
            return f"its {len(records)} records were not scored and stored within {LIMIT:.0f} s"
        children.check()
        time.sleep(0.25)
    while not feed.alerts and time.monotonic() < deadline:
        feed.fresh()
        time.sleep(0.1)
    feed.fresh()
    return _judged({a.starts_at for a in feed.alerts}, _dead_letters(settings, stream.dlq))


def _judged(alerts: set[str], dead_letters: int) -> str:
    planted = rfc3339(START + STEP * PLANTED)
    if planted not in alerts:
        return f"the planted anomaly raised no alert ({len(alerts)} others did): is a score inverted?"
    if len(alerts) > 1:
        return f"{len(alerts) - 1} alerts besides the planted anomaly"
    return "" if dead_letters == 1 else f"{dead_letters} dead letters instead of one"


def _dead_letters(settings: Settings, topic: str) -> int:
    return sum(len(batch.values) for batch in read_to_the_end(settings.kafka, topic))


async def _forget(settings: Settings, name: str) -> None:
    store = RedisStore(settings.redis)
    try:
        for partition in await store.partitions(name):
            await store.delete(name, partition)
        await store.forget_decisions(name)
        if told := await store.told(workers_of(name)):
            await store.untell(workers_of(name), list(told))
    finally:
        await store.close()


def _environment(settings: Settings, name: str) -> dict[str, str]:
    """The same Kafka and Redis, secrets included, handed on by the environment; a group and a prefix of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TIDEWATCH_")}
    for table, prefix in ((settings.kafka, "KAFKA"), (settings.redis, "REDIS")):
        for field, value in table.model_dump(mode="json").items():
            secret = getattr(getattr(table, field), "get_secret_value", None)
            text = secret() if secret else value
            if text is not None and text != "":
                environment[f"TIDEWATCH_{prefix}__{field.upper()}"] = str(text)
    return environment | {"TIDEWATCH_WORKER__GROUP": name, "OMP_NUM_THREADS": "1"}
