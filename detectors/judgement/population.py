"""The judgement of many series at once: what is known of each is one record of a structured array, and rows of any series come in any cut.

    histories ──▶ Population.fit ──▶ what was learnt of each known series (frozen)  ─┐
                                └──▶ its record behind its history                   ├──▶ step: rows in, score, strength, band out; records move on
    nothing ─────────────────────▶ a record of zeros: the first rows are gathered ───┘

`engine.Judge` is the same for one series, and slow; tests hold the two together. A batch is taken in turns, each of one row of different series, and
in a turn every operation goes over series alone, so a row's bits depend neither on the cut nor on its neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.judgement import turns
from detectors.judgement.autoregression import ORDER
from detectors.judgement.engine import Judge
from detectors.judgement.short_state import CENTRES, ROWS
from detectors.judgement.state import Floats, State, Times
from detectors.judgement.terms import TERMS
from detectors.judgement.turns import JUDGING, record

_CLOCK = ("level", "slope", "errors", "days", "weeks")
_OWN = (
    "rows", "cleaned", "plain", "far", "seen", "means", "equal", "last", "scales", "sums", "block", "local", "counts", "tails",
    "bar", "peak", "calm",
)  # fmt: skip
_FAR = np.float32(1e15)
"""In the place of a centre that there is not."""


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
    weights : (N + 1, 48, C) float32
    centres : (N + 1, 32, 8 C) float32
    others : (N + 1, C, C) float32
    whole : (N + 1,) bool
        Whether `others` says anything.
    longest : (N + 1, C)
    begun : (N + 1,) of `state_dtype`
        Records behind the histories.
    """

    channels: int
    known: Mapping[str, int]
    weights: NDArray[np.float32]
    centres: NDArray[np.float32]
    others: NDArray[np.float32]
    whole: NDArray[np.bool_]
    longest: Floats
    begun: NDArray[Any]

    @classmethod
    def fit(
        cls,
        histories: Mapping[str, tuple[Times, Floats]],
        *,
        budget_rows: float = 10_000.0,
        offset_ms: Mapping[str, ArrayLike] | int = 0,
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
        """
        channels = {values.shape[1] for _, values in histories.values()}
        if len(channels) > 1:
            msg = f"series must have the same number of channels, got {sorted(channels)}"
            raise ValueError(msg)
        found = cls.none(channels.pop() if channels else 1, list(histories))
        for name, (times, values) in histories.items():
            off = offset_ms if isinstance(offset_ms, int) else np.asarray(offset_ms[name], np.int64)
            judge, state = Judge.fit(times, values, budget=budget_rows, offset_ms=off)
            found.keep(name, judge, state)
        return found

    @classmethod
    def none(cls, channels: int, names: Sequence[str] = ()) -> Population:
        """Room for what is learnt of series with these names."""
        N, C = len(names) + 1, channels
        return cls(
            channels=C,
            known={name: k + 1 for k, name in enumerate(names)},
            weights=np.zeros((N, ORDER, C), np.float32),
            centres=np.full((N, CENTRES, ROWS * C), _FAR),
            others=np.zeros((N, C, C), np.float32),
            whole=np.zeros(N, np.bool_),
            longest=np.full((N, C), np.inf),
            begun=np.zeros(N, record(C)),
        )

    @property
    def state_dtype(self) -> np.dtype[Any]:
        """What is remembered of a series; all zeros: nothing yet."""
        return record(self.channels)

    def begin(self, states: NDArray[Any], rows: NDArray[np.intp], names: Sequence[str]) -> None:
        """Put what is known of series with these names into their records `rows` (k,); of others, nothing."""
        states[rows] = self.begun[[self.known.get(name, 0) for name in names]]

    def restart(self, states: NDArray[Any], rows: NDArray[np.intp]) -> None:
        """Rows are missing before the next of these series (k,): contexts begin anew; what was learnt stays."""
        for name in ("cleaned", "plain", "means"):
            states[name][rows] = 0
        for name in ("far", "equal"):
            states[name][rows] = 0
        states["seen"][rows] = states["level"][rows][:, None]
        states["last"][rows] = np.nan

    def step(
        self,
        states: NDArray[Any],
        rows: NDArray[np.intp],
        values: Floats,
        times: Times,
        offsets_ms: ArrayLike = 0,
        budget_rows: ArrayLike = 10_000.0,
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
        """
        B, C = values.shape
        local = times + np.broadcast_to(np.asarray(offsets_ms, np.int64), (B,))
        budget = np.broadcast_to(np.asarray(budget_rows, np.float64), (B,))
        expected, band, shares = np.full((3, B, C), np.nan)
        said = Said(
            np.zeros(B),
            np.full(B, -np.inf),
            np.zeros(B, np.bool_),
            np.zeros((B, len(TERMS))),
            expected,
            band,
            shares,
            np.zeros(B, np.bool_),
        )
        for at in _turns(rows):
            young = states["phase"][rows[at]] != JUDGING
            if young.any():
                turns.gather(states, rows[at[young]], values[at[young]], local[at[young]])
            if (of := at[~young]).size:
                found = turns.judge(self, states, rows[of], values[of], local[of], budget[of])
                for column, part in zip(said[:-1], found, strict=True):
                    column[of] = part
                said.judged[of] = True
        return said

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it, for a model file."""
        names = np.frombuffer(json.dumps(list(self.known)).encode(), np.uint8)
        begun = self.begun.view(np.uint8).reshape(len(self.begun), -1)
        parts = {name: getattr(self, name) for name in ("weights", "centres", "others", "whole", "longest")}
        return {**parts, "names": names, "begun": begun}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Population:
        """What `arrays` gave. Raises KeyError or ValueError where it did not give this."""
        names = json.loads(bytes(arrays["names"]))
        C = arrays["longest"].shape[1]
        blank = cls.none(C, names)
        found: dict[str, Any] = {}
        for name in ("weights", "centres", "others", "whole", "longest"):
            found[name], wanted = arrays[name], getattr(blank, name)
            if found[name].shape != wanted.shape or found[name].dtype != wanted.dtype:
                msg = f"{name} is {found[name].dtype} {found[name].shape}, not {wanted.dtype} {wanted.shape}"
                raise ValueError(msg)
        begun = np.ascontiguousarray(arrays["begun"]).reshape(-1).view(record(C))
        if len(begun) != len(names) + 1:
            msg = f"begun holds {len(begun)} records, not {len(names) + 1}"
            raise ValueError(msg)
        return replace(blank, **found, begun=begun)

    def keep(self, name: str, judge: Judge, state: State) -> None:
        """Write what was learnt of a series in its place."""
        k = self.known[name]
        self.weights[k] = judge.weights
        self.centres[k, : len(judge.centres)] = judge.centres
        self.longest[k] = judge.longest
        if judge.others is not None:
            self.others[k], self.whole[k] = judge.others, True
        into = self.begun[k]
        into["phase"], into["known"] = JUDGING, k
        into["bins"] = judge.bins.day, judge.bins.week
        into["rows_a_day"] = judge.bins.rows_a_day
        into["middle"], into["unit"], into["usual"] = judge.middle, judge.unit, judge.usual
        into["day"][: len(state.clock.day)] = state.clock.day
        into["week"][: len(state.clock.week)] = state.clock.week
        for name in _CLOCK:
            into[name] = getattr(state.clock, name)
        for name in _OWN:
            into[name] = getattr(state, name)


def _turns(rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Places (k,) of each turn: the first row of every series, then the second, ..."""
    if not len(rows):
        return []
    order = np.argsort(rows, kind="stable")
    first = np.flatnonzero(np.diff(rows[order], prepend=-1))
    lengths = np.diff(first, append=len(rows))
    nth = np.arange(len(rows)) - np.repeat(first, lengths)
    if lengths.max() == 1:
        return [np.sort(order)]
    by_turn = np.argsort(nth, kind="stable")
    return [order[part] for part in np.split(by_turn, np.cumsum(np.bincount(nth))[:-1])]
