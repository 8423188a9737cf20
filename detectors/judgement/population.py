"""The judgement of many series at once: what is known of each is one record of a structured array, and rows of any series come in any cut.

    histories ──▶ Population.fit ──▶ what was learnt of each known series (frozen)  ─┐
                                └──▶ its record behind its history                   ├──▶ step: rows in, score, strength, band out; records move on
    nothing ─────────────────────▶ a record of zeros: the first rows are gathered ───┘

Rows are judged one after the other by compiled loops (`kernel`), in place, so a row's bits depend neither on the cut nor on its neighbours.
`reference.Judge` is the same for one series in numpy, and slow; tests hold the two together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.compiling import JUDGEMENT, compiled
from detectors.judgement import fitting, growth
from detectors.judgement.record import JUDGING, learnt, record
from detectors.judgement.state import BLOCK, Floats, Learnt, State, Times
from detectors.judgement.terms import SCALED, TERMS
from detectors.structured import by_series

_HEAD = ("rows", "local", "counts", "tails", "narrow", "out", "debt", "peak", "calm")
_CHANNELS = ("far", "equal", "last", "cleaned", "plain", "seen", "means", "scales", "sums", "block")
_FAR = np.float32(1e15)
"""In the place of a centre that there is not."""
_KINDS = ("<f8", "<i8", "<f4", "<i4", "<u2")


class Said(NamedTuple):
    """Of B rows.

    Attributes
    ----------
    score : (B,)
        Ranks; high means anomalous.
    strength : (B,)
        By how many decades a row is rarer than the alarm's level asks for.
    anomalous : (B,) bool
    terms : (B, T)
        Each in units of its own 99 % quantile.
    expected, band : (B, C)
        The middle of what does not alarm, and half its width, in the unit of the input.
    shares : (B, C)
        Of each channel in what is odd.
    judged : (B,) bool
        Whether enough was known of the series; where not, the row was learnt from and the other columns say nothing.
    """

    score: Floats
    strength: Floats
    anomalous: NDArray[np.bool_]
    terms: Floats
    expected: Floats
    band: Floats
    shares: Floats
    judged: NDArray[np.bool_]


@dataclass(frozen=True)
class Population:
    """What was learnt of known series, and how any series is judged.

    Attributes
    ----------
    channels
        C.
    known
        Name -> place in the arrays; 0 stands for a series that is not known.
    learnt : (N + 1,) of `record.learnt`
        Frozen.
    begun : (N + 1,) of `state_dtype`
        Records behind the histories.
    """

    channels: int
    known: Mapping[str, int]
    learnt: NDArray[Any]
    begun: NDArray[Any]

    @classmethod
    def fit(
        cls,
        histories: Mapping[str, tuple[Times, Floats]],
        *,
        budget_rows: float = 10_000.0,
        offset_ms: Mapping[str, ArrayLike] | int = 0,
        placed: Mapping[str, Times] | None = None,
    ) -> Population:
        """Learn from the history of each series.

        Parameters
        ----------
        histories
            Name -> event times (n,), ms, rising, and values (n, C), finite; n >= 10.
        budget_rows
            Rows per false alert.
        offset_ms
            Of the local clock from UTC, for each row of each series, or for all.
        placed
            As in `step`, of each series.
        """
        channels = {values.shape[1] for _, values in histories.values()}
        if len(channels) > 1:
            msg = f"series must have the same number of channels, got {sorted(channels)}"
            raise ValueError(msg)
        found = cls.none(channels.pop() if channels else 1, list(histories))
        for name, (times, values) in histories.items():
            off = offset_ms if isinstance(offset_ms, int) else np.asarray(offset_ms[name], np.int64)
            where = None if placed is None else placed[name]
            fitted = fitting.fit(times, values, _replayed, budget=budget_rows, offset_ms=off, placed=where)
            found.keep(name, *fitted)
        return found

    @classmethod
    def none(cls, channels: int, names: Sequence[str] = ()) -> Population:
        """Room for what is learnt of series with these names."""
        nothing = np.zeros(len(names) + 1, learnt(channels))
        nothing["channels"]["longest"], nothing["channels"]["centres"] = np.inf, _FAR
        known = {name: k + 1 for k, name in enumerate(names)}
        return cls(channels, known, nothing, np.zeros(len(nothing), record(channels)))

    @property
    def state_dtype(self) -> np.dtype[Any]:
        """What is remembered of a series; all zeros: nothing yet."""
        return record(self.channels)

    def begin(self, states: NDArray[Any], rows: NDArray[np.intp], names: Sequence[str]) -> None:
        """Put what is known of series with these names into their records `rows` (k,); of others, nothing."""
        states[rows] = self.begun[[self.known.get(name, 0) for name in names]]

    def step(
        self,
        states: NDArray[Any],
        rows: NDArray[np.intp],
        values: Floats,
        times: Times,
        offsets_ms: ArrayLike = 0,
        budget_rows: ArrayLike = 10_000.0,
        anew: ArrayLike = False,
        placed: Times | None = None,
    ) -> Said:
        """Judge rows in order and move their series' records on, in place.

        Parameters
        ----------
        states : (R,) of `state_dtype`
        rows : (B,)
            Which record; one may come again, its rows in their order.
        values : (B, C)
        times : (B,)
            Event times, ms.
        offsets_ms, budget_rows
            For each row, or for all.
        anew
            Before which rows others of their series are missing: contexts begin anew there, what was learnt stays. For each row, or for all.
        placed : (B,)
            Local times whose bins of day and week the rows are in, where some are in others than those of their own, as holidays are
            (`calendar.Calendar.placed`).
        """
        B, C = values.shape
        if B and not 0 <= rows.min() <= rows.max() < len(states):
            msg = f"rows must lie in 0..{len(states) - 1}, got {rows.min()} and {rows.max()}"
            raise IndexError(msg)
        local = times + np.asarray(offsets_ms, np.int64)
        when = local, local if placed is None else placed
        logs = self._logs(states, rows)
        if logs is not None:
            of = states["channels"][rows]
            values = growth.taken(values, logs, of["middle"] - growth.LOWEST * of["unit"])
        out, told = self.run(states, rows, values, when, budget_rows, anew)
        T = 2 + len(TERMS)
        expected, band, shares = (out[:, a : a + C] for a in (T, T + C, T + 2 * C))
        if logs is not None:
            expected, band = growth.told(expected, band, logs)
        return Said(out[:, 0], out[:, 1], told[:, 0] > 0, out[:, 2:T], expected, band, shares, told[:, 1] > 0)

    def _logs(self, states: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[np.bool_] | None:
        """Which channels (B, C) are judged by their logarithm; None where there are none."""
        bits = states["logs"][rows]
        if not bits.any():
            return None
        return np.asarray(bits[:, None] >> np.arange(self.channels).clip(max=growth.CHANNELS) & 1, np.bool_)

    def run(
        self,
        states: NDArray[Any],
        rows: NDArray[np.intp],
        values: Floats,
        when: Sequence[Times],
        budget_rows: ArrayLike,
        anew: ArrayLike,
        sizes: Floats | None = None,
    ) -> tuple[Floats, NDArray[np.uint8]]:
        """What the compiled rows tell, see `kernel.rows.run`; `when`, (B,) each: local times, and where they are placed."""
        B, C = values.shape
        out, told = np.empty((B, 2 + len(TERMS) + 3 * C)), np.empty((B, 3), np.uint8)
        compiled(JUDGEMENT)(
            *(states.view(kind) for kind in _KINDS),
            self.learnt.view("<f4"),
            by_series(rows),
            *(np.array(a, kind) for a, kind in ((rows, np.int64), (values, np.float64))),
            *(np.array(times, np.int64) for times in when),
            _each(budget_rows, B, np.float64),
            _each(anew, B, np.uint8),
            np.empty((0, len(SCALED), C)) if sizes is None else sizes,
            *(np.empty(_scratch(C)), np.empty(4 * BLOCK, np.int64)),
            out,
            told,
        )
        return out, told

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it, for a model file."""
        names = np.frombuffer(json.dumps(list(self.known)).encode(), np.uint8)
        parts = {"learnt": self.learnt, "begun": self.begun}
        return {"names": names, **{n: a.view(np.uint8).reshape(len(a), -1) for n, a in parts.items()}}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Population:
        """What `arrays` gave. Raises KeyError or ValueError where it did not give this."""
        names = json.loads(bytes(arrays["names"]))
        size = arrays["begun"].shape[1]
        least = record(1).itemsize
        blank = cls.none(1 + (size - least) // (record(2).itemsize - least), names)
        found: dict[str, Any] = {}
        for name in ("learnt", "begun"):
            got, wanted = arrays[name], getattr(blank, name)
            shape = (len(wanted), wanted.dtype.itemsize)
            if got.shape != shape or got.dtype != np.uint8:
                msg = f"{name} is {got.dtype} {got.shape}, not uint8 {shape}"
                raise ValueError(msg)
            found[name] = got.reshape(-1).copy().view(wanted.dtype)
        if (found["begun"]["known"] != np.arange(len(names) + 1)).any():
            msg = "begun names other series"
            raise ValueError(msg)
        return replace(blank, **found)

    def keep(self, name: str, judge: Learnt, state: State) -> None:
        """Write what was learnt of a series in its place."""
        k, C = self.known[name], self.channels
        into = self.learnt[k]["channels"]
        into["weights"], into["longest"] = judge.weights.T, judge.longest
        into["centres"][:, :, : len(judge.centres)] = judge.centres.reshape(len(judge.centres), -1, C).transpose(
            2, 1, 0
        )
        if judge.others is not None:
            into["others"], self.learnt[k]["whole"] = judge.others, 1.0
        head = self.begun[k]
        head["phase"], head["known"] = JUDGING, k
        head["bins"], head["lines"] = (judge.bins.day, judge.bins.week), judge.bins.lines
        head["rows_a_day"], head["usual"] = judge.bins.rows_a_day, judge.usual
        head["days"], head["weeks"] = state.clock.days, state.clock.weeks
        for field in _HEAD:
            head[field] = getattr(state, field)
        head["logs"] = (judge.logs[: growth.CHANNELS] << np.arange(len(judge.logs[: growth.CHANNELS]))).sum()
        head["run"], head["twice"], head["once"] = state.memory
        channels = head["channels"]
        channels["middle"], channels["unit"] = judge.middle, judge.unit
        channels["level"], channels["slope"], channels["errors"] = (
            state.clock.level,
            state.clock.slope,
            state.clock.errors.T,
        )
        channels["day"][:, : len(state.clock.day)] = state.clock.day.T
        channels["week"][:, : len(state.clock.week)] = state.clock.week.T
        for field in _CHANNELS:
            channels[field] = getattr(state, field).T


def _replayed(
    judge: Learnt, state: State, values: Floats, when: Times, *, measured: bool
) -> tuple[Floats, Floats, NDArray[np.uint8]]:
    """See `fitting.Replay`."""
    one = Population.none(len(judge.middle), [""])
    one.keep("", judge, state)
    n, C = values.shape
    sizes = np.empty((n if measured else 0, len(SCALED), C))
    out, told = one.run(one.begun[1:], np.zeros(n, np.intp), values, tuple(when), judge.budget, False, sizes)
    if measured:
        return sizes.transpose(1, 0, 2), sizes, told[:, 2]
    return out[:, 2 : 2 + len(TERMS)].T, one.begun[1]["channels"]["scales"].T, told[:, 2]


@cache
def _scratch(channels: int) -> int:
    """Numbers that the compiled rows work on, of so many channels."""
    from detectors.judgement.kernel.layout import OWN, WIDE  # Numba takes its time to import

    return OWN + channels * WIDE


def _each(what: ArrayLike, n: int, kind: Any) -> NDArray[Any]:
    """One for each of n rows."""
    given = np.asarray(what)
    return np.full(n, given, kind) if given.ndim == 0 else np.array(given, kind)
