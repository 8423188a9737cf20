"""What the messages of a topic or a file would become, before a stream reads them: series, kinds, keys, dead letters and why.

It reads with the stream's own decoder and kinds, so nothing is said that a worker would not do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from pipeline.errors import SettingsError
from pipeline.operations.previewing import suspicions
from pipeline.partition.home import Homes, Verdict, worst
from pipeline.registry import learn_now
from pipeline.steps.batches.records import RecordBatch
from pipeline.steps.decoding import Decoder
from pipeline.steps.kinds import Kinds
from producers.batches import is_batch
from producers.formats.base import GAUGE, Unusable
from producers.formats.detect import format_of
from producers.formats.fields import Fields
from producers.formats.naming import renamed
from producers.formats.packed import unpacked
from producers.formats.registry.client import Registry
from producers.records import MAX_VALUE_BYTES

KINDS = ("gauge", "counter", "delta")
"""Names of the kinds of `producers.formats.base`."""
COMPACT = "compact batch"
"""What is read in every format, so that it is none to set."""
MOST_BYTES = 64 << 20
"""Of a file that are read."""


@dataclass(slots=True)
class SeriesSeen:
    """What is seen of one series."""

    kind: str
    observations: int = 0
    timestamp: int = 0
    values: tuple[float, ...] = ()
    partitions: set[int] = field(default_factory=set)
    keys: set[bytes | None] = field(default_factory=set)
    points: list[tuple[int, float]] = field(default_factory=list)
    """Times and values, of one channel."""


class Preview:
    """Takes messages, keeps what they would become.

    Attributes
    ----------
    format
        It reads with this one.
    fields
        Which fields it takes for what.
    formats
        Which format the messages have, by their content: how many of each; empty text: none that is known.
    letters
        Reason and detail -> how many dead letters, and where the first lies.
    """

    def __init__(
        self,
        format: str = "auto",  # noqa: A002  # the setting's name
        counter: Sequence[str] = (),
        gauge: Sequence[str] = (),
        *,
        partitions: int = 1,
        fields: Fields | None = None,
        registry: Registry | None = None,
        named: Sequence[str] = (),
        channels: int = 1,
        drop_labels: Sequence[str] = (),
        series: str = "",
    ) -> None:
        self.format = format
        self.fields = Fields() if fields is None else fields
        self.records = 0
        self.formats: Counter[str] = Counter()
        self.series: dict[str, SeriesSeen] = {}
        self.letters: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.keyless = 0
        self._decoder = Decoder("metric", len(named) or channels, format=format, fields=fields, named=named)
        self._registry = registry
        self._kinds = Kinds(counter, gauge)
        self._renamed = renamed(drop_labels, series)
        self._partitions = partitions
        self._homes: dict[int, Homes] = {}

    @property
    def skipped(self) -> Mapping[str, int]:
        """What is left out by a rule, and how often."""
        return self._decoder.skipped

    @property
    def observations(self) -> int:
        """All of them."""
        return sum(s.observations for s in self.series.values())

    @property
    def verdict(self) -> Verdict | None:
        """Whether series are not where they belong."""
        return worst(self._homes.values())

    @property
    def in_pieces(self) -> bool:
        """Whether an intake has to put series together."""
        keyless = self._partitions > 1 and 2 * self.keyless > self.records
        return keyless or (self.verdict is not None and self.verdict.in_pieces)

    @property
    def gauges(self) -> dict[str, list[tuple[int, float]]]:
        """Times and values of those that are judged as they are, with one channel, and not because somebody says so."""
        return {
            name: s.points
            for name, s in self.series.items()
            if s.kind == KINDS[GAUGE] and len(s.values) == 1 and not self._kinds.says(name)
        }

    @property
    def counts(self) -> dict[str, int]:
        """How many observations each series has."""
        return {name: s.observations for name, s in self.series.items()}

    @property
    def suspicions(self) -> list[str]:
        """What is hardly meant as it would be read, a sentence each."""
        return suspicions.told(self.gauges, self.counts)

    def take(self, batch: RecordBatch) -> None:
        """Messages of one partition. Raises RegistryError where the schema registry that they need cannot be asked."""
        learn_now(self._decoder, batch, self._registry)
        self.records += len(batch)
        self.keyless += sum(not key for key in batch.keys)
        self.formats.update(_format(value) for value in batch.values if value is not None)
        observations, rejected = self._decoder.decode(batch)
        for r in rejected:
            self.letters[r.reason, r.detail].append(int(batch.offsets[r.index]))
        told = np.zeros(len(observations), np.uint8) if observations.kinds is None else observations.kinds
        keys = [batch.keys[i] for i in np.searchsorted(batch.offsets, observations.offsets).tolist()]
        values, times = observations.values.tolist(), observations.timestamps.tolist()
        names = observations.series if self._renamed is None else self._renamed(observations.series)
        for i, name in enumerate(names):
            kind = KINDS[int(self._kinds.of_series(name, told[i : i + 1])[0])]
            seen = self.series.setdefault(name, SeriesSeen(kind))
            seen.kind, seen.timestamp, seen.values = kind, times[i], tuple(values[i])
            seen.observations += 1
            seen.points.append((times[i], values[i][0]))
            seen.partitions.add(batch.partition)
            if len(seen.keys) < 3:
                seen.keys.add(keys[i])
        homes = self._homes.setdefault(batch.partition, Homes(batch.partition))
        homes.look_at_all(batch, observations, self._partitions)


def _format(value: bytes) -> str:
    if len(value) > MAX_VALUE_BYTES:
        return ""
    if is_batch(value):
        return COMPACT
    try:
        return format_of(unpacked(value))
    except Unusable:
        return ""


def messages_of(file: Path) -> Iterator[RecordBatch]:
    """The messages in a file: one where all of it is one (protobuf, one JSON document, CSV, lines of Influx), else one a line.

    Raises SettingsError where it is too large to be looked at.
    """
    if file.stat().st_size > MOST_BYTES:
        msg = f"{file} is larger than {MOST_BYTES >> 20} MiB; cut some of it: head -c 1000000 {file} > part"
        raise SettingsError(msg)
    values = _messages(file.read_bytes())
    n = len(values)
    yield RecordBatch(str(file), 0, np.arange(n), n, [None] * n, values, np.zeros(n, np.int64))


def _messages(content: bytes) -> list[bytes]:
    name = _format(content)
    if (name in ("influx", "csv") and len(content) <= MAX_VALUE_BYTES) or name in (
        "otlp",
        "remote-write",
        "registry",
        COMPACT,
    ):
        return [content]
    try:
        msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        lines = [line for line in content.split(b"\n") if line.strip()]
        return lines if all(_is_text(line) for line in lines[:100]) else [content]
    return [content]


def _is_text(line: bytes) -> bool:
    return not any(byte < 9 or 13 < byte < 32 for byte in line[:4096])


def settled_format(formats: Mapping[str, int]) -> str:
    """The format to set for messages of these: the one that all have, else auto; empty where none is known."""
    if set(formats) == {COMPACT}:
        return "native"
    known = [name for name, count in formats.items() if name not in ("", COMPACT) and count]
    return "" if not known else known[0] if len(known) == 1 else "auto"
