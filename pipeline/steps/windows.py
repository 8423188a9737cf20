"""The windows of a partition's series, moved on a batch at a time.

    (N,) observations ──sort by series──▶ judge ──▶ pack ──────────────────────────▶ window ──▶ (B, T, C + F)
       in log order                       late?     history + new ones, one buffer   scaled once per position,
                                          gap?      for all series of the batch      strided view, log order again
                                          judging   packing                          scales

- Here is the story of a window: what is kept of a series from batch to batch, when its window is full, and where it is cut. Whether an
  observation enters it is told in `pipeline.steps.clock.judging`, what stands between two in `packing`, its unit in `scales`.
- Rows of a table are all accepted; the ordinal of each is its identity.
- Nothing depends on how the stream was cut into batches: what is kept of a series is a function of its own observations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.model import Model
from detectors.structured import chosen
from detectors.windowing import covariate_table
from pipeline.settings import StreamSettings
from pipeline.steps import totals
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.outcomes import Pushed, Windows
from pipeline.steps.clock.judging import Judge
from pipeline.steps.clock.policy import NEVER, Policy
from pipeline.steps.packing import Packed
from pipeline.steps.scales import Scales
from pipeline.steps.state import PartitionState
from producers.formats.base import COUNTER, DELTA

COMPONENT = "windows"

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


class SeriesWindows:
    """Windows of all series of a partition, for one model and one stream's policy.

    What is kept of a series is one record of `dtype` (component "windows" of the partition's state): the last T - 1 values, and
    beside them 56 + 24 C bytes (17 more where C = 1); where the time of day is a covariate, 2 more for each position.
    """

    def __init__(self, model: Model, settings: StreamSettings) -> None:
        self.T = model.window
        self.C = model.channels
        self.table = covariate_table(model.time_features)
        self.F = self.table.shape[1]
        limit = round(settings.future_limit.total_seconds() * 1000) or NEVER
        self.policy = Policy(settings.fill_gaps, limit, gaps=self.T > 1) if model.kind == "metric" else None
        self.gaps = self.policy is not None and self.policy.gaps
        self.counts = model.kind == "metric" and self.C == 1
        self._scales = Scales(model.scaling)
        self.dtype = self._dtype()
        self._judge = Judge(self.policy, limit, model.interval_ms)
        self._known = {*model.interval_ms, *model.scaling.known}

    def _dtype(self) -> np.dtype[Any]:
        H, C = self.T - 1, self.C
        fields: list[tuple[Any, ...]] = []
        if H:
            fields += [("history", "<f8", (H, C))]
        if self._scales.used:
            fields += [("scaling", "<f8", (2, C))]  # centre and scale; mean and sum of squares while they are learnt
        if self.policy is not None:
            fields += [("held", "<f8", (C,)), ("held_at", "<i8")]
        if self.gaps:
            fields += [("interval", "<i8"), ("other", "<i8")]
        fields += [("last", "<i8"), ("ordinal", "<i8"), ("size", "<u4"), ("tainted", "<u4"), ("learnt", "<u4")]
        if self.gaps:
            fields += [("decided", "u1"), ("agree", "u1"), ("against", "u1"), ("tried", "u1")]
        if self.counts:
            fields += totals.FIELDS
        if H and self.F:
            fields += [("minutes", "<u2", (H,))]
        return np.dtype(fields)

    def push(self, state: PartitionState, observations: Observations, rows: NDArray[np.intp], new: list[int]) -> Pushed:
        """Judge N observations and move their series' windows on.

        Counts are replaced by their rates, in `observations.values`; those that have none are not accepted.

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
        if observations.kinds is None:
            return self._push(state, times, values, rows, counts)
        keep = self._rates(state.arrays[COMPONENT], observations, rows, counts)
        return self._push_some(state, times, values, rows, keep, counts)

    def follow(
        self, state: PartitionState, times: NDArray[np.int64], values: NDArray[np.float64], rows: NDArray[np.intp]
    ) -> Pushed:
        """Move windows on by N observations that windows of another model took before: counts are rates by now, and what is NaN has no value.

        Parameters
        ----------
        times : (N,)
        values : (N, C)
        rows : (N,)
            As in `push`; new ones were admitted.
        """
        keep = np.flatnonzero(~np.isnan(values).any(axis=1))
        return self._push_some(state, times, values, rows, keep, dict.fromkeys(_COUNTS, 0))

    def _push_some(
        self,
        state: PartitionState,
        times: NDArray[np.int64],
        values: NDArray[np.float64],
        rows: NDArray[np.intp],
        keep: NDArray[np.intp],
        counts: dict[str, int],
    ) -> Pushed:
        """Push those of N observations that have a value."""
        pushed = self._push(state, times[keep], values[keep], rows[keep], counts)
        pushed.windows.index = keep[pushed.windows.index]
        whole = Pushed.none(len(times), pushed.windows, counts, pushed.packed)
        for name in ("accepted", "vouched", "anew", "ordinals", "spans"):
            getattr(whole, name)[keep] = getattr(pushed, name)
        whole.learnt = [(int(keep[i]), row, step) for i, row, step in pushed.learnt]
        return whole

    def _push(
        self,
        state: PartitionState,
        times: NDArray[np.int64],
        values: NDArray[np.float64],
        rows: NDArray[np.intp],
        counts: dict[str, int],
    ) -> Pushed:
        if not len(times):
            return Pushed.none(0, self._no_windows(), counts, np.zeros((0, self.C)))
        slots = state.arrays[COMPONENT]
        verdict = self._judge.judge(slots, rows, times, counts)
        rulings = verdict.rulings
        accepted = rulings["accepted"].copy()
        packed = Packed.of(slots, rows, times, values, verdict, self._scales, self.table, H=self.T - 1)
        windows = self._windows(rows, packed)
        counts["warming"] = int(np.count_nonzero(accepted)) - len(windows)
        return Pushed(
            windows=windows,
            accepted=accepted,
            vouched=rulings["vouched"].copy(),
            anew=rulings["anew"].copy(),
            ordinals=packed.ordinals,
            packed=packed.values,
            spans=packed.spans,
            counts=counts,
            learnt=verdict.learnt(rows),
        )

    def _rates(
        self, slots: NDArray[Any], observations: Observations, rows: NDArray[np.intp], counts: dict[str, int]
    ) -> NDArray[np.intp]:
        """Put rates in the place of counts; returns which observations (of all) have a value now."""
        values, times, kinds = observations.values, observations.timestamps, observations.kinds
        begun = np.zeros(len(times), np.int64) if observations.begun is None else observations.begun
        of = np.flatnonzero(kinds == DELTA)
        values[of, 0] = totals.rates_of_deltas(times[of], values[of, 0], begun[of])
        timeless = int(np.count_nonzero(np.isnan(values[of, 0])))
        of = np.flatnonzero(kinds == COUNTER)
        rate, elapsed = totals.rates(slots, rows[of], times[of], values[of, 0], begun[of])
        values[of, 0] = rate
        counts["late"] += int(np.count_nonzero(elapsed < 0))
        counts["duplicate"] += int(np.count_nonzero(elapsed == 0))
        counts["first_total"] = int(np.count_nonzero(np.isnan(rate) & (elapsed > 0))) + timeless
        return np.flatnonzero(~np.isnan(values[:, 0]))

    def unscale(
        self, state: PartitionState, rows: NDArray[np.intp], scaled: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Scaled values (B, C) of series in `rows` (B,) in the unit of the input."""
        return self._scales.take_off(state.arrays[COMPONENT], rows, scaled)

    def status(self, state: PartitionState) -> list[Progress]:
        """How far each series is from being scored, in the order of their rows."""
        rows = state.rows()
        slots = state.arrays[COMPONENT][rows]
        missing = self.T - slots["size"].astype(np.int64)
        unlearnt = (self._scales.learn_rows) - slots["learnt"].astype(np.int64)
        out = []
        for row, window, learn, slot in zip(rows.tolist(), missing.tolist(), unlearnt.tolist(), slots, strict=True):
            more = max(window, learn, 0)
            cause = "" if not more else "scaling" if learn >= window else "window"
            if cause == "window" and int(slot["ordinal"]) > int(slot["size"]):
                cause = "gap"
            need = self._scales.learn_rows if cause == "scaling" else self.T
            out.append(Progress(state.names[row] or "", need - more, need, cause))
        return out

    def full(self, state: PartitionState) -> NDArray[np.bool_]:
        """Of which rows the next observation can be scored: the window is full, and its scaling known."""
        slots = state.arrays[COMPONENT]
        return np.asarray((slots["size"] >= self.T) & (slots["learnt"] >= self._scales.learn_rows))

    @property
    def need(self) -> int:
        """Observations of a series of which nothing is known until the first is scored."""
        return max(self.T, self._scales.learn_rows)

    def go_on_from(self, slots: NDArray[Any], others: NDArray[Any]) -> None:
        """Let empty records know what windows of another model know of the same series beside their values: its newest time, its step, how many it had."""
        left = {"history", "minutes", "scaling", "learnt", "size", "tainted"}
        known = set(slots.dtype.names or ()) & set(others.dtype.names or ())
        if "held" in known and slots.dtype["held"] != others.dtype["held"]:  # of other channels
            left |= {"held", "held_at"}
        for name in known - left:
            slots[name] = others[name]

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

    def admit(self, state: PartitionState, new: list[int]) -> None:
        """Put what the model knows of new series into their rows; it knows values, not rates."""
        slots = state.arrays[COMPONENT]
        for row in new:
            name = state.names[row] or ""
            if name not in self._known:
                continue
            if self._scales.knows(name) and not (self.counts and slots["kind"][row]):
                self._scales.admit(slots, row, name)
            self._judge.admit(slots, row, name)

    def _windows(self, rows: NDArray[np.intp], packed: Packed) -> Windows:
        """The windows of observations of series in `rows` (N,) that are to be scored."""
        index = packed.full.nonzero()[0]
        x, ordinals, filled = (chosen(a, index) for a in (packed.x, packed.ordinals, packed.filled))
        starts = chosen(packed.spans, index)[:, 1] - self.T
        return Windows(index, chosen(rows, index), x, ordinals, packed.values, starts, filled)

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
