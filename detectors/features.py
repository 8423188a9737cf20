"""Named columns of a table, numbers and categories, to the C numbers that a detector takes. Fitted; in the model file.

    named column        encoded columns
    src_bytes  215   ─▶ log1p, centred, scaled, clipped; or min-max            1
    protocol   "tcp" ─▶ one column per category of the fitted rows, and one    K + 1
                        for "unknown": a category never seen stands out

Examples
--------
>>> encoder = FeatureEncoder(["bytes", "service"], categorical=["service"])
>>> rows = [[10.0, "http"], [30.0, "http"], [20.0, "smtp"]]
>>> encoded, problems = encoder.fit(rows).encode([[20.0, "ftp"], ["many", "http"]])
>>> encoded.tolist()
[[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
>>> problems
{1: "bytes is 'many', not a number"}
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from detectors.base import DetectorError, NotFittedError

Row = Sequence[float | str]
SCALINGS = ("robust", "min-max")
"""Of numeric columns."""

LARGEST = 1e300
"""Numbers beyond it are refused: squares and differences of them are not finite."""
_LOG_LARGEST = float(np.log(LARGEST))


_PART = 512
"""Rows encoded at a time: their columns stay in the cache (395,000 rows of 41 columns a second against 275,000 at 20,000)."""


@dataclass(frozen=True)
class Ranges:
    """Of each numeric column, in order: smallest and largest number of the fitted rows, and whether all were whole."""

    lowest: list[float]
    highest: list[float]
    whole: list[bool]


class _Statistics(BaseModel):
    """What is learnt of the columns; also the header's form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    categorical: tuple[str, ...]
    clip: float
    heavy: tuple[bool, ...]  # per numeric column
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    categories: tuple[tuple[str | float, ...], ...]  # per categorical column, sorted
    usual: tuple[str | float, ...] = ()  # of each column, in the order of a row; none in a file from before


class FeatureEncoder:
    """Encodes rows `[0, "tcp", "http", ...]` as float64 (N, C).

    Numbers are taken as (x - median) / (interquartile range / 1.349), which anomalies among the fitted rows do not move;
    after log1p where the column is heavy-tailed (never negative, and its largest value more than 20 times one plus the 75 %
    quantile); and clipped. A column of which half the rows are equal has no such range: its scale is the standard
    deviation, but not less than a twentieth of max(1, |median|), so that a column that never changed in the fitted
    rows stands out when it does, without drowning all others. Categories become one-hot columns plus one for "unknown".
    With `scaling="min-max"` the smallest number of the fitted rows becomes 0 and the largest 1, without a logarithm; what lies beyond them is
    beyond 0 and 1, and a column that never changed has max(1, |its value|) as its unit.

    Parameters
    ----------
    names
        All columns, in the order of a row.
    categorical
        Those of them that are categories. The encoded columns stand in this order: numbers first, then categories.
    clip
        Standardised numbers are clipped to this size.
    scaling
        `robust` or `min-max`.

    Raises
    ------
    DetectorError
        Names repeat, a categorical one is not among them, or there is no such scaling.
    """

    def __init__(
        self, names: Sequence[str], categorical: Sequence[str] = (), *, clip: float = 100.0, scaling: str = "robust"
    ) -> None:
        self.names = tuple(names)
        self.categorical = tuple(categorical)
        self.clip = clip
        self._scaling = scaling
        if scaling not in SCALINGS:
            msg = f"the columns of a table are scaled by {' or '.join(SCALINGS)}, not {scaling} (--scaling)"
            raise DetectorError(msg)
        if len(set(self.names)) != len(self.names):
            msg = f"column names repeat: {', '.join(sorted({n for n in names if self.names.count(n) > 1}))}"
            raise DetectorError(msg)
        if missing := [n for n in self.categorical if n not in self.names]:
            msg = f"categorical column {missing[0]!r} is not among the columns {', '.join(self.names)}"
            raise DetectorError(msg)
        self._numeric = tuple(i for i, n in enumerate(self.names) if n not in self.categorical)
        self._category = tuple(self.names.index(n) for n in self.categorical)
        self._learnt: _Statistics | None = None
        self.ranges: Ranges | None = None
        """Of what was fitted; no part of what is learnt, and so of no header."""

    def fit(self, rows: Sequence[Row]) -> Self:
        """Learn statistics and categories from rows; returns itself.

        Raises
        ------
        DetectorError
            No rows, or a row that is no row of this table.
        """
        if len(rows) == 0:
            msg = "no rows to fit the columns on"
            raise DetectorError(msg)
        if problems := self._problems(rows):
            first = min(problems)
            msg = f"row {first}: {problems[first]}"
            raise DetectorError(msg)
        columns = list(zip(*rows, strict=True))
        numbers = self._numbers(columns)  # (N, numeric)
        self.ranges = Ranges(
            numbers.min(axis=0).tolist(),
            numbers.max(axis=0).tolist(),
            (numbers == np.round(numbers)).all(axis=0).tolist(),
        )
        heavy, centre, scale = self._min_max(numbers) if self._scaling == "min-max" else self._robust(numbers)
        self._learn(
            _Statistics(
                names=self.names,
                categorical=self.categorical,
                clip=self.clip,
                heavy=tuple(heavy.tolist()),
                centre=tuple(centre.tolist()),
                scale=tuple(scale.tolist()),
                categories=tuple(tuple(sorted(set(columns[i]), key=_order)) for i in self._category),
                usual=self._usual(columns, numbers),
            )
        )
        return self

    def _usual(self, columns: list[tuple[Any, ...]], numbers: NDArray[np.float64]) -> tuple[str | float, ...]:
        """Of each column the median, or the category that most rows have, of equally many the first."""
        medians = dict(zip(self._numeric, np.median(numbers, axis=0).tolist(), strict=True))
        return tuple(
            medians[i] if i in medians else min(Counter(column).items(), key=lambda of: (-of[1], _order(of[0])))[0]
            for i, column in enumerate(columns)
        )

    def _robust(self, numbers: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64]]:
        """Of each numeric column: whether it is heavy-tailed, its centre and its scale."""
        top, most = np.quantile(numbers, 0.75, axis=0), numbers.max(axis=0, initial=0.0)
        heavy = (numbers.min(axis=0, initial=0.0) >= 0.0) & (most > 20.0 * (1.0 + top))
        numbers = np.where(heavy, _signed_log(numbers), numbers)
        low, centre, high = np.quantile(numbers, [0.25, 0.5, 0.75], axis=0)
        flat_scale = np.maximum(numbers.std(axis=0), 0.05 * np.maximum(np.abs(centre), 1.0))
        return heavy, centre, np.where(high > low, (high - low) / 1.349, flat_scale)

    def _min_max(self, numbers: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64]]:
        low, high = numbers.min(axis=0), numbers.max(axis=0)
        unit = np.where(high > low, high - low, np.maximum(np.abs(low), 1.0))
        return np.zeros(len(low), np.bool_), low, unit

    def encode(self, rows: Sequence[Row]) -> tuple[NDArray[np.float64], dict[int, str]]:
        """Encode rows as (N, C); the dict says for which rows that is impossible and why (those rows are zeros)."""
        out = np.zeros((len(rows), self.channels))
        problems: dict[int, str] = {}
        for start in range(0, len(rows), _PART):
            part = rows[start : start + _PART]
            if not self._encode_all(part, out[start : start + _PART]):
                bad = self._problems(part)
                good = [i for i in range(len(part)) if i not in bad]
                if good:
                    out[start + np.array(good)], _ = self.encode([part[i] for i in good])
                problems |= {start + i: reason for i, reason in bad.items()}
        return out, problems

    def place(self, category: int, text: str) -> int:
        """Which of the C columns says that a text stands in one of the categorical columns, counted in the order of a row."""
        k = self._category.index(sorted(self._category)[category])
        return self._codes[k].get(text, self._unknown[k])

    def encode_columns(self, numbers: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Rows (N, C) of the numeric columns (N, numeric), none beyond `LARGEST`, and of the `place` (N, categorical) of each category."""
        out = np.zeros((len(numbers), self.channels))
        for start in range(0, len(out), _PART):
            of = slice(start, start + _PART)
            self._fill(out[of], numbers[of].copy(), places[of].T)
        return out

    def decode(self, encoded: NDArray[np.float64]) -> list[NDArray[Any]]:
        """The columns of a table, in its order and units, from encoded rows (N, C) that need not be exact.

        Numbers are float64; of a column that was never negative and heavy-tailed none is negative. A category is the known one whose column is
        highest.
        """
        learnt, numeric = self._fitted, len(self._numeric)
        numbers = encoded[:, :numeric] * self._scale + self._centre
        for k in self._heavy:
            numbers[:, k] = np.expm1(np.clip(numbers[:, k], 0.0, _LOG_LARGEST))
        found: list[NDArray[Any]] = [np.empty(0)] * len(self.names)
        for k, i in enumerate(self._numeric):
            found[i] = numbers[:, k]
        at = numeric
        for i, categories in zip(self._category, learnt.categories, strict=True):
            known = np.array(categories, object)
            found[i] = known[encoded[:, at : at + len(known)].argmax(axis=1)]
            at += len(known) + 1
        return found

    def _encode_all(self, rows: Sequence[Row], out: NDArray[np.float64]) -> bool:
        """Encode rows into `out` if there is nothing wrong with any of them, and say whether that was so."""
        try:
            columns = list(zip(*rows, strict=True))
            numbers = self._numbers(columns)
        except (TypeError, ValueError, OverflowError, IndexError):
            return False
        # Written so that NaN counts as too large.
        if len(columns) != len(self.names) or not (np.abs(numbers) <= LARGEST).all():
            return False
        coded = zip(self._category, self._codes, self._unknown, strict=True)
        places = [
            np.fromiter(map(codes.get, columns[i], repeat(unknown)), np.intp, len(out)) for i, codes, unknown in coded
        ]
        self._fill(out, numbers, places)
        return True

    def _fill(
        self, out: NDArray[np.float64], numbers: NDArray[np.float64], places: Iterable[NDArray[np.integer[Any]]]
    ) -> None:
        """Put encoded rows into `out`, from numbers, which are worked on in place, and the column that each category stands in."""
        for k in self._heavy:
            numbers[:, k] = _signed_log(numbers[:, k])
        numbers -= self._centre
        with np.errstate(over="ignore"):  # a spread next to nothing: what overflows is cut off below
            numbers /= self._scale
        np.clip(numbers, -self.clip, self.clip, out=out[:, : len(self._numeric)])
        every = np.arange(len(out))
        for place in places:
            out[every, place] = 1.0

    def _numbers(self, columns: list[tuple[Any, ...]]) -> NDArray[np.float64]:
        """Numeric columns as (N, numeric). `array` refuses text, which numpy would read as a number."""
        n = len(columns[0])
        flat = array("d", chain.from_iterable(columns[i] for i in self._numeric))
        # A copy in row order: every later step runs along rows.
        return np.ascontiguousarray(np.frombuffer(flat, np.float64).reshape(len(self._numeric), n).T)

    def _problems(self, rows: Sequence[Row]) -> dict[int, str]:
        """Why rows cannot be encoded: the slow, thorough way, taken when the fast one fails."""
        problems: dict[int, str] = {}
        for at, row in enumerate(rows):
            if len(row) != len(self.names):
                problems[at] = f"{len(row)} values for {len(self.names)} columns"
                continue
            for i in self._numeric:
                value = row[i]
                if not isinstance(value, int | float):
                    problems[at] = f"{self.names[i]} is {_short(value)}, not a number"
                    break
                if not abs(value) <= LARGEST:
                    problems[at] = f"{self.names[i]} is {_short(value)}, not a finite number"
                    break
        return problems

    def _learn(self, learnt: _Statistics) -> None:
        self._learnt = learnt
        self._centre, self._scale = np.array(learnt.centre), np.array(learnt.scale)
        self._heavy = tuple(np.flatnonzero(learnt.heavy).tolist())
        self._codes: list[dict[str | float, int]] = []
        self._unknown: list[int] = []
        self._first: dict[int, int] = {}
        # Feature of each encoded column, and where the columns of each begin, for `by_feature`.
        owner = list(self._numeric)
        for i, categories in zip(self._category, learnt.categories, strict=True):
            self._first[i] = len(owner)
            self._codes.append({category: len(owner) + k for k, category in enumerate(categories)})
            self._unknown.append(len(owner) + len(categories))
            owner += [i] * (len(categories) + 1)
        self._owner = np.array(owner, np.intp)
        self._begin = np.flatnonzero(np.diff(self._owner, prepend=-1))

    @property
    def _fitted(self) -> _Statistics:
        if self._learnt is None:
            msg = "the columns have not been fitted: call fit first, or load a model file"
            raise NotFittedError(msg)
        return self._learnt

    @property
    def channels(self) -> int:
        """C."""
        return len(self._numeric) + sum(len(c) + 1 for c in self._fitted.categories)

    @property
    def usual(self) -> tuple[str | float, ...]:
        """What is usual in each column, in the order of a row; empty where it is not known."""
        return self._fitted.usual

    def number_of(self, column: int, value: float | str) -> float:
        """A value of a column as a number: of a category its place among the known ones; NaN for one never seen."""
        if column in self._numeric:
            return float(value)
        return float(self._codes[self._category.index(column)].get(value, np.nan) - self._first[column])

    def value_of(self, column: int, number: float) -> float | str | None:
        """The value that `number_of` made a number of; None for a category never seen."""
        if column in self._numeric:
            return number
        return self._fitted.categories[self._category.index(column)][int(number)] if number == number else None

    def by_feature(self, contributions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Contributions of encoded columns (k, C) summed to those of the named features (k, len(names))."""
        _ = self._fitted
        out = np.empty((len(contributions), len(self.names)), np.float32)
        out[:, self._owner[self._begin]] = np.add.reduceat(contributions, self._begin, axis=1)
        return out

    def to_header(self) -> Mapping[str, Any]:
        """Settings and statistics as JSON-able values; `from_header` is the inverse."""
        return self._fitted.model_dump(mode="json")

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Self:
        """Rebuild from `to_header`'s values.

        Raises
        ------
        DetectorError
            A value is missing or of the wrong type; the message names it.
        """
        try:
            learnt = _Statistics.model_validate(header)
        except ValidationError as error:
            first = error.errors()[0]
            msg = f"features: {'.'.join(str(p) for p in first['loc'])}: {first['msg']}"
            raise DetectorError(msg) from error
        encoder = cls(learnt.names, learnt.categorical, clip=learnt.clip)
        sizes = {len(learnt.heavy), len(learnt.centre), len(learnt.scale), len(encoder._numeric)}
        if len(sizes) != 1 or len(learnt.categories) != len(encoder._category):
            msg = "features: there are more or fewer statistics than columns"
            raise DetectorError(msg)
        encoder._learn(learnt)
        return encoder


def _signed_log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """log1p, continued to negative values, which a column that had none when it was fitted may bring."""
    return np.copysign(np.log1p(np.abs(x)), x)


def _order(category: str | float) -> tuple[bool, float, str]:
    """Numbers before text, so that a column may mix them."""
    return (True, 0.0, category) if isinstance(category, str) else (False, float(category), "")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
