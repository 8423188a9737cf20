"""The windows of a partition's series, moved on a batch at a time.

    (N,) observations ──sort by series──▶ judge ──▶ pack ──────────────────────────▶ window ──▶ (B, T, C + F)
       in log order                       late?     history + new ones, one buffer   scaled once per position,
                                          gap?      for all series of the batch      strided view, log order again

- The policy (late, repeated, missing, far ahead) is `pipeline.steps.policy`; it is asked one by one only for the series of a batch
  that have an oddity or whose usual step is not known yet. Rows of a table have no policy: every one is accepted, its
  ordinal is its identity.
- An unknown series is scaled by mean and standard deviation of its first `learn_rows` accepted observations, summed up one
  after the other (Welford), and not scored before.
- Nothing depends on how the stream was cut into batches: what is kept of a series is a function of its own observations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.model import Model
from detectors.windowing import covariate_table, minutes_of_week, strided
from pipeline.settings import StreamSettings
from pipeline.steps import totals
from pipeline.steps.batches import Observations, Pushed, Windows
from pipeline.steps.policy import NEVER, Policy, SeriesClock
from pipeline.steps.state import PartitionState

COMPONENT = "windows"

CLIP = 1e6
"""Scaled values are clipped to so many scales, so that any finite value can be scored in float32."""

_COUNTS = ("late", "duplicate", "first_total", "held", "confirmed", "dropped_future", "filled", "restarted", "warming")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a series is from being scored.

    `have` of `need` observations, still missing because of `cause`: `window` (it is filling), `scaling` (centre and scale are
    being learnt), `gap` (the window started anew), or none: it is scored.
    """

    series: str
    have: int
    need: int
    cause: str

    def __str__(self) -> str:
        if not self.cause:
            return "scored"
        return f"warming {self.have}/{self.need}, {self.need - self.have} more needed ({self.cause})"


@dataclass(slots=True)
class _Sorted:
    """The observations of a batch, sorted by series; a segment is one series' part.

    `order` (N,) gives the place in the batch; `rows`, `first`, `lengths` (K,) describe the segments.
    """

    order: NDArray[np.intp]
    rows: NDArray[np.intp]
    first: NDArray[np.intp]
    lengths: NDArray[np.intp]
    times: NDArray[np.int64]

    @classmethod
    def of(cls, rows: NDArray[np.intp], timestamps: NDArray[np.int64]) -> _Sorted:
        # numpy sorts 16-bit integers by radix, 12 times as fast as wider ones.
        narrow = rows.astype(np.uint16) if rows.max() < 1 << 16 else rows
        order = np.argsort(narrow, kind="stable")
        by_row = rows[order]
        first = np.flatnonzero(np.concatenate([[True], by_row[1:] != by_row[:-1]]))
        return cls(order, by_row[first], first, np.diff(first, append=len(rows)), timestamps[order])

    def steps(self, last: NDArray[np.int64]) -> NDArray[np.int64]:
        """From each to the next (N,), given the time before each segment (K,)."""
        steps = np.diff(self.times, prepend=0)
        steps[self.first] = self.times[self.first] - last
        return steps


@dataclass(slots=True)
class _Verdict:
    """What the policy says of each sorted observation, (N,) each.

    Attributes
    ----------
    accepted
        Whether it enters the window.
    fills, since, apart
        How many missing values go before it, the time of the observation before them, and the usual step.
    anew
        The window starts anew with it, or with the held one that it confirms.
    confirmed
        Sorted place -> time and values (C,) of the held one that the observation there confirms.
    """

    accepted: NDArray[np.bool_]
    fills: NDArray[np.intp]
    since: NDArray[np.int64]
    apart: NDArray[np.int64]
    anew: NDArray[np.bool_]
    confirmed: dict[int, tuple[int, NDArray[np.float64]]]

    @classmethod
    def clean(cls, n: int) -> _Verdict:
        none = np.zeros((2, n), np.int64)
        return cls(np.ones(n, np.bool_), np.zeros(n, np.intp), none[0], none[1], np.zeros(n, np.bool_), {})


@dataclass(slots=True)
class _Packed:
    """History and accepted observations of all segments that have some, one segment after the other, missing ones filled in.

        base[j]          base[j] + H                      at[i]
        │ history (H)    │ [held] [filled ...] accepted ... │ ...          segment j

    Attributes
    ----------
    rows, base, begin, count : (J,)
        State row of each segment, where it begins in `values`, its first in `accepted` and how many it has there.
    accepted, segment, entries, at : (A,)
        Sorted place of each accepted observation, its segment, how many entries it brought (itself, missing ones, one
        that it confirmed), and where it stands in `values`.
    values : (P, C)
        In the unit of the input.
    minutes : (P,) or None
        Minute of the week, where there are covariates.
    """

    rows: NDArray[np.intp]
    base: NDArray[np.intp]
    begin: NDArray[np.intp]
    count: NDArray[np.intp]
    accepted: NDArray[np.intp]
    segment: NDArray[np.intp]
    entries: NDArray[np.intp]
    at: NDArray[np.intp]
    values: NDArray[np.float64]
    minutes: NDArray[np.uint16] | None

    @property
    def ends(self) -> NDArray[np.intp]:
        """(J,) the last one of `accepted` of each segment."""
        return self.begin + self.count - 1


class SeriesWindows:
    """Windows of all series of a partition, for one model and one stream's policy.

    What is kept of a series is one record of `dtype` (component "windows" of the partition's state): the last T - 1 values, and
    beside them 48 + 24 C bytes (16 more for OTLP); where the time of day is a covariate, 2 more for each position.
    """

    def __init__(self, model: Model, settings: StreamSettings) -> None:
        self.T = model.window
        self.C = model.channels
        self.scaling = model.scaling
        self.intervals = model.interval_ms
        self.limit = round(settings.future_limit.total_seconds() * 1000) or NEVER
        self.table = covariate_table(model.time_features)
        self.F = self.table.shape[1]
        self.scaled = model.scaling.method != "none"
        self.policy = Policy(settings.fill_gaps, self.limit, gaps=self.T > 1) if model.kind == "metric" else None
        self.gaps = self.policy is not None and self.policy.gaps
        self.totals = settings.format == "otlp"
        self.dtype = self._dtype()
        self._clock_fields = [n for n in SeriesClock.__slots__ if n in (self.dtype.names or ())]
        self._kept_by_walk = [n for n in self._clock_fields if n not in ("last", "ordinal")]

    def _dtype(self) -> np.dtype[Any]:
        H, C = self.T - 1, self.C
        fields: list[tuple[Any, ...]] = []
        if H:
            fields += [("history", "<f8", (H, C))]
        if self.scaled:
            fields += [("scaling", "<f8", (2, C))]  # centre and scale; mean and sum of squares while they are learnt
        if self.policy is not None:
            fields += [("held", "<f8", (C,)), ("held_at", "<i8")]
        if self.gaps:
            fields += [("interval", "<i8")]
        fields += [("last", "<i8"), ("ordinal", "<i8"), ("size", "<u4"), ("tainted", "<u4"), ("learnt", "<u4")]
        if self.gaps:
            fields += [("decided", "u1"), ("agree", "u1"), ("against", "u1"), ("tried", "u1")]
        if self.totals:
            fields += totals.FIELDS
        if H and self.F:
            fields += [("minutes", "<u2", (H,))]
        return np.dtype(fields)

    def push(self, state: PartitionState, observations: Observations, rows: NDArray[np.intp], new: list[int]) -> Pushed:
        """Judge N observations and move their series' windows on.

        Running totals are replaced by their rates, in `observations.values`; those that have none are not accepted.

        Parameters
        ----------
        rows : (N,)
            The state row of each observation's series.
        new
            Those of them that are new.
        """
        self.admit(state, new)
        counts = dict.fromkeys(_COUNTS, 0)
        times, values = observations.timestamps, observations.values
        state.touch(rows)
        if observations.totals is None:
            return self._push(state, times, values, rows, counts)
        keep = self._rates(state.arrays[COMPONENT], observations, rows, counts)
        pushed = self._push(state, times[keep], values[keep], rows[keep], counts)
        pushed.windows.index = keep[pushed.windows.index]
        accepted, vouched = np.zeros(len(times), np.bool_), np.zeros(len(times), np.bool_)
        accepted[keep], vouched[keep] = pushed.accepted, pushed.vouched
        return Pushed(pushed.windows, accepted, vouched, counts)

    def _push(
        self,
        state: PartitionState,
        times: NDArray[np.int64],
        values: NDArray[np.float64],
        rows: NDArray[np.intp],
        counts: dict[str, int],
    ) -> Pushed:
        accepted, vouched = np.zeros(len(times), np.bool_), np.zeros(len(times), np.bool_)
        pushed = Pushed(self._no_windows(), accepted, vouched, counts)
        if not len(times):
            return pushed
        slots = state.arrays[COMPONENT]
        batch = _Sorted.of(rows, times)
        values = values[batch.order]
        verdict = self._judge(slots, batch, values, counts)
        accepted[batch.order] = verdict.accepted
        vouched[batch.order] = self._vouched(slots, batch, verdict)
        if verdict.accepted.any():
            packed = self._pack(slots, batch, verdict, values)
            pushed.windows = self._move_on(slots, batch, verdict, packed)
        counts["warming"] = int(np.count_nonzero(accepted)) - len(pushed.windows)
        return pushed

    def _rates(
        self, slots: NDArray[Any], observations: Observations, rows: NDArray[np.intp], counts: dict[str, int]
    ) -> NDArray[np.intp]:
        """Put rates in the place of totals; returns which observations (of all) have a value now."""
        assert observations.totals is not None
        of = np.flatnonzero(observations.totals)
        values, times = observations.values, observations.timestamps
        rate, elapsed = totals.rates(slots, rows[of], times[of], values[of, 0])
        values[of, 0] = rate
        counts["late"] += int(np.count_nonzero(elapsed < 0))
        counts["duplicate"] += int(np.count_nonzero(elapsed == 0))
        counts["first_total"] = int(np.count_nonzero(np.isnan(rate) & (elapsed > 0)))
        return np.flatnonzero(~np.isnan(values[:, 0]))

    def unscale(
        self, state: PartitionState, rows: NDArray[np.intp], scaled: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Scaled values (B, C) of series in `rows` (B,) in the unit of the input."""
        if not self.scaled:
            return scaled.astype(np.float64)
        scaling = state.arrays[COMPONENT]["scaling"][rows]
        return np.asarray(scaled * scaling[:, 1] + scaling[:, 0])

    def idle_rows(self, state: PartitionState, watermark: int, idle_after: int) -> NDArray[np.intp]:
        """Rows of series whose newest observation is more than `idle_after` ms older than `watermark`, rising."""
        rows = state.rows()
        return rows[state.arrays[COMPONENT]["last"][rows] < watermark - idle_after]

    def status(self, state: PartitionState) -> list[Progress]:
        """How far each series is from being scored, in the order of their rows."""
        rows = state.rows()
        slots = state.arrays[COMPONENT][rows]
        missing = self.T - slots["size"].astype(np.int64)
        unlearnt = (self.scaling.learn_rows if self.scaled else 0) - slots["learnt"].astype(np.int64)
        out = []
        for row, window, learn, slot in zip(rows.tolist(), missing.tolist(), unlearnt.tolist(), slots, strict=True):
            more = max(window, learn, 0)
            cause = "" if not more else "scaling" if learn >= window else "window"
            if cause == "window" and int(slot["ordinal"]) > int(slot["size"]):
                cause = "gap"
            need = self.scaling.learn_rows if cause == "scaling" else self.T
            out.append(Progress(state.names[row] or "", need - more, need, cause))
        return out

    def start_anew(self, state: PartitionState) -> None:
        """Records were missed: no window may reach across them, however near the event times on both sides are.

        What a series' next observation is compared with, what was learnt of it and its running total stay.
        """
        if self.policy is None:
            return
        slots = state.arrays[COMPONENT]
        slots["held"], slots["held_at"] = 0.0, 0
        if self.gaps:
            slots["size"], slots["tainted"] = 0, 0
        state.touch(state.rows())

    # The policy

    def admit(self, state: PartitionState, new: list[int]) -> None:
        """Put what the model knows of new series into their rows."""
        slots = state.arrays[COMPONENT]
        for row in new:
            name = state.names[row] or ""
            if self.scaled and (known := self.scaling.known.get(name)) is not None:
                slots["scaling"][row] = known
                slots["learnt"][row] = self.scaling.learn_rows
            if self.gaps and (interval := self.intervals.get(name)) is not None:
                slots["interval"][row] = interval
                slots["decided"][row] = 1

    def _judge(
        self, slots: NDArray[Any], batch: _Sorted, values: NDArray[np.float64], counts: dict[str, int]
    ) -> _Verdict:
        """The policy for all segments: at once for those without any oddity, one by one for the others."""
        verdict = _Verdict.clean(len(batch.times))
        if self.policy is None:
            return verdict
        rows = batch.rows
        last = slots["last"][rows]
        steps = batch.steps(last)
        steps[batch.first[last == 0]] = 1
        bound = np.full(len(rows), self.limit)
        if self.gaps:
            interval = slots["interval"][rows]
            # Nearer to one interval than to two: twice the step is less than three intervals.
            bound = np.where(interval > 0, (3 * interval - 1) // 2, bound)
        odd = (steps <= 0) | (steps > np.repeat(bound, batch.lengths))
        slow = np.logical_or.reduceat(odd, batch.first) | (slots["held_at"][rows] != 0)
        if self.gaps:
            slow |= slots["decided"][rows] == 0
            slots["against"][rows[~slow]] = 0  # restarts in a row
        for k in np.flatnonzero(slow).tolist():
            part = slice(int(batch.first[k]), int(batch.first[k] + batch.lengths[k]))
            self._walk(slots[rows[k]], part, batch.times, values, odd, verdict, counts)
        broken = np.flatnonzero((slots["size"][rows] == 0) & (last != 0))  # by `start_anew`
        if len(broken):
            self._begin_anew(batch, broken, verdict, counts)
        return verdict

    def _begin_anew(self, batch: _Sorted, broken: NDArray[np.intp], verdict: _Verdict, counts: dict[str, int]) -> None:
        """The first accepted observation of segments `broken` (k,) begins its series' window; nothing is filled in before it."""
        for k in broken.tolist():
            part = slice(int(batch.first[k]), int(batch.first[k] + batch.lengths[k]))
            accepted = np.flatnonzero(verdict.accepted[part])
            if not len(accepted):
                continue
            at = part.start + int(accepted[0])
            if at in verdict.confirmed:  # it came behind the break, with the one that it confirms
                continue
            counts["filled"] -= int(verdict.fills[at])
            counts["restarted"] += not verdict.anew[at]
            verdict.fills[at] = 0
            verdict.anew[at] = True

    def _walk(
        self,
        slot: np.void,
        part: slice,
        times: NDArray[np.int64],
        values: NDArray[np.float64],
        odd: NDArray[np.bool_],
        verdict: _Verdict,
        counts: dict[str, int],
    ) -> None:
        """Ask the policy for the observations of one segment, all but those that follow each other as they should."""
        assert self.policy is not None
        clock = SeriesClock(self.policy, **{name: int(slot[name]) for name in self._clock_fields})
        held = slot["held"].copy()
        # `odd` compares neighbours and was made with the usual step of before: it says nothing where the step is learnt
        # on the way, or where the neighbour was not accepted.
        marked = iter([*np.flatnonzero(odd[part]).tolist(), part.stop - part.start])
        calm = settled = clock.settled
        of_part = times[part].tolist()
        i, n, next_odd = 0, len(of_part), -1
        while True:
            if calm:
                while next_odd < i:
                    next_odd = next(marked)
                if next_odd > i:
                    clock.follow(of_part[next_odd - 1], next_odd - i)
                    i = next_odd
            if i == n:
                break
            held_at, last = clock.held_at, clock.last
            ruling = clock.judge(of_part[i])
            settled = settled and clock.settled
            calm = settled and ruling.accepted
            if ruling.counts:
                at = part.start + i
                for what in ruling.counts:
                    counts[what] += 1
                verdict.accepted[at] = ruling.accepted
                verdict.anew[at] = ruling.anew
                if ruling.confirms:
                    verdict.confirmed[at] = (held_at, held)
                    last = held_at
                if ruling.fills:
                    verdict.fills[at], verdict.since[at], verdict.apart[at] = ruling.fills, last, clock.interval
                if clock.held_at not in (0, held_at):
                    held = values[at]
            i += 1
        for name in self._kept_by_walk:
            slot[name] = getattr(clock, name)
        slot["held"] = held if clock.held_at else 0.0

    def _vouched(self, slots: NDArray[Any], batch: _Sorted, verdict: _Verdict) -> NDArray[np.bool_]:
        """Which event times (N,), sorted, the observation before in the same series vouches for."""
        last, ordinal = slots["last"][batch.rows], slots["ordinal"][batch.rows]
        if self.policy is None:
            near = batch.steps(last) <= self.limit
            near[batch.first[ordinal == 0]] = False
            return near
        known = verdict.accepted.copy()
        starting = batch.first[ordinal == 0]
        known[starting] = False  # a series' very first is always accepted
        return known

    # Windows

    def _pack(self, slots: NDArray[Any], batch: _Sorted, verdict: _Verdict, values: NDArray[np.float64]) -> _Packed:
        H = self.T - 1
        count = np.add.reduceat(verdict.accepted.astype(np.intp), batch.first)
        rows, count = batch.rows[count > 0], count[count > 0]
        begin = np.cumsum(count) - count
        accepted = np.flatnonzero(verdict.accepted)
        segment = np.repeat(np.arange(len(rows)), count)
        entries = 1 + verdict.fills[accepted]
        confirming = np.fromiter(verdict.confirmed, np.intp, len(verdict.confirmed))
        entries[np.searchsorted(accepted, confirming)] += 1
        stop = np.cumsum(entries)
        at = stop - 1 + (segment + 1) * H
        base = stop[begin] - entries[begin] + np.arange(len(rows)) * H
        size = int(stop[-1]) + len(rows) * H
        packed = _Packed(
            rows=rows,
            base=base,
            begin=begin,
            count=count,
            accepted=accepted,
            segment=segment,
            entries=entries,
            at=at,
            values=np.empty((size, self.C)),
            minutes=np.empty(size, np.uint16) if self.F else None,
        )
        packed.values[at] = values[accepted]
        if H:
            packed.values[base[:, None] + np.arange(H)] = slots["history"][rows]
        if packed.minutes is not None:
            packed.minutes[at] = minutes_of_week(batch.times[accepted])
            if H:
                packed.minutes[base[:, None] + np.arange(H)] = slots["minutes"][rows]
        if verdict.confirmed:
            self._insert_confirmed(packed, verdict)
        if self.gaps and verdict.fills.any():
            self._fill(packed, verdict)
        return packed

    def _insert_confirmed(self, packed: _Packed, verdict: _Verdict) -> None:
        for place, (time, values) in verdict.confirmed.items():
            i = int(np.searchsorted(packed.accepted, place))
            at = int(packed.at[i] - packed.entries[i]) + 1
            packed.values[at] = values
            if packed.minutes is not None:
                packed.minutes[at] = minutes_of_week(np.array(time))

    def _fill(self, packed: _Packed, verdict: _Verdict) -> None:
        """Put the last value, at times one usual step apart, where values are missing."""
        after = np.flatnonzero(verdict.fills[packed.accepted])
        fills = verdict.fills[packed.accepted[after]]
        nth = np.arange(int(fills.sum())) - np.repeat(np.cumsum(fills) - fills, fills)
        before = np.repeat(packed.at[after] - fills - 1, fills)
        packed.values[before + 1 + nth] = packed.values[before]
        if packed.minutes is not None:
            since = np.repeat(verdict.since[packed.accepted[after]], fills)
            apart = np.repeat(verdict.apart[packed.accepted[after]], fills)
            packed.minutes[before + 1 + nth] = minutes_of_week(since + (nth + 1) * apart)

    def _move_on(self, slots: NDArray[Any], batch: _Sorted, verdict: _Verdict, packed: _Packed) -> Windows:
        """Write the series' new state, and cut the windows that are to be scored."""
        T, H, rows, begin, at, segment = self.T, self.T - 1, packed.rows, packed.begin, packed.at, packed.segment
        fills = verdict.fills[packed.accepted]

        start = np.where(verdict.anew[packed.accepted], at - packed.entries + 1, -1)
        start[begin] = np.maximum(start[begin], packed.base + H - slots["size"][rows])
        size = at - np.maximum.accumulate(start) + 1

        filled_at = np.where(fills > 0, at - 1, -1)
        filled_at[begin] = np.maximum(filled_at[begin], packed.base - 1 + slots["tainted"][rows])
        since_filled = at - np.maximum.accumulate(filled_at)

        brought = packed.entries - fills
        ordinal = np.cumsum(brought)
        ordinal += (slots["ordinal"][rows] - (ordinal[begin] - brought[begin]))[segment]

        full = size >= T
        if self.scaled:
            learnt = slots["learnt"][rows][segment] + np.arange(len(at)) - begin[segment] + 1
            self._learn_scaling(slots, packed)
            full &= learnt >= self.scaling.learn_rows
            slots["learnt"][rows] = np.minimum(learnt[packed.ends], self.scaling.learn_rows)

        ends = packed.ends
        if H:
            kept = at[ends, None] + np.arange(1 - H, 1)
            slots["history"][rows] = packed.values[kept]
            if packed.minutes is not None:
                slots["minutes"][rows] = packed.minutes[kept]
        slots["last"][rows] = batch.times[packed.accepted[ends]]
        slots["ordinal"][rows] = ordinal[ends]
        slots["size"][rows] = np.minimum(size[ends], T)
        slots["tainted"][rows] = np.maximum(H - since_filled[ends], 0)

        index = batch.order[packed.accepted]
        chosen = np.flatnonzero(full)
        chosen = chosen[np.argsort(index[chosen])]  # log order
        if not len(chosen):
            return self._no_windows()
        return Windows(
            index=index[chosen],
            rows=rows[segment[chosen]],
            x=strided(self._scale(slots, packed), T)[at[chosen] - H],
            ordinals=ordinal[chosen],
            packed=packed.values,
            starts=at[chosen] - H,
            filled=since_filled[chosen] < T,
        )

    def _learn_scaling(self, slots: NDArray[Any], packed: _Packed) -> None:
        """Add the observations of series without a scaling to their sums, the first of each, the second of each ..."""
        learnt = slots["learnt"][packed.rows].astype(np.int64)
        todo = np.minimum(packed.count, self.scaling.learn_rows - learnt)
        unknown = np.flatnonzero(todo > 0)
        if not len(unknown):
            return
        todo, learnt, rows = todo[unknown], learnt[unknown], packed.rows[unknown]
        begin = packed.begin[unknown]
        sums = slots["scaling"][rows]
        mean, squares = sums[:, 0], sums[:, 1]
        with np.errstate(over="ignore", invalid="ignore"):
            for nth in range(int(todo.max())):
                of = np.flatnonzero(todo > nth)
                value = packed.values[packed.at[begin[of] + nth]]
                off = value - mean[of]
                mean[of] += off / (learnt[of] + nth + 1)[:, None]
                squares[of] += off * (value - mean[of])
        done = learnt + todo == self.scaling.learn_rows
        sums[done] = self.scaling.of_sums(self.scaling.learn_rows, mean[done], squares[done])
        slots["scaling"][rows] = sums

    def _scale(self, slots: NDArray[Any], packed: _Packed) -> NDArray[np.float32]:
        """Scaled values and covariates of each position, (P, C + F) float32."""
        out = np.empty((len(packed.values), self.C + self.F), np.float32)
        values = packed.values
        if self.scaled:
            ready = slots["learnt"][packed.rows] >= self.scaling.learn_rows
            scaling = np.where(ready[:, None, None], slots["scaling"][packed.rows], 1.0)
            lengths = np.diff(packed.base, append=len(values))
            with np.errstate(over="ignore"):
                values = values - np.repeat(scaling[:, 0], lengths, axis=0)
                values /= np.repeat(scaling[:, 1], lengths, axis=0)
        np.clip(values, -CLIP, CLIP, out=out[:, : self.C], casting="same_kind")
        if packed.minutes is not None:
            out[:, self.C :] = self.table[packed.minutes]
        return out

    def _no_windows(self) -> Windows:
        none = np.zeros(0, np.intp)
        return Windows(
            index=none,
            rows=none,
            x=np.zeros((0, self.T, self.C + self.F), np.float32),
            ordinals=np.zeros(0, np.int64),
            packed=np.zeros((0, self.C)),
            starts=none,
            filled=np.zeros(0, np.bool_),
        )
