"""What an intake holds that Kafka has not acknowledged is bounded, whatever the raw topic holds; and it reads records as a stream would, schemas included."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, cast

import numpy as np
import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from pipeline.intake import run
from pipeline.intake.metrics import IntakeMetrics
from pipeline.intake.reading import Begin, Reader
from pipeline.kafka.publisher import KafkaPublisher
from pipeline.kafka.topics import TopicFacts
from pipeline.settings import Settings
from pipeline.steps.batches.records import RecordBatch
from producers.batches import decode
from producers.errors import RegistryError
from producers.formats.registry.schemas import JSON, Schema
from producers.records import Observation, encode

RAW = TopicPartition("raw", 0)


class Unanswered:
    """A publisher whose broker acknowledges nothing."""

    def __init__(self) -> None:
        self.sent = 0

    def send(self, *_: object, **__: object) -> asyncio.Future[None]:
        self.sent += 1
        return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("value", [b"no metric" * 10_000, b"none"], ids=["large", "small"])
async def test_dead_letters_that_are_not_acknowledged_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, value: bytes
) -> None:
    settings = Settings.model_validate(
        {"streams": [{"name": "fed", "model": "none"}], "intake": [{"stream": "fed", "topics": ["raw"], "format": "telegraf"}]}
    )  # fmt: skip
    monkeypatch.setattr(run, "MOST_OUTSTANDING", 1_000_000)
    offsets = iter(range(0, 1_000_000, 100))

    def take(_: Reader, wanted: Collection[TopicPartition]) -> list[tuple[TopicPartition, RecordBatch]]:
        at = next(offsets)
        records = RecordBatch(
            "raw", 0, np.arange(at, at + 100), at + 100, [None] * 100, [value] * 100, np.zeros(100, np.int64)
        )
        return [(tp, records) for tp in wanted]

    monkeypatch.setattr(Reader, "take", take)
    monkeypatch.setattr(Reader, "answered", lambda *_: None)

    async def ask(_: Collection[str]) -> Mapping[str, TopicFacts]:
        return {}

    publisher = Unanswered()
    intake: Any = run.Intake(
        settings, settings.intake[0], settings.streams[0], cast("KafkaPublisher", publisher), ask, 1,
        IntakeMetrics(CollectorRegistry()), asyncio.Event(),
    )  # fmt: skip
    intake._on_assigned({RAW: Begin("id", 0)})
    for _ in range(200):
        intake._write(await intake._read())
        waiting = asyncio.ensure_future(intake._bounded())
        await asyncio.sleep(0)
        if not waiting.done():
            waiting.cancel()
            break
    else:
        pytest.fail("it goes on")
    await intake._reader.stop()
    assert publisher.sent >= 100


class Kept(Unanswered):
    """A publisher that keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[bytes] = []

    def send(self, topic: str, key: bytes | None, value: bytes, *_: object, **__: object) -> asyncio.Future[None]:
        self.values.append(value)
        return super().send()


class Flaky:
    """A registry that knows schema 1, and answers from the third question on."""

    def __init__(self) -> None:
        self.asked = 0

    async def fetch(self, _: Collection[int]) -> dict[int, Schema]:
        self.asked += 1
        if self.asked < 3:
            raise RegistryError("the schema registry at http://r cannot be asked: it answers 503")
        return {1: JSON}


def intake_of(
    monkeypatch: pytest.MonkeyPatch,
    publisher: Unanswered,
    records: list[RecordBatch],
    metrics: IntakeMetrics,
    **more: Any,
) -> Any:
    settings = Settings.model_validate(
        {"registry": {"url": "http://r:1"}, "streams": [{"name": "fed", "model": "none"}],
         "intake": [{"stream": "fed", "topics": ["raw"]} | more]}
    )  # fmt: skip
    monkeypatch.setattr(Reader, "take", lambda *_: [(RAW, records.pop(0))] if records else [])
    monkeypatch.setattr(Reader, "answered", lambda *_: None)

    async def ask(_: Collection[str]) -> Mapping[str, TopicFacts]:
        return {}

    intake: Any = run.Intake(
        settings,
        settings.intake[0],
        settings.streams[0],
        cast("KafkaPublisher", publisher),
        ask,
        1,
        metrics,
        asyncio.Event(),
    )
    intake._on_assigned({RAW: Begin("id", 0)})
    return intake


def raw(values: list[bytes]) -> RecordBatch:
    n = len(values)
    return RecordBatch("raw", 0, np.arange(n), n, [b"k"] * n, values, np.zeros(n, np.int64))


BODIES = [b'{"made":%d,"host":"h%d","load":%d,"temperature":2}' % (1_714_564_800_000 + i, i % 2, i) for i in range(4)]
NAMES = {f'{value}{{host="h{h}"}}' for value in ("load", "temperature") for h in (0, 1)}


@pytest.mark.parametrize("form", ["json", "registry", "auto"])
async def test_fields_are_what_the_settings_say_and_schemas_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    values = BODIES if form == "json" else [b"\0\0\0\0\x01" + body for body in BODIES]
    publisher, metrics = Kept(), IntakeMetrics(CollectorRegistry())
    fields = {"time": "made", "labels": ["host"]}
    intake = intake_of(monkeypatch, publisher, [raw(values)], metrics, format=form, fields=fields)
    registry, said = Flaky(), []

    async def nap(_: float) -> None:
        said.append(metrics.health.problems())

    intake._registry, intake._patiently._sleep = registry, nap
    letters = await intake._read()
    assert letters == []
    intake._patience = lambda: 1e9  # nobody is waited for
    intake._write(letters)
    assert {name for value in publisher.values for name in decode(value).names} == NAMES
    if form != "json":
        assert said == [["intake fed: it waits for the schema registry"]] * 2
    assert metrics.health.problems() == []
    await intake._reader.stop()


@pytest.mark.parametrize("form", ["telegraf", "native"])
async def test_channels_of_a_message_are_written_as_one_series(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    body = {
        "telegraf": b'{"name":"cpu","tags":{"host":"a"},"timestamp":%d,"fields":{"idle":96,"user":3,"nice":0}}',
        "native": b'{"series":"cpu{host=\\"a\\"}","timestamp":%d000,"values":[3,96]}',
    }[form]
    publisher, metrics = Kept(), IntakeMetrics(CollectorRegistry())
    values = [body % (1_714_564_800 + i) for i in range(3)]
    lacking = body.replace(b',"user":3', b"").replace(b"3,", b"") % 1_714_564_810
    settings = {"format": form, "channels": ["user", "idle"]}
    intake = intake_of(monkeypatch, publisher, [raw([*values, lacking])], metrics, **settings)
    letters = await intake._read()
    (letter,) = letters
    assert (letter.value, b"wrong channels" in dict(letter.headers).values()) == (lacking, True)
    intake._patience = lambda: 1e9  # nobody is waited for
    intake._write([])
    batch = decode(publisher.values[-1])
    assert (batch.names, batch.values.tolist()) == (('cpu{host="a"}',), [[3.0, 96.0]] * 3)
    assert batch.timestamps.tolist() == [1_714_564_800_000 + 1000 * i for i in range(3)]
    await intake._reader.stop()


async def test_a_source_that_is_given_away_while_a_registry_is_waited_for_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publisher = Kept()
    values = [b"\0\0\0\0\x01" + body for body in BODIES]
    intake = intake_of(monkeypatch, publisher, [raw(values)], IntakeMetrics(CollectorRegistry()), format="registry")

    async def nap(_: float) -> None:
        intake._on_assigned({RAW: Begin("another id", 0)})

    intake._registry, intake._patiently._sleep = Flaky(), nap
    intake._write(await intake._read())
    assert publisher.values == []
    assert intake._sources[RAW].read == 0
    await intake._reader.stop()


async def test_series_are_called_by_what_stays_when_a_pod_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"format": "native", "drop_labels": ["pod"], "series": "{service}/{metric}"}
    intake = intake_of(monkeypatch, Unanswered(), [], IntakeMetrics(CollectorRegistry()), **named)
    intake._on_assigned({RAW: Begin("id", 0)})
    taken: list[str] = []
    monkeypatch.setattr(run.Source, "take", lambda _self, observations, *_: taken.extend(observations.series))
    pods = ['cpu{pod="a",service="api"}', 'cpu{pod="b",service="api"}', 'cpu{pod="b"}', "load"]
    values = [
        encode(Observation(series=name, timestamp=1_700_000_000_000 + i, value=1.0)) for i, name in enumerate(pods)
    ]
    records = RecordBatch("raw", 0, np.arange(4), 4, [None] * 4, values, np.zeros(4, np.int64))
    assert intake._decode(intake._sources[RAW], records, 0.0) == []
    assert taken == ["api/cpu", "api/cpu", "cpu", "load"]
    await intake._reader.stop()
