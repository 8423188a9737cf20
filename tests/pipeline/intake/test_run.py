"""What an intake holds that Kafka has not acknowledged is bounded, whatever the raw topic holds."""

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
from pipeline.intake.reading import Reader
from pipeline.kafka.publisher import KafkaPublisher
from pipeline.kafka.topics import TopicFacts
from pipeline.settings import Settings
from pipeline.steps.batches import RecordBatch

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
    intake._on_assigned({RAW: ("id", 0)})
    for _ in range(200):
        intake._write(intake._read())
        waiting = asyncio.ensure_future(intake._bounded())
        await asyncio.sleep(0)
        if not waiting.done():
            waiting.cancel()
            break
    else:
        pytest.fail("it goes on")
    await intake._reader.stop()
    assert publisher.sent >= 100
