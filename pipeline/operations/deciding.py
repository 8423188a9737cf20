"""A worker's part in decisions: it proposes what its settings file says, and looks what others decide.

    settings file ──changed (mtime), SIGHUP──▶ propose ──▶ list in the store ◀── look, once a second ──▶ partitions take

A content that is in the list already is never added again, whoever restarts with it: its id is the hash of settings and model. So workers with
an old file and workers with a new one may restart in any order, and all partitions end on the newer one; only a person brings an older content
back (`tidewatch apply`).
"""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from detectors.model import Model
from pipeline.errors import BrokerError, SettingsError, StoreError, TidewatchError
from pipeline.kafka.decisions import DecisionTopic
from pipeline.partition.deciding.carrying import differing, shape_of
from pipeline.partition.deciding.decisions import Entry, InForce, Line, Taken, Tick, decode_entry, valid
from pipeline.partition.deciding.listing import Listing
from pipeline.partition.deciding.what import Decision, SettingsOf
from pipeline.partition.outbox import Publisher
from pipeline.partition.stores.base import Register
from pipeline.partition.stream import Stream, load_model
from pipeline.partition.streams import Streams, content_id, decided
from pipeline.watched import Watched

log = structlog.get_logger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at the list and at the settings file."""


class Journal:
    """Lines of one stream, of one partition or of all (None), in the topic of decisions."""

    def __init__(
        self, topic: DecisionTopic, publisher: Publisher | None, stream: str, partition: int | None = None
    ) -> None:
        self._topic = topic
        self._publisher = publisher
        self._stream = stream
        self._partition = partition

    async def write(self, entries: Sequence[Entry]) -> None:
        """Append, in order; ends when the broker has acknowledged all. Raises BrokerError."""
        assert self._publisher is not None
        sent = [self._publisher.send(self._topic.name, self._stream.encode(), msgspec.json.encode(e)) for e in entries]
        for one in sent:
            await one

    async def read(self) -> Sequence[Entry]:
        """All that the topic held when this was called, at least. Raises BrokerError."""
        lines = await self._topic.read()
        return [e for line in lines if (e := decode_entry(line.body)) is not None and self._is_ours(e, line.arrived)]

    def _is_ours(self, entry: Entry, arrived: int | None) -> bool:
        if isinstance(entry, Tick) and not entry.told_in_time(arrived):
            return False
        return entry.stream == self._stream and self._partition in (None, entry.partition)


def taken_by_partition(entries: Sequence[Entry], log_id: str) -> dict[int, list[Taken]]:
    """Which decisions each partition has taken, of the lines of one stream; `log_id` is Kafka's id of its topic."""
    lines = lines_by_partition(entries, log_id)
    return {p: [line for line in of if isinstance(line, Taken)] for p, of in lines.items()}


def lines_by_partition(entries: Sequence[Entry], log_id: str) -> dict[int, list[Line]]:
    """All that each partition has taken, ticks among it."""
    by_partition: dict[int, list[Entry]] = {}
    for entry in entries:
        by_partition.setdefault(entry.partition, []).append(entry)
    return {p: valid(lines, log_id) for p, lines in sorted(by_partition.items())}


def settings_decision(stream: Stream, *, again: str = "") -> Decision:
    """Settings and model of a stream, as a decision; `again`: a text that makes it another one than those of the same content before."""
    settings = decided(stream.settings)
    what = SettingsOf(settings, stream.model.hash, shape_of(stream), str(stream.settings.model.resolve()))
    return Decision(content_id(settings, stream.model.hash) + again, what, by=who(), at=now())


def content_of(decision: Decision) -> str:
    """The id that settings and model of a decision have where nobody brought them back; "" of any other decision."""
    return content_id(decision.what.settings, decision.what.model) if isinstance(decision.what, SettingsOf) else ""


_FEW = 6
"""Settings that are named where more are changed at once."""


def differences(before: SettingsOf | None, now: SettingsOf) -> dict[str, tuple[Any, Any]]:
    """Which settings differ, by their names: (then, now); None: there was, or is, no such thing."""
    then = dict(_flat(before.settings)) | {"model": before.model} if before is not None else {}
    new = dict(_flat(now.settings)) | {"model": now.model}
    return {k: (then.get(k), new.get(k)) for k in sorted(then | new) if then.get(k) != new.get(k)}


def shown(value: Any) -> str:
    """A value of a setting in few words."""
    if isinstance(value, str):
        return value[:24] or "none"
    if isinstance(value, (list, tuple)) and any(isinstance(of, Mapping) for of in value):
        return f"{len(value)} of them"
    return "nothing" if value is None else str(value)


def changed(before: SettingsOf, now: SettingsOf) -> str:
    """What settings change of those before, in words; empty: nothing."""
    found = differences(before, now)
    if "model" in found:
        found["model"] = (before.model[:12] or "unsaved", now.model[:12] or "unsaved")
    words = [f"{name} {shown(then)} -> {shown(to)}" for name, (then, to) in found.items()]
    return ", ".join(words[:_FEW] + ([f"and {len(words) - _FEW} more"] if len(words) > _FEW else []))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def require_same_shape(
    stream: Stream, taken: Mapping[int, Sequence[Taken]], held: Mapping[int, InForce] | None = None
) -> None:
    """Raise SettingsError where partitions hold states that this stream cannot take over; `held`: what is in force in each, where that is known."""
    for partition, lines in taken.items():
        settings = [d.what for line in lines for d in line.decisions if isinstance(d.what, SettingsOf)]
        if not settings:
            continue
        new = shape_of(stream)
        old = judging(settings[-1].shape, (held or {}).get(partition, InForce()))
        if not (why := differing(old, new)):
            continue
        msg = f"stream {stream.name} has {why} (partition {partition})"
        if differing(old, {**new, "waits": ""}):  # else what is to be done is said
            msg += (
                ": put the old model back, or give the stream another name and let both run, "
                f"or forget what was learnt (`tidewatch state reset {stream.name}`)"
            )
        raise SettingsError(msg)


def judging(shape: Mapping[str, str], held: InForce) -> Mapping[str, str]:
    """The shape of what judges a partition in which settings of a `shape` were taken last: while other channels learn, the old ones judge."""
    if held.shadow is None or not (channels := (held.settings or {}).get("channels")):
        return shape
    return {**shape, "named": ", ".join(channels)}


def refused(decision: Decision, held: InForce) -> bool:
    """Whether settings that were the last ones that a partition took are neither in force there nor learn."""
    if not isinstance(decision.what, SettingsOf) or held.serial < decision.serial:
        return False
    if held.shadow is not None and held.shadow.serial == decision.serial:
        return False
    return held.shadow is not None or (held.settings, held.model) != (decision.what.settings, decision.what.model)


def found_model(model: str, path: Path, *, beside: Sequence[Path] = (), device: str = "cpu") -> Model | None:
    """The model with this hash: where it lay when it was decided, or in one of the folders `beside`; None where it is not there."""
    for file in [path, *(p for folder in beside for p in sorted(folder.glob("*")))]:
        if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == model:
            return load_model(file, device=device)
    return None


def finder(stream: Stream) -> Callable[[str, Path], Model | None]:
    """Finds a model where it lay, and beside the stream's own, as a worker does."""
    return partial(found_model, beside=[stream.settings.model.parent])


def who() -> str:
    """Who decides: the user and the host."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name, in a container
        return socket.gethostname()


def now() -> str:
    """The wall clock, for people."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class Deciding:
    """The decisions of one worker's streams.

    Parameters
    ----------
    streams, topics, logs
        By stream; `logs` are Kafka's ids of the input topics.
    files
        What to watch: the settings file and the model files.
    load
        Reads the settings anew; the streams as they are there. Raises TidewatchError.
    """

    def __init__(
        self,
        streams: Mapping[str, Streams],
        *,
        register: Register,
        topics: Mapping[str, DecisionTopic],
        publisher: Publisher,
        logs: Mapping[str, str],
        files: Callable[[], Sequence[Path]] = lambda: (),
        load: Callable[[], Awaitable[Sequence[Stream]]] | None = None,
    ) -> None:
        self.streams = streams
        self.listings: dict[str, Listing] = {}
        self._topics = topics
        self._publisher = publisher
        self._logs = logs
        self._watched = Watched(files)
        self._load = load
        self._asked = False
        for name in streams:
            self.listings[name] = Listing(
                name,
                register,
                Journal(topics[name], publisher, name).read,
                of_log=logs[name],
                stamp=lambda: (who(), now()),
            )

    def journal(self, stream: str, partition: int) -> Journal:
        """Lines of one partition."""
        return Journal(self._topics[stream], self._publisher, stream, partition)

    async def begin(self) -> None:
        """Fill the lists up, and propose what the settings say.

        Raises
        ------
        SettingsError
            The settings cannot go on with what was learnt.
        """
        for streams in self.streams.values():
            await self._propose(streams.own)

    async def run(self) -> None:
        """Look at lists and files until cancelled; what does not answer is asked again."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            for listing in self.listings.values():
                try:
                    await listing.look()
                except (StoreError, BrokerError) as error:
                    log.debug("the list of decisions does not answer", reason=str(error))
            if self._load is not None and (self._asked or self._watched.changed()):
                self._asked = False
                await self._reload()

    def reload(self) -> None:
        """Read the settings again at the next look (SIGHUP)."""
        self._asked = True

    async def _reload(self) -> None:
        assert self._load is not None
        try:
            for stream in await self._load():
                if (streams := self.streams.get(stream.name)) is not None:
                    await self._propose(stream)
                    streams.add(stream)
        except TidewatchError as error:
            log.error("new settings are not taken, the old stay", reason=str(error))  # noqa: TRY400  one line

    async def _propose(self, stream: Stream) -> None:
        listing = self.listings[stream.name]
        entries = await Journal(self._topics[stream.name], None, stream.name).read()
        require_same_shape(stream, taken_by_partition(entries, self._logs[stream.name]))
        await listing.fill_up()
        newest = listing.newest
        told = await listing.after(0)
        before = [d.what for d in told if isinstance(d.what, SettingsOf)]
        decision = settings_decision(stream)
        # What a person brought back has an id of its own; here its content counts.
        known = max((d.serial for d in told if content_of(d) == decision.id), default=0)
        serial = known or await listing.propose(decision)
        if serial > newest:
            assert isinstance(decision.what, SettingsOf)
            changes = changed(before[-1], decision.what) if before else "the first"
            log.info("settings proposed", stream=stream.name, serial=serial, changes=changes)
        elif (last := await self._last_settings(listing)) != serial:
            log.warning(
                "settings of this worker were replaced since, the newer ones hold; `tidewatch apply` brings these back",
                stream=stream.name, own=serial, newer=last,
            )  # fmt: skip

    @staticmethod
    async def _last_settings(listing: Listing) -> int:
        return max((d.serial for d in await listing.after(0) if isinstance(d.what, SettingsOf)), default=0)
