"""The points of any series, alert or not: from the tail of a topic, never from all of it.

Where the stream publishes scores, they come from there, with what was expected, the band and the score; else from the observations themselves.
Which partition a series lies in, and which series there are, the store says.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import UNSET

from pipeline.alerts.records import decode_score
from pipeline.alerts.writer import names_of
from pipeline.errors import TidewatchError
from pipeline.kafka import topics
from pipeline.kafka.clients import connect_admin
from pipeline.kafka.reader import read_to_the_end
from pipeline.operations.state_admin import configured
from pipeline.partition.stores.redis import RedisStore
from pipeline.partition.stream import create_stream, load_model
from pipeline.registry import learn_now, registry_of
from pipeline.settings import Settings, StreamSettings
from pipeline.steps.decoding import Decoder
from producers.partitioning import home

NEWEST = 20_000
"""Records of a partition that are looked through; a page may ask for ten times as many."""
MAX_POINTS = 20_000
"""Of one answer, the newest."""
MAX_NAMES = 500
"""Names in one answer."""
_KEPT = 30.0
"""Seconds for which names are kept."""


class Points:
    """Series and their points, of the streams of the settings."""

    def __init__(self, settings: Settings, store: RedisStore) -> None:
        self._settings = settings
        self._store = store
        self._names: dict[str, tuple[float, dict[str, int]]] = {}
        self._admin: Any = None
        self._decoders: dict[str, Decoder] = {}
        self._channels: dict[str, tuple[str, ...]] = {}
        self._one_at_a_time = asyncio.Lock()

    async def names(self, stream: str, text: str) -> dict[str, Any]:
        """Series of a stream whose name holds a text, at most `MAX_NAMES`, and how many there are. Raises TidewatchError."""
        known = await self._known(stream)
        fitting = sorted(name for name in known if text.lower() in name.lower())
        return {"of": len(known), "fitting": len(fitting), "names": fitting[:MAX_NAMES]}

    async def points(self, stream: str, series: str, newest: int = NEWEST) -> dict[str, Any]:
        """Columns of a series' newest points, by event time, each with offset (`at`) and partition (`in`) of its observation; `channels`: their names where
        the model file is here. Raises TidewatchError where Kafka or the store is away.
        """
        own = configured(self._settings, stream)
        partition = (await self._known(stream)).get(series)
        newest = max(1, min(newest, 10 * NEWEST))
        async with self._one_at_a_time:  # however many pages ask
            return await asyncio.to_thread(self._read, own, series, partition, newest)

    async def _known(self, stream: str) -> dict[str, int]:
        configured(self._settings, stream)
        at, known = self._names.get(stream, (0.0, {}))
        if time.monotonic() - at > _KEPT or not known:
            known = {}
            for partition in await self._store.partitions(stream):
                known |= dict.fromkeys(await self._store.series(stream, partition), partition)
            self._names[stream] = time.monotonic(), known
        return known

    def _read(self, stream: StreamSettings, series: str, partition: int | None, newest: int) -> dict[str, Any]:
        if self._admin is None:
            self._admin = connect_admin(self._settings.kafka)
        scores = stream.score_topic
        facts = topics.describe(self._admin, self._settings.kafka, [scores or stream.input_topic])
        topic = facts.get(scores or stream.input_topic)
        if topic is None:
            msg = f"topic {scores or stream.input_topic} is not there yet"
            raise TidewatchError(msg)
        if scores:
            partition = home(series, topic.partitions)
            rows = self._scored(topic.name, partition, series, newest)
        elif partition is None:
            msg = f"series {series} of stream {stream.name} is not known to any checkpoint"
            raise TidewatchError(msg)
        else:
            rows = self._observed(stream, topic.name, partition, series, newest)
        found = sorted({row["t"]: row for row in rows}.values(), key=lambda row: row["t"])[-MAX_POINTS:]
        return {
            "stream": stream.name, "series": series, "topic": topic.name, "partition": partition,
            "source": "scores" if scores else "observations", "newest": newest, "points": found,
            "channels": self._named(stream),
        }  # fmt: skip

    def _named(self, stream: StreamSettings) -> tuple[str, ...]:
        if stream.name not in self._channels:
            names: tuple[str, ...] = ()
            with suppress(TidewatchError):  # the file may lie where the workers are
                names = names_of(load_model(stream.model))
            self._channels[stream.name] = names
        return self._channels[stream.name]

    def _scored(self, topic: str, partition: int, series: str, newest: int) -> Iterator[dict[str, Any]]:
        key = series.encode()
        for batch in read_to_the_end(self._settings.kafka, topic, newest=newest, only=partition):
            for of, value in zip(batch.keys, batch.values, strict=True):
                if of is None or bytes(of) != key or value is None:
                    continue
                with suppress(msgspec.MsgspecError, UnicodeDecodeError):  # anybody may have written it
                    s = decode_score(value)
                    yield {
                        "t": s.timestamp, "at": s.offset, "in": s.partition, "observed": s.observed, "expected": s.expected,
                        "lower": s.band and s.band.lower, "upper": s.band and s.band.upper,
                        "score": s.score, "threshold": s.threshold, "alarm": None if s.alarm is UNSET else s.alarm,
                    }  # fmt: skip

    def _observed(
        self, stream: StreamSettings, topic: str, partition: int, series: str, newest: int
    ) -> Iterator[dict[str, Any]]:
        decoder, registry = self._decoder(stream), registry_of(self._settings.registry)
        for batch in read_to_the_end(self._settings.kafka, topic, newest=newest, only=partition):
            learn_now(decoder, batch, registry)
            for piece in decoder.portions(batch):
                seen, _ = decoder.decode(piece)
                for i, name in enumerate(seen.series):
                    if name == series:
                        yield {
                            "t": int(seen.timestamps[i]), "at": int(seen.offsets[i]), "in": partition,
                            "observed": seen.values[i].tolist(),
                        }  # fmt: skip

    def _decoder(self, stream: StreamSettings) -> Decoder:
        """Reads observations as the stream's workers do; its model, which says how many channels there are, is read once."""
        if stream.name not in self._decoders:
            decoder = create_stream(stream, load_model(stream.model)).decoder
            if decoder.kind == "table":
                msg = f"stream {stream.name} is of rows of a table: they are not drawn; set score_topic to see their scores"
                raise TidewatchError(msg)
            self._decoders[stream.name] = decoder
        return self._decoders[stream.name]
