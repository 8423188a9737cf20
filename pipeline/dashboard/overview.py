"""How the streams fare, looked at from outside: what Kafka holds, what the store has of it, who works on it, what is silenced.

    Kafka: ends of the logs, members of the group ─┐
    store: offset and checkpoint of each partition ─┼─▶ Look ──▶ verdict of each stream, in one word and one sentence
    store: decisions, each worker's word ──────────┘

No worker is asked: where none lives, nobody answers, and just that is to be seen; what each said last lies in the store, with its age. A
look costs a few questions, whatever the states hold.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from pipeline.dashboard.board import Board
from pipeline.dashboard.heard import Heard, Listener, WorkerLook
from pipeline.errors import StoreError, TidewatchError
from pipeline.kafka import topics
from pipeline.kafka.clients import connect_admin
from pipeline.kafka.offsets import Bounds, Offsets
from pipeline.operations.desk import when_silent
from pipeline.partition.deciding.decisions import decode_decision
from pipeline.partition.deciding.what import Decision, Lift, Silence
from pipeline.partition.stores.presence import ReplayWord
from pipeline.partition.stores.redis import Progress, RedisStore
from pipeline.settings import Settings, StreamSettings

log = structlog.get_logger(__name__)

EVERY = 5.0
"""Seconds between two looks."""
_IDLE = 0.25
STUCK = 60.0
"""Seconds without a checkpoint, with records waiting, after which a partition is said to be stuck."""
QUIET = 300.0
"""Seconds without a new record after which a stream's input is said to have ended, for now."""


class PartitionLook(msgspec.Struct, frozen=True):
    """One partition; None where it is not known. `lag`: records that no checkpoint is behind of; `stored_for` and `came_for`: s since its offset, and its
    log's end, were seen to move; `waits_for`: s for which records have waited without a checkpoint while there were workers.
    """

    partition: int
    offset: int | None = None
    end: int | None = None
    lag: int | None = None
    stored_for: float | None = None
    came_for: float | None = None
    waits_for: float = 0.0


class StreamLook(msgspec.Struct, frozen=True):
    """One stream. `verdict`: live, behind, stuck, quiet, no worker, starting, Kafka away, store away, no topic; `why` in a sentence.

    `rate` and `coming` are records/s that were scored and that came, over the last look but a few; None before there are two.
    """

    name: str
    verdict: str
    why: str
    topic: str
    partitions: list[PartitionLook]
    lag: int | None
    rate: float | None
    coming: float | None
    silences: list[dict[str, Any]]
    decisions: int | None
    """How many there are; None: the store has not said it."""
    scores: str
    """The score topic; empty: none."""
    live: int | None = None
    warming: int | None = None
    """Series that alerts can come of, and those of which too little is known yet, by what the workers said; None where none has said it."""
    replays: list[ReplayWord] = []
    """Replays into its topic that run."""


class Look(msgspec.Struct, frozen=True):
    """All streams at one moment (s since the epoch); `kafka` and `store` say why they do not answer, empty where they do."""

    at: float
    kafka: str
    store: str
    workers: list[str]
    """Members of the group, as Kafka has them."""
    streams: list[StreamLook]
    words: list[WorkerLook] = []
    """What the workers say of themselves."""


@dataclass
class _Seen:
    """What the last looks saw of one partition, and when it moved."""

    offset: int | None = None
    offset_at: float = 0.0
    end: int | None = None
    end_at: float = 0.0
    waiting_at: float | None = None
    history: list[tuple[float, int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class _Kafka:
    """What Kafka said: partition -> where its log begins and ends, by stream; None of a stream whose topic is not there."""

    logs: Mapping[str, Mapping[int, Bounds] | None]
    members: tuple[str, ...]
    error: str = ""


class Overview:
    """Looks at the streams of the settings, one look after the other.

    Parameters
    ----------
    clock
        Seconds that only grow.
    """

    def __init__(self, settings: Settings, store: RedisStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._seen: dict[tuple[str, int], _Seen] = {}
        self._decided: dict[str, tuple[int, list[Decision]]] = {}
        self._listener = Listener(store, settings.worker.group, [s.input_topic for s in settings.streams])
        self._admin: Any = None

    async def look(self) -> Look:
        """What can be seen now. Raises nothing of what may be away: it says so."""
        kafka = await asyncio.to_thread(self._ask_kafka)
        store_error, stored = "", dict[str, dict[int, Progress]]()
        heard = Heard()
        try:
            heard = await self._listener.heard(self._clock())
            for stream in self._settings.streams:
                logs = kafka.logs.get(stream.name)
                stored[stream.name] = {p: at for p in logs or () if (at := await self._store.progress(stream.name, p))}
                await self._read_decisions(stream.name)
        except StoreError as error:
            store_error = str(error)
        now = self._clock()
        streams = [
            self._stream(s, kafka, store_error, stored.get(s.name, {}), now, heard) for s in self._settings.streams
        ]
        return Look(time.time(), kafka.error, store_error, sorted(kafka.members), streams, heard.workers)

    def _ask_kafka(self) -> _Kafka:
        kafka = self._settings.kafka
        try:
            if self._admin is None:
                self._admin = connect_admin(kafka)
            offsets, logs = Offsets(self._admin, kafka), dict[str, Mapping[int, Bounds] | None]()
            for stream in self._settings.streams:
                facts = topics.describe(self._admin, kafka, [stream.input_topic]).get(stream.input_topic)
                logs[stream.name] = offsets.bounds(stream.input_topic, range(facts.partitions)) if facts else None
            return _Kafka(logs, offsets.group(self._settings.worker.group).members)
        except TidewatchError as error:
            self._admin = None  # one that hung waits for its time-outs before it connects again
            return _Kafka({}, (), str(error))

    async def _read_decisions(self, stream: str) -> None:
        newest, known = await self._store.newest_decision(stream), self._decided.get(stream, (-1, []))
        if newest != known[0]:
            bodies = await self._store.decisions(stream)
            self._decided[stream] = newest, [decode_decision(b, s) for s, b in sorted(bodies.items())]

    def _stream(
        self,
        stream: StreamSettings,
        kafka: _Kafka,
        store_error: str,
        stored: Mapping[int, Progress],
        now: float,
        heard: Heard,
    ) -> StreamLook:
        logs = kafka.logs.get(stream.name)
        seen = {p: self._seen.setdefault((stream.name, p), _Seen()) for p in logs or ()}
        if not kafka.members:
            for one in seen.values():
                one.waiting_at = None
        looks = [
            _partition(seen[p], p, at, stored.get(p), now, asked=not store_error)
            for p, at in sorted((logs or {}).items())
        ]
        lags = [look.lag for look in looks if look.lag is not None]
        scored, came = self._rates(stream.name, [look.partition for look in looks])
        verdict, why = _verdict(stream, kafka, store_error, looks, topic_is_there=logs is not None)
        _, decisions = self._decided.get(stream.name, (0, None))
        return StreamLook(
            stream.name, verdict, why, stream.input_topic, looks, sum(lags) if lags else None, scored, came,
            _silences(decisions or []), None if decisions is None else len(decisions), stream.score_topic,
            *heard.series(stream.name), heard.replays.get(stream.input_topic, []),
        )  # fmt: skip

    def _rates(self, stream: str, partitions: list[int]) -> tuple[float | None, float | None]:
        scored = came = 0.0
        known = False
        for partition in partitions:
            history = self._seen[stream, partition].history
            if len(history) > 1 and (seconds := history[-1][0] - history[0][0]) > 0:
                known = True
                scored += max(history[-1][1] - history[0][1], 0) / seconds
                came += max(history[-1][2] - history[0][2], 0) / seconds
        return (scored, came) if known else (None, None)


def _partition(
    seen: _Seen, partition: int, log: Bounds, at: Progress | None, now: float, *, asked: bool
) -> PartitionLook:
    """What is to be said of a partition, and remembered for the next look; `asked`: the store answered."""
    offset, end = None if at is None else at.offset, log.end
    if offset != seen.offset:
        seen.offset, seen.offset_at = offset, now
    if end != seen.end:
        seen.end, seen.end_at = end, now
    if offset is not None:
        seen.history = [*seen.history[-12:], (now, offset, end)]
    lag = max(end - (log.first if offset is None else offset), 0) if asked else None
    if not lag or seen.offset_at == now:
        seen.waiting_at = now if lag else None
    elif seen.waiting_at is None:
        seen.waiting_at = now
    waits = 0.0 if seen.waiting_at is None else now - seen.waiting_at
    return PartitionLook(partition, offset, end, lag, now - seen.offset_at, now - seen.end_at, waits)


async def watch(overview: Overview, board: Board) -> None:
    """Look every few seconds while somebody listens, and say what was seen; until it is cancelled. What is old is not kept for later."""
    while True:
        if board.listening:
            try:
                board.say("look", msgspec.json.encode(await overview.look()))
            except Exception:  # the page says by itself how old its last look is; what went wrong here is for the log
                log.exception("the overview could not be looked at")
            await asyncio.sleep(EVERY)
        else:
            board.unsay("look")
            await asyncio.sleep(_IDLE)


def _verdict(
    stream: StreamSettings, kafka: _Kafka, store_error: str, looks: list[PartitionLook], *, topic_is_there: bool
) -> tuple[str, str]:
    if kafka.error:
        return "Kafka away", kafka.error
    if not topic_is_there:
        return (
            "no topic",
            f"topic {stream.input_topic} is not there: create it (`tidewatch topics create`), or send something",
        )
    if not kafka.members:
        return "no worker", "nobody works on it: start `tidewatch worker`; what comes waits in Kafka"
    if store_error:
        return "store away", store_error
    if not any(look.end for look in looks):
        return "quiet", f"nothing has come yet: topic {stream.input_topic} is empty"
    if any(look.offset is None and look.end for look in looks):
        return "starting", "workers are there, and not every partition has a checkpoint yet"
    behind = [look for look in looks if look.lag]
    stuck = [look for look in behind if look.waits_for > STUCK]
    if stuck:
        which = ", ".join(str(look.partition) for look in stuck[:8])
        return (
            "stuck",
            f"records wait and no checkpoint came for {stuck[0].waits_for:.0f} s in partition {which}: see the worker's log",
        )
    if sum(look.lag or 0 for look in behind) > 10_000:
        return "behind", f"{sum(look.lag or 0 for look in behind):,} records wait to be scored"
    if not behind and all((look.came_for or 0) > QUIET for look in looks):
        return "quiet", f"all is scored, and nothing came for {min(look.came_for or 0 for look in looks) / 60:.0f} min"
    return "live", "what comes is scored"


def _silences(decisions: list[Decision]) -> list[dict[str, Any]]:
    """The silences that are not lifted and end in the future, by the wall clock."""
    lifted = {d.what.silence for d in decisions if isinstance(d.what, Lift)}
    now = time.time() * 1000
    return [
        {
            "serial": d.serial, "series": d.what.series, "until": d.what.until, "by": d.by, "at": d.at, "why": d.what.why,
            "when": when_silent(d.what).strip() if d.what.calendar or d.what.where or d.what.since > now else "",
        }
        for d in decisions
        if isinstance(d.what, Silence) and d.serial not in lifted and (d.what.until > now or (d.what.calendar and not d.what.until))
    ]  # fmt: skip
