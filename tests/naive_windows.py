"""Windows and time policy, one observation at a time, in plain Python: slow and obvious. Keeps everything it ever saw."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEVER = 1 << 62


@dataclass
class Entry:
    time: int
    values: list[float]
    filled: bool


@dataclass
class Outcome:
    """What became of one observation; `x` is None where no window is scored."""

    accepted: bool
    vouched: bool
    ordinal: int = 0
    x: NDArray[np.float32] | None = None
    window: list[list[float]] | None = None
    filled: bool = False
    anew: bool = False
    so_far: list[list[float]] = field(default_factory=list)
    """What the window holds, full or not."""


@dataclass
class NaiveSeries:
    entries: list[Entry] = field(default_factory=list)
    start: int = 0
    """The window starts anew at this entry."""
    last: int = 0
    ordinal: int = 0
    held: tuple[int, list[float]] | None = None
    known_interval: int | None = None
    steps: list[int] = field(default_factory=list)
    """Steps since the usual step began to be learnt."""
    restarts: int = 0
    others: list[int] = field(default_factory=list)
    """The newest steps, in a row, that agree with each other and not with the usual one."""
    learnt: int = 0
    mean: list[float] = field(default_factory=list)
    squares: list[float] = field(default_factory=list)
    scaling: list[list[float]] | None = None


def usual_step(steps: list[int]) -> tuple[int | None, list[int], int, int]:
    """The usual step (None: not known yet), the agreeing steps, how many disagreed since, how many were tried."""
    agreeing: list[int] = []
    against = 0
    for tried, step in enumerate(steps, 1):
        mean_within_a_tenth = 10 * abs(step * len(agreeing) - sum(agreeing)) <= sum(agreeing)
        if mean_within_a_tenth:
            agreeing.append(step)
        else:
            against += 1
            if against == 4:
                agreeing, against = [step], 0
        if len(agreeing) == 13:
            return math.floor(sum(agreeing) / 13 + 0.5), [], 0, 0
        if tried == 64:
            return 0, [], 0, 0
    return None, agreeing, against, len(steps)


class NaiveWindows:
    """The same as SeriesWindows for a metric; `counts` adds up."""

    def __init__(
        self,
        T: int,
        C: int,
        *,
        time_features: bool,
        known_scaling: dict[str, NDArray[np.float64]] | None,
        learn_rows: int,
        intervals: dict[str, int],
        fill_gaps: int,
        future_limit: int,
    ) -> None:
        self.T, self.C, self.time_features = T, C, time_features
        self.known_scaling, self.learn_rows, self.intervals = known_scaling, learn_rows, intervals
        self.fill_gaps = fill_gaps
        self.future_limit = future_limit or NEVER
        self.series: dict[str, NaiveSeries] = {}
        self.counts: Counter[str] = Counter()

    def push(self, name: str, time: int, values: list[float]) -> Outcome:
        if name not in self.series:
            self.series[name] = self._new(name)
        s = self.series[name]
        start = s.start
        outcome = self._pushed(s, time, values)
        outcome.anew = s.start != start
        return outcome

    def _pushed(self, s: NaiveSeries, time: int, values: list[float]) -> Outcome:
        if s.held is not None:
            if time == s.held[0]:
                self.counts["duplicate"] += 1
                return Outcome(accepted=False, vouched=False)
            held_at, held_values = s.held
            s.held = None
            if 0 < time - held_at <= max(self._longest(s), 2 * (held_at - s.last)):
                self.counts["confirmed"] += 1
                missing = self._missing(s, time - held_at)
                if missing > self.fill_gaps:
                    self.counts["restarted"] += 1
                    return self._accept(s, time, values, anew=True)
                s.start = len(s.entries)
                s.entries.append(Entry(held_at, held_values, filled=False))
                s.ordinal += 1
                self._fill(s, missing)
                return self._accept(s, time, values)
            self.counts["dropped_future"] += 1
        if s.last == 0:
            return self._accept(s, time, values)
        step = time - s.last
        if s.ordinal == 1 and step < -self.future_limit:
            self.counts["dropped_future"] += 1
            return self._accept(s, time, values, anew=True)
        if step <= 0:
            self.counts["late" if step < 0 else "duplicate"] += 1
            return Outcome(accepted=False, vouched=False)
        if step > self._longest(s):
            s.held = (time, values)
            self.counts["held"] += 1
            return Outcome(accepted=False, vouched=False)
        missing = self._missing(s, step)
        if missing > self.fill_gaps:
            self.counts["restarted"] += 1
            return self._accept(s, time, values, anew=True)
        self._fill(s, missing)
        return self._accept(s, time, values)

    def _new(self, name: str) -> NaiveSeries:
        s = NaiveSeries(mean=[0.0] * self.C, squares=[0.0] * self.C, known_interval=self.intervals.get(name))
        if self.known_scaling is not None and name in self.known_scaling:
            s.scaling = self.known_scaling[name].tolist()
            s.learnt = self.learn_rows
        return s

    def _interval(self, s: NaiveSeries) -> int | None:
        return s.known_interval if s.known_interval is not None else usual_step(s.steps)[0]

    def _longest(self, s: NaiveSeries) -> int:
        interval = self._interval(s) if self.T > 1 else None
        return max(self.future_limit, (self.fill_gaps + 2) * (interval or 0))

    def _missing(self, s: NaiveSeries, step: int) -> int:
        if self.T == 1:
            return 0
        interval = self._interval(s)
        if interval is None:
            s.steps.append(step)
            return 0
        if interval == 0:
            return 0
        if abs(step - interval) <= interval // 4:
            s.others = []
        else:
            agrees = 10 * abs(step * len(s.others) - sum(s.others)) <= sum(s.others)
            s.others = [*(s.others if agrees else []), step]
            if len(s.others) == 16:
                s.known_interval = math.floor(sum(s.others) / 16 + 0.5)
                s.others, s.restarts = [], 0
                return 0
        missing = max(math.floor(step / interval + 0.5) - 1, 0)
        s.restarts = s.restarts + 1 if missing > self.fill_gaps else 0
        if s.restarts == 16:
            s.known_interval, s.steps, s.restarts, s.others = None, [], 0, []
        return missing

    def _fill(self, s: NaiveSeries, missing: int) -> None:
        before = s.entries[-1]
        for n in range(1, missing + 1):
            self.counts["filled"] += 1
            interval = self._interval(s)
            assert interval is not None
            s.entries.append(Entry(before.time + n * interval, before.values, filled=True))

    def _accept(self, s: NaiveSeries, time: int, values: list[float], *, anew: bool = False) -> Outcome:
        if anew:
            s.start = len(s.entries)
        s.entries.append(Entry(time, values, filled=False))
        s.last = time
        s.ordinal += 1
        self._learn(s, values)
        outcome = Outcome(accepted=True, vouched=s.ordinal > 1, ordinal=s.ordinal)
        outcome.so_far = [e.values for e in s.entries[max(s.start, len(s.entries) - self.T) :]]
        if len(s.entries) - s.start >= self.T and (s.scaling is not None or self.known_scaling is None):
            window = s.entries[-self.T :]
            outcome.x = self._x(s, window)
            outcome.window = [e.values for e in window]
            outcome.filled = any(e.filled for e in window)
        else:
            self.counts["warming"] += 1
        return outcome

    def _learn(self, s: NaiveSeries, values: list[float]) -> None:
        if self.known_scaling is None or s.learnt == self.learn_rows:
            return
        s.learnt += 1
        for c, value in enumerate(values):
            off = value - s.mean[c]
            s.mean[c] += off / s.learnt
            s.squares[c] += off * (value - s.mean[c])
        if s.learnt == self.learn_rows:
            centres = [mean if math.isfinite(mean) else 0.0 for mean in s.mean]
            scales = []
            for centre, squares in zip(centres, s.squares, strict=True):
                deviation = math.sqrt(squares / s.learnt)
                known = math.isfinite(deviation) and deviation > max(abs(centre) * 1e-13, 1e-30)
                scales.append(deviation if known else max(abs(centre), 1.0))
            s.scaling = [centres, scales]

    def _x(self, s: NaiveSeries, window: list[Entry]) -> NDArray[np.float32]:
        rows = []
        for e in window:
            row = list(e.values)
            if s.scaling is not None:
                row = [(v - m) / d for v, m, d in zip(row, *s.scaling, strict=True)]
            row = [min(max(v, -1e6), 1e6) for v in row]
            if self.time_features:
                minute = _minute(e.time)
                for period in (1440, 10080):
                    phase = 2 * math.pi * (minute % period) / period
                    row += [math.sin(phase), math.cos(phase)]
            rows.append(row)
        return np.array(rows, np.float32)

    def slot(self, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        """What SeriesWindows should keep of a series."""
        s, H, C = self.series[name], self.T - 1, self.C
        out = np.zeros((), dtype)
        tail = s.entries[-H:] if H else []
        if tail:
            out["history"][H - len(tail) :] = [e.values for e in tail]
            if self.time_features:
                out["minutes"][H - len(tail) :] = [_minute(e.time) for e in tail]
        if self.known_scaling is not None:
            out["scaling"] = [s.mean, s.squares] if s.scaling is None else s.scaling
            out["learnt"] = s.learnt
        if s.held is not None:
            out["held_at"], out["held"] = s.held
        if self.T > 1:
            if s.known_interval is not None:
                interval, agreeing, against, tried = s.known_interval, [], s.restarts, 0
            else:
                decided, agreeing, against, tried = usual_step(s.steps)
                interval = sum(agreeing) if decided is None else decided
                against = against if decided is None else s.restarts
            out["decided"] = self._interval(s) is not None
            out["interval"], out["agree"], out["against"], out["tried"] = interval, len(agreeing), against, tried
            if out["decided"]:
                out["agree"], out["other"] = len(s.others), sum(s.others)
        out["last"], out["ordinal"] = s.last, s.ordinal
        out["size"] = min(len(s.entries) - s.start, self.T)
        ago = next((i for i, e in enumerate(reversed(s.entries)) if e.filled), self.T)
        out["tainted"] = max(self.T - 1 - ago, 0)
        assert out["held"].shape == (C,)
        return out


def _minute(time: int) -> int:
    return (time // 60_000 + 3 * 1440) % 10080
