"""The columns that flow between the steps of the loop: one dataclass per border, B or N records each.

    RecordBatch ──decode──▶ Observations ──push──▶ Windows ──score, calibrate──▶ Scored ──advance──▶ Alert, Score

All arrays of one batch have the same length, and index i means the same record in each column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Standing:
    """What Kafka says of a partition.

    Attributes
    ----------
    first, end
        First offset of the log, and the one behind its last record.
    committed
        What the group has committed; None where it has not, or only that it is going to start there, and still can.
    partitions
        Of the topic; 0: not known.
    """

    first: int
    end: int
    committed: int | None = None
    partitions: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a record could not be read, and what is there of it; all behind it in its record batch shares its fate.

    Attributes
    ----------
    detail
        Why, and which offsets.
    size
        Bytes of the record as it says, else of its batch as it was packed; 0: not known.
    key, head
        Of the record, as far as they were there.
    """

    offset: int
    reason: str
    detail: str
    size: int
    key: bytes | None = None
    head: bytes = b""


@dataclass(slots=True)
class RecordBatch:
    """All records that one poll brought of one partition, as bytes.

    Attributes
    ----------
    offsets : (N,) int64
        Rising strictly; holes are legal (compaction, transaction markers).
    next_offset
        Where the next poll goes on: after the last record *and* any markers behind it.
    timestamps : (N,) int64
        Kafka's own time stamps in ms, -1 where there is none: for metrics of latency, and where the settings say that they are the records' times.
    missed
        How many offsets before this batch expired while nobody had read them (retention was quicker).
    refused
        By offset: why a record, which has its place among the others, could not be read (`pipeline.kafka.record_batches`).
    """

    topic: str
    partition: int
    offsets: NDArray[np.int64]
    next_offset: int
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    timestamps: NDArray[np.int64]
    missed: int = 0
    refused: Mapping[int, Refused] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def since(self, offset: int) -> RecordBatch:
        """The records from an offset on; the batch itself where nothing stands before it."""
        if not len(self) or self.offsets[0] >= offset:
            return self
        return self._slice(slice(int(np.searchsorted(self.offsets, offset)), None), self.next_offset)

    def before(self, offset: int) -> RecordBatch:
        """The records before an offset, which is where the next ones begin."""
        return self._slice(slice(int(np.searchsorted(self.offsets, offset))), offset)

    def _slice(self, part: slice, next_offset: int) -> RecordBatch:
        columns = self.keys[part], self.values[part], self.timestamps[part]
        return RecordBatch(self.topic, self.partition, self.offsets[part], next_offset, *columns, refused=self.refused)


@dataclass(slots=True)
class Rejected:
    """A record that cannot be an observation: why, and which one (index into the RecordBatch)."""

    index: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """Observations of one message (`start` up to `stop`) that say where they come from.

    Attributes
    ----------
    sources
        Their names; `source` (n,) says which.
    offset, number : (n,) int64
        The position there, rising for each source.
    """

    start: int
    stop: int
    sources: tuple[str, ...]
    source: NDArray[np.int64]
    offset: NDArray[np.int64]
    number: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Order:
    """How observations stand to the order they came in, where some wait for others (`pipeline.steps.clock.waiting`); (N,) each.

    Attributes
    ----------
    came : int64
        The Kafka offset of each; `Observations.offsets` is where it went on.
    waits : bool
        It waits from here on: its series was heard of, and nothing else of it is known yet.
    waited : bool
        It waited, and goes on here. The others are where they came.
    vouched : bool
        Its event time may move the partition's, if it is accepted.
    """

    came: NDArray[np.int64]
    waits: NDArray[np.bool_]
    waited: NDArray[np.bool_]
    vouched: NDArray[np.bool_]

    def at(self, of: slice | NDArray[np.intp]) -> Order:
        """Those at some places."""
        return Order(self.came[of], self.waits[of], self.waited[of], self.vouched[of])


@dataclass(slots=True)
class Observations:
    """Decoded observations, in log order.

    Attributes
    ----------
    offsets : (N,) int64
        The Kafka offset of each.
    series : list of N str
    timestamps : (N,) int64
        Event time, ms since the epoch.
    values : (N, C) float64
        Channels of a metric, or the encoded features of a row (finite).
    originals
        For tables: the N rows as they came, for the evidence in alerts. None for metrics.
    kinds : (N,) uint8 or None
        Gauge, counter or delta (`producers.formats.base`); None: all are gauges.
    begun : (N,) int64 or None
        Since when counters and deltas count, ms; 0: not known. None: of none of them.
    stretches
        What says where it comes from; before anything counts it, `PartitionCore.unseen` asks whether it was seen before.
    order
        How they stand to the order that they came in; None: it is theirs.
    others : (N, D) float64 or None
        What a shadow of other channels reads of them (`pipeline.partition.shadows.shadow`), NaN where that is not whole; None: it reads the same.
    """

    offsets: NDArray[np.int64]
    series: list[str]
    timestamps: NDArray[np.int64]
    values: NDArray[np.float64]
    originals: Sequence[list[float | str]] | None = None
    kinds: NDArray[np.uint8] | None = None
    begun: NDArray[np.int64] | None = None
    stretches: list[Stretch] = field(default_factory=list)
    order: Order | None = None
    others: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.series)

    def part(self, start: int, stop: int) -> Observations:
        """Those from start up to stop, without where they come from; columns are shared."""
        of = slice(start, stop)
        return Observations(
            self.offsets[of],
            self.series[of],
            self.timestamps[of],
            self.values[of],
            None if self.originals is None else self.originals[of],
            None if self.kinds is None else self.kinds[of],
            None if self.begun is None else self.begun[of],
            order=None if self.order is None else self.order.at(of),
            others=None if self.others is None else self.others[of],
        )

    def take(self, keep: NDArray[np.intp]) -> Observations:
        """Those at the indices `keep` (rising, where they say where they come from); columns are copies."""
        index = keep.tolist()
        return Observations(
            self.offsets[keep],
            [self.series[i] for i in index],
            self.timestamps[keep],
            self.values[keep],
            None if self.originals is None else [self.originals[i] for i in index],
            None if self.kinds is None else self.kinds[keep],
            None if self.begun is None else self.begun[keep],
            [kept for stretch in self.stretches if (kept := _kept(stretch, keep)) is not None],
            None if self.order is None else self.order.at(keep),
            None if self.others is None else self.others[keep],
        )

    @property
    def came(self) -> NDArray[np.int64]:
        """(N,) the Kafka offset that each came at, also where it waited since."""
        return self.offsets if self.order is None else self.order.came

    @classmethod
    def merged(cls, one: Observations, other: Observations) -> Observations:
        """Both, in the order of their offsets; no offset is in both."""
        if not len(one) or not len(other):
            return one if len(one) else other
        both = cls(
            np.concatenate([one.offsets, other.offsets]),
            one.series + other.series,
            np.concatenate([one.timestamps, other.timestamps]),
            np.concatenate([one.values, other.values]),
            kinds=_together(one.kinds, other.kinds, len(one), len(other)),
            begun=_together(one.begun, other.begun, len(one), len(other)),
        )
        order = np.argsort(both.offsets, kind="stable")
        merged = both.take(order)
        at = np.empty(len(order), np.intp)
        at[order] = np.arange(len(order))
        merged.stretches = [
            replace(s, start=int(at[by + s.start]), stop=int(at[by + s.stop - 1]) + 1)
            for of, by in ((one, 0), (other, len(one)))
            for s in of.stretches
        ]
        merged.stretches.sort(key=attrgetter("start"))
        return merged


def _kept(stretch: Stretch, keep: NDArray[np.intp]) -> Stretch | None:
    """What is left of a stretch of which only those at `keep`, rising, are left."""
    start, stop = np.searchsorted(keep, [stretch.start, stretch.stop]).tolist()
    of = keep[start:stop] - stretch.start
    if not len(of):
        return None
    return Stretch(start, stop, stretch.sources, stretch.source[of], stretch.offset[of], stretch.number[of])


def _together(one: NDArray[Any] | None, other: NDArray[Any] | None, n: int, m: int) -> NDArray[Any] | None:
    if one is None and other is None:
        return None
    dtype = (one if one is not None else cast("NDArray[Any]", other)).dtype
    parts = [np.zeros(k, dtype) if c is None else c for c, k in ((one, n), (other, m))]
    return np.concatenate(parts)


@dataclass(slots=True)
class Windows:
    """Windows that end in an observation that is to be scored, in log order of that observation.

    Attributes
    ----------
    index : (B,) intp
        Which of the `Observations` is judged.
    rows : (B,) intp
        The series' row in the partition's state.
    x : (B, T, C + F) float32
        Scaled windows, covariates appended.
    ordinals : (B,) int64
        The how-manyeth accepted observation of its series this is, from 1.
    packed : (P, C) float64, starts : (B,) intp
        The same windows in the unit of the input: window b is `packed[starts[b] : starts[b] + T]`.
    filled : (B,) bool
        Whether the window holds values that stand in for missing ones.
    """

    index: NDArray[np.intp]
    rows: NDArray[np.intp]
    x: NDArray[np.float32]
    ordinals: NDArray[np.int64]
    packed: NDArray[np.float64]
    starts: NDArray[np.intp]
    filled: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(slots=True)
class Pushed:
    """What became of N observations: the windows to score, and what the time policy says of each.

    Attributes
    ----------
    accepted : (N,) bool
        In the window now. False: late, duplicate, held for confirmation.
    vouched : (N,) bool
        Accepted, and near the one before it in its series: only such event times should move the partition's, or one
        wrong clock would make every other series look silent.
    anew : (N,) bool
        Accepted, and the series' window starts anew with it (or with the held one that it confirms).
    ordinals : (N,) int64
        Of the accepted ones, see `Windows`; 0 for the others.
    packed : (P, C) float64, spans : (N, 2) intp
        What the window of an accepted observation holds so far, at most T rows in the unit of the input: `packed[a:b]`.
    counts
        `late`, `duplicate`, `first_total`, `held`, `confirmed`, `dropped_future`, `filled`, `restarted`, `warming`: how
        many.
    learnt
        (observation, row, ms) where a series' usual step changed, in order; 0: it has none.
    """

    windows: Windows
    accepted: NDArray[np.bool_]
    vouched: NDArray[np.bool_]
    anew: NDArray[np.bool_]
    ordinals: NDArray[np.int64]
    packed: NDArray[np.float64]
    spans: NDArray[np.intp]
    counts: dict[str, int] = field(default_factory=dict)
    learnt: list[tuple[int, int, int]] = field(default_factory=list)

    @classmethod
    def none(cls, n: int, windows: Windows, counts: dict[str, int], packed: NDArray[np.float64]) -> Pushed:
        """None of n observations accepted yet."""
        accepted, vouched, anew = np.zeros((3, n), np.bool_)
        return cls(windows, accepted, vouched, anew, np.zeros(n, np.int64), packed, np.zeros((n, 2), np.intp), counts)


@dataclass(frozen=True, slots=True)
class Absent:
    """A series that should have said something and has not; or, with the row -1, that many have not, or that this is over (`change`).

    Attributes
    ----------
    due
        The end of its patience in the series' own event time, ms; of many, the partition's event time since when they are absent.
    clock
        The partition's event time.
    together
        Since when many are absent together, if that is so: then nothing is said of it alone.
    change, count, of
        Of many: `anomaly` (begins), `normal`, `gone`; how many of how many series.
    cause, behind
        Where the record stands that carried the time there: among the batch's observations that have a row (half-way between two: it has none),
        and among all of them.
    """

    row: int
    due: int
    clock: int
    together: int = 0
    change: str = ""
    count: int = 0
    of: int = 0
    cause: float = 0.0
    behind: int = 0


@dataclass(slots=True)
class Heard:
    """What N observations say of their series just by coming, scored or not.

    Attributes
    ----------
    rows : (N,) intp
        The series' row in the partition's state.
    accepted : (N,) bool
        Whether the time policy believes the event time, see `Pushed`.
    watermarks : (N,) int64
        The partition's event time after each; never falls.
    absent
        What is to be said of series that say nothing, in order, each with the offset of the record that carried the time there.
    waited : (N,) bool or None
        It came earlier: whoever was told since that there is no data is not wrong. None: none did.
    """

    rows: NDArray[np.intp]
    accepted: NDArray[np.bool_]
    watermarks: NDArray[np.int64]
    absent: Sequence[tuple[Absent, int]] = ()
    waited: NDArray[np.bool_] | None = None


@dataclass(slots=True)
class Scored:
    """What the detectors and calibrators say, in the order of `Windows`; the values in the unit of the input.

    Attributes
    ----------
    index, rows, ordinals
        As in `Windows`.
    offsets, timestamps : (B,) int64
    observed : (B, C) float64
    raw, calibrated : (B, M) float64
    score : (B,) float64
        Ranks. Where the members alone decide, the aggregated calibrated score, 0..12.
    expected : (B, C) float64 or None
        NaN where a member has none.
    contributions : (B, C) float32 or None
    level : (B,) float64
        The threshold (calibrated score) that holds for each; NaN where no threshold of the score decides.
    alarm : (B,) float64
        Decides: by how many decades an observation is rarer than what is let pass; from 0 on it is anomalous. Where the members alone
        decide, `score - level`.
    live : (B,) bool
        False in probation: scored, but can raise no alert.
    packed, spans
        What the detectors saw of each, see `Pushed` (evidence).
    margins
        Given indices (k,) into these columns: how far each channel may deviate from `expected` before the level is
        reached, (k, C) in the unit of the input (`pipeline.steps.bands`). None where there is no notion of it.
    floor : (B, C) float64 or None
        What a band does not go below: 0 for what was never negative, else -inf.
    moved : (B,) float64 or None
        Decades by which feedback has raised what is let pass; `level` and `alarm` have it in them. None: nobody said anything.
    budget : (B,) float64 or None
        Where an alarm decides, rows of the series per false alert.
    said : (B, M) bool or None
        Which members say so; None: those whose calibrated score reaches the level.
    slack : (B,) float64 or None
        Where no threshold of the score decides: how far below 0 an alarm keeps an alert going; None: not at all.
    """

    index: NDArray[np.intp]
    rows: NDArray[np.intp]
    ordinals: NDArray[np.int64]
    offsets: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    observed: NDArray[np.float64]
    raw: NDArray[np.float64]
    calibrated: NDArray[np.float64]
    score: NDArray[np.float64]
    expected: NDArray[np.float64] | None
    contributions: NDArray[np.float32] | None
    level: NDArray[np.float64]
    alarm: NDArray[np.float64]
    live: NDArray[np.bool_]
    packed: NDArray[np.float64]
    spans: NDArray[np.intp]
    margins: Callable[[NDArray[np.intp]], NDArray[np.float64] | None] | None = None
    floor: NDArray[np.float64] | None = None
    moved: NDArray[np.float64] | None = None
    budget: NDArray[np.float64] | None = None
    said: NDArray[np.bool_] | None = None
    slack: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def strength(self) -> NDArray[np.float64]:
        """The alarm (B,) as it would be if nobody had said anything."""
        return self.alarm if self.moved is None else self.alarm + self.moved

    def beside(
        self, observations: Observations, rows: NDArray[np.intp], pushed: Pushed, at: NDArray[np.intp]
    ) -> Scored:
        """The same, and in their places among them observations `at` (k,) that were accepted and not scored, of which nothing is said."""
        k = len(at)
        index = np.concatenate([self.index, at])
        order = np.argsort(index, kind="stable")
        place = np.where(order < len(self), order, -1)  # of each in these columns; -1: it is not in them

        def joined(values: NDArray[Any], more: NDArray[Any]) -> NDArray[Any]:
            return np.concatenate([values, more])[order]

        def nothing(values: NDArray[Any]) -> NDArray[Any]:
            return np.full((k, *values.shape[1:]), np.nan, values.dtype)

        own = self.margins

        def margins(wanted: NDArray[np.intp]) -> NDArray[np.float64] | None:
            known = place[wanted] >= 0
            found = None if own is None else own(place[wanted][known])
            if found is None:
                return None
            out = np.full((len(wanted), observations.values.shape[1]), np.nan)
            out[known] = found
            return out

        return Scored(
            index=index[order],
            rows=joined(self.rows, rows[at]),
            ordinals=joined(self.ordinals, pushed.ordinals[at]),
            offsets=joined(self.offsets, observations.offsets[at]),
            timestamps=joined(self.timestamps, observations.timestamps[at]),
            observed=joined(self.observed, observations.values[at]),
            raw=joined(self.raw, nothing(self.raw)),
            calibrated=joined(self.calibrated, nothing(self.calibrated)),
            score=joined(self.score, np.zeros(k)),
            expected=None if self.expected is None else joined(self.expected, nothing(self.expected)),
            contributions=None
            if self.contributions is None
            else joined(self.contributions, nothing(self.contributions)),
            level=joined(self.level, nothing(self.level)),
            alarm=joined(self.alarm, nothing(self.alarm)),
            live=joined(self.live, np.zeros(k, np.bool_)),
            packed=pushed.packed,
            spans=pushed.spans[index[order]],
            margins=None if own is None else margins,
            floor=None if self.floor is None else joined(self.floor, nothing(self.floor)),
            moved=None if self.moved is None else joined(self.moved, np.zeros(k)),
            budget=None if self.budget is None else joined(self.budget, nothing(self.budget)),
        )

    def band(self, at: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Lower and upper edge (k, C) of the band of observations `at` (k,); None where there is no notion of it."""
        margins = None if self.expected is None or self.margins is None else self.margins(at)
        if margins is None or self.expected is None:
            return None
        lower, upper = self.expected[at] - margins, self.expected[at] + margins
        return lower if self.floor is None else np.maximum(lower, self.floor[at]), upper
