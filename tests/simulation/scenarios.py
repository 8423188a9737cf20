"""Small streams that hold everything a year brings: anomalies, gaps, late and repeated observations, garbage, idle series."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
from aiokafka.partitioner import murmur2
from numpy.typing import NDArray
from simulation.naive_oracle import Oracle, undisturbed
from simulation.virtual import VirtualLoop
from simulation.world import Partition, Record

from detectors.base import Detector, DetectorConfig
from detectors.baselines import Random, ZScore, ZScoreConfig
from detectors.calibration import GaussianTail
from detectors.features import FeatureEncoder
from detectors.judged import with_judgement
from detectors.model import Model
from detectors.scaling import SeriesScaling
from pipeline.partition.stream import Stream, create_stream
from pipeline.settings import AlertSettings, SelectSettings, StreamSettings, ThresholdSettings
from pipeline.steps import state
from pipeline.steps.scoring import MemberScores, Scorer
from producers.records import CONTROL_KEY, Observation, encode

PARTITIONS = 2
SCENARIOS = 8
RECORDS = 60
"""Per partition."""
ARRIVAL = 30.0
"""Seconds over which the records come."""
MINUTE = 60_000
PAGE = 2
JUDGED = (1, 6)
"""Scenarios whose model has a judgement, which decides."""
ABSENT = (1, 4, 6)
"""Scenarios in which a series that says nothing is absent after a minute."""
WAITING = (0, 1, 5, 6)
"""Scenarios in which observations wait for older ones for some minutes."""
SELECTING = (2, 5, 6)
"""Scenarios whose settings say something else of some series."""
SELECT = (
    SelectSettings(series=("s0-*", "m1-*"), hold=timedelta(minutes=2), severity="warning", labels={"team": "a"}),  # type: ignore[arg-type]
    SelectSettings(series=("s1-*", "m2-*"), valid=(4.0, 14.0), labels={"runbook_url": "https://example.org/r"}),
    SelectSettings(series=("s[12]-*",), direction="up", deviation="5 %"),
)
STRANGER = b'\0{"control":"partitions","before":1,"after":2}'
"""Somebody who may write observations tells of partitions, as versions before decisions did."""
KNOWN = ("s0", "s1", "s2", "m0", "m4", "m5")
"""Series that the model was trained on, of either format; m0 is a running total."""


@dataclass(frozen=True)
class Scenario:
    """A stream, its input, and what an undisturbed run makes of it."""

    stream: Stream
    other: Stream
    """The same with another model."""
    partitions: list[Partition]
    oracle: list[Oracle]


@cache
def name(who: str, partition: int) -> str:
    """A series' name whose hash is of the partition, as a producer's partitioner has it where there are two."""
    names = (f"{who}-{partition}{more}" for more in ("", *(f".{k}" for k in range(1000))))
    return next(n for n in names if (murmur2(n.encode()) & 0x7FFFFFFF) % PARTITIONS == partition % PARTITIONS)


@contextmanager
def small_numbers() -> Iterator[None]:
    """Pages of two series of which one goes beside its page, four such segments at most, a look for idle ones every 16 observations, votes at other distances soon, a look for who waits every 8 to 32,
    three observations that wait at most, shadows that are soon live, small portions of foreign messages, few unacknowledged messages: borders everywhere."""
    small: dict[str, float] = {
        "pipeline.steps.state.PAGE": PAGE,
        "pipeline.steps.stored.journal.COMPACTED": 0.5,
        "pipeline.steps.stored.journal.SEGMENTS": 4,
        "pipeline.partition.core.EVICT_EVERY": 16,
        "pipeline.partition.checkpoints.PORTION": 1_000,
        "pipeline.steps.clock.event_time.BORDERS": 2,
        "pipeline.steps.clock.event_time.OBSERVATIONS": 1,
        "pipeline.steps.clock.absence.FEW": 2,
        "pipeline.steps.clock.absence.SHARE": 3,
        "pipeline.steps.clock.absence.A_DAY": 10 * MINUTE,
        "pipeline.steps.clock.ticks.EVERY": 1,
        "pipeline.steps.clock.ticks.STRANGERS": 2,
        "pipeline.steps.clock.ticks.JUMP": 1e12,  # virtual seconds are minutes for the wall
        "pipeline.partition.ticking.REFUSED_FOR": 5.0,
        "pipeline.partition.ticking.QUIET": 2.0,
        "pipeline.partition.taking.TELL_EVERY": 4.0,
        "pipeline.steps.clock.waiting.OFTEN": 8,
        "pipeline.steps.clock.waiting.ROOM": 3,
        "pipeline.partition.shadows.shadow.FEWEST": 4,
        "pipeline.partition.shadows.shadow.LONGEST": 1,
        "detectors.thresholds.READY": 4,
        "pipeline.steps.decoding.MAX_BATCH_POINTS": 1_500,
        "pipeline.partition.outbox.MAX_UNACKNOWLEDGED": 5,
    }
    with ExitStack() as stack:
        for name_, value in small.items():
            stack.enter_context(patch(name_, value))
        yield


class WaitingScorer(Scorer):
    """Scores after some time, as a busy device does: the partition can be killed, stopped or revoked meanwhile."""

    async def score(self, x: NDArray[np.float32]) -> MemberScores:
        """Wait, then score."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        slow = loop.time() < loop.slow_until
        await asyncio.sleep(loop.random.choice((1.0, 3.0) if slow else (0.0, 0.001, 0.01, 0.3)))
        return self.score_now(x)


@cache
def scenario(number: int, first: int | None = None, count: int = PARTITIONS) -> Scenario:
    """One of the `SCENARIOS` streams with its oracle; only the first so many records of each partition."""
    assert state.PAGE == PAGE, "the oracle is of the small numbers"
    chance = random.Random(f"scenario {number}")
    table, export, judged = number % 4 == 3, number == 6, number in JUDGED
    model = _table_model() if table else _judged_model() if judged else _metric_model()
    settings = StreamSettings(
        name="sim",
        topic="in",
        model=Path("none"),
        format="otlp" if export else "native",
        probation=6,
        max_series=chance.choice((4, 100)),
        idle_after=timedelta(minutes=chance.choice((15, 600))),
        future_limit=timedelta(minutes=30),
        score_topic=chance.choice(("", "scores")),
        dead_letter_topic="dead",
        alert_topic="alerts",
        threshold=ThresholdSettings()
        if judged
        else ThresholdSettings(
            method=chance.choice(("fixed", "quantile")),
            level=0.7 if table else 2.0,
            probability=0.2 if table else 0.01,
        ),
        alerts=AlertSettings(
            hold=timedelta(minutes=chance.choice((0, 2))),
            silence=timedelta(minutes=10),
            absent_after=timedelta(minutes=1) if number in ABSENT else "off" if number % 2 else "auto",
            update_every=timedelta(minutes=3),
            suppression=timedelta(minutes=chance.choice((0, 4))),
        ),
    )
    if number in WAITING:
        settings = settings.model_copy(update={"lateness": timedelta(minutes=3)})
    if number in SELECTING:
        settings = settings.model_copy(update={"select": SELECT})
    stream = create_stream(settings, model, WaitingScorer(model))
    rows = _table_rows if table else _exports if export else _metric_rows
    partitions = [_partition(rows(chance, p), chance) for p in range(count)]
    if first is not None:
        partitions = [Partition(log.records[:first], log.records[first].offset) for log in partitions]
    detectors = _other_detectors(model)
    known = {name: np.repeat(of, len(detectors)) for name, of in model.calibrations.items()}
    other = dataclasses.replace(model, hash="other", detectors=detectors, calibrations=known)
    if judged:
        other = _judged_model(other)
    more = create_stream(settings, other, WaitingScorer(other))
    return Scenario(stream, more, partitions, [undisturbed(stream, p, log) for p, log in enumerate(partitions)])


def _metric_model() -> Model:
    detector = ZScore(ZScoreConfig(window=4))
    return _model("metric", detector, None, interval={name(who, p): MINUTE for who in KNOWN for p in range(PARTITIONS)})


def _other_detectors(model: Model) -> tuple[Detector, ...]:
    """One of another window; of a table one more."""
    channels = model.channels
    detector: Detector = ZScore(ZScoreConfig(window=3))
    if model.kind == "table":
        detector = Random(DetectorConfig(window=1, channels=channels, seed=3))
    detector.fit(
        np.random.default_rng(3).normal(size=(8, model.window - (model.kind == "metric"), channels)).astype(np.float32)
    )
    return (detector,) if model.kind == "metric" else (*model.detectors, detector)


def _judged_model(of: Model | None = None) -> Model:
    """Most known series have a history, some of them one that reaches into the log."""
    chance = np.random.default_rng(2)
    histories = {}
    for i, (who, partition) in enumerate((who, p) for who in KNOWN[:-1] for p in range(PARTITIONS)):
        times = (1_000_000 - 200 + 4 * i + np.arange(180)) * MINUTE
        histories[name(who, partition)] = times, chance.normal(10, 1, (180, 1))
    return with_judgement(_metric_model() if of is None else of, histories)


def _table_model() -> Model:
    features = FeatureEncoder(["bytes", "service"], categorical=["service"])
    features.fit([[float(i), "http" if i % 2 else "smtp"] for i in range(20)])
    return _model("table", Random(DetectorConfig(window=1, channels=features.channels)), features, interval={})


def _model(kind: str, detector: Detector, features: FeatureEncoder | None, interval: dict[str, int]) -> Model:
    config = detector.config
    chance = np.random.default_rng(1)
    detector.fit(chance.normal(size=(8, config.window, config.channels)).astype(np.float32))
    calibrator = GaussianTail()
    known = {name(who, p): np.array([[10.0], [1.0]]) for who in KNOWN for p in range(PARTITIONS)}
    return Model(
        kind=kind,  # type: ignore[arg-type]
        detectors=(detector,),
        calibrator=calibrator,
        scaling=SeriesScaling("standard", known, learn_rows=3) if kind == "metric" else SeriesScaling("none"),
        features=features,
        time_features=(),
        aggregation="mean",
        training_rows=dict.fromkeys(known, 4),
        calibrations={series: calibrator.fit(chance.random(64)).reshape(1) for series in known},
        interval_ms=interval,
        facts={},
    )


def _partition(values: list[bytes | None], chance: random.Random) -> Partition:
    records, offset = [], 0
    for i, value in enumerate(values):
        offset += chance.choice((0, 0, 0, 0, 0, 1, 3))  # compaction, transaction markers
        key = CONTROL_KEY if value == STRANGER else None
        records.append(Record(offset, ARRIVAL * i / len(values), key, value))
        offset += 1
    return Partition(records, offset + chance.choice((0, 1)))


def _metric_rows(chance: random.Random, partition: int) -> list[bytes | None]:
    """Values of a few series in event time, with all that the time policy has rules for."""
    rows: list[bytes | None] = []
    clock = dict.fromkeys(range(7), 1_000_000 * MINUTE)
    now = 1_000_000 * MINUTE
    # Some series' clocks are far behind or ahead of the others', by more than a silence.
    apart = [chance.choice((0, 0, 0, -25, -300, 25)) * MINUTE for _ in clock]
    while len(rows) < RECORDS:
        now += chance.choice((0, 0, 0, MINUTE))
        who = chance.choice((0, 0, 0, 1, 1, 2, 3, 4, 5, 6))
        kind = chance.random()
        if kind < 0.05:
            rows.append(
                chance.choice((None, b"", STRANGER, b"\xff\xfe", b'{"series":"x","timestamp":1}', b'{"series":3}'))
            )
            continue
        step = max(clock[who] + MINUTE, now - 2 * MINUTE)
        if kind < 0.10:
            step = clock[who] - chance.choice((0, MINUTE))  # repeated or late
        elif kind < 0.15:
            step = clock[who] + chance.choice((2, 3, 9)) * MINUTE  # a gap
        elif kind < 0.17:
            step = clock[who] + 120 * MINUTE  # far into the future, unconfirmed
        if kind >= 0.17 or kind < 0.15:
            clock[who] = max(clock[who], step)
        value = chance.gauss(10, 1) + (chance.choice((8, -9)) if chance.random() < 0.15 else 0)
        rows.append(encode(Observation(series=name(f"s{who}", partition), timestamp=step + apart[who], value=value)))
    return rows


def _exports(chance: random.Random, partition: int) -> list[bytes | None]:
    """Export batches of OTLP: several series in one record, running totals among them, some points unusable."""
    rows: list[bytes | None] = []
    now, totals = 1_000_000 * MINUTE, [0.0] * 4
    for _ in range(RECORDS):
        now += chance.choice((0, MINUTE, MINUTE, 3 * MINUTE))
        metrics = []
        for who in chance.sample(range(6), chance.choice((1, 2, 3))):
            value: float | str = chance.gauss(10, 1) + (9 if chance.random() < 0.1 else 0)
            if who < len(totals):
                totals[who] = (
                    0.0 if chance.random() < 0.05 else totals[who] + float(value)
                )  # a counter that starts anew
                value = totals[who]
            if chance.random() < 0.05:
                value = chance.choice(("Infinity", "NaN"))
            points = [{"asDouble": value, "timeUnixNano": str(now * 1_000_000)}]
            kind: dict[str, object] = {"gauge": {"dataPoints": points}}
            if who < len(totals):
                kind = {"sum": {"dataPoints": points, "aggregationTemporality": 2, "isMonotonic": True}}
            metrics.append({"name": name(f"m{who}", partition)} | kind)
        rows.append(json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}).encode())
    return rows


def _table_rows(chance: random.Random, partition: int) -> list[bytes | None]:
    """Rows: equal ones may follow each other, and each counts."""
    rows: list[bytes | None] = []
    now = 1_000_000 * MINUTE
    for _ in range(RECORDS):
        now += chance.choice((0, 0, 1000, 60_000))
        if chance.random() < 0.05:
            rows.append(chance.choice((None, b"nonsense", b'{"series":"s0","timestamp":1,"values":["many","http"]}')))
            continue
        values: list[float | str] = [float(chance.randrange(15)), chance.choice(("http", "smtp", "ftp"))]
        series = name(f"s{chance.choice((0, 0, 0, 1, 2, 3, 4, 5))}", partition)
        rows.append(encode(Observation(series=series, timestamp=now, values=values)))
    return rows
