"""What a data set is: series of recorded observations in columns, and, apart from them, their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from producers.errors import DataError

Kind = Literal["metric", "table"]


@dataclass(frozen=True)
class Window:
    """A labelled stretch of event time, both ends included, in ms since the epoch; `name` says what happened, or ""."""

    first: int
    last: int
    name: str = ""


@dataclass(frozen=True)
class Series:
    """Recorded observations of one series, in the order of their source (which may step back in time).

    Attributes
    ----------
    timestamps : (n,) int64
        Event time, ms since the epoch.
    columns : C arrays (n,)
        float64, or object holding str where the column is a category. A missing number is NaN.
    interval_ms
        The usual step; 0 = irregular.
    positions : (n,) int64
        Which row of the source each observation is, from 0.
    """

    name: str
    timestamps: NDArray[np.int64]
    columns: tuple[NDArray[Any], ...]
    interval_ms: int = 0
    positions: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        if len(self.positions) != len(self.timestamps):
            object.__setattr__(self, "positions", np.arange(len(self.timestamps), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.timestamps)

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """(n, C) float64. Raises DataError where a column is a category."""
        if any(c.dtype == object for c in self.columns):
            msg = f"series {self.name} has categories among its columns; use rows(), and encode them"
            raise DataError(msg)
        return np.column_stack(self.columns).astype(np.float64, copy=False)

    def rows(self, start: int = 0, stop: int | None = None) -> list[list[float | str]]:
        """Rows [start, stop) as lists, as they stand in an observation."""
        return [list(row) for row in zip(*(c[start:stop].tolist() for c in self.columns), strict=True)]

    def take(self, which: NDArray[Any]) -> Series:
        """The observations that an index array or mask selects."""
        return replace(
            self,
            timestamps=self.timestamps[which],
            columns=tuple(c[which] for c in self.columns),
            positions=self.positions[which],
        )


@dataclass(frozen=True)
class Labels:
    """What is known of one series' anomalies; never part of an observation.

    Attributes
    ----------
    windows
        Labelled stretches of event time; for a table its episodes: runs of anomalous rows of one category.
    anomalous : (n,) bool
        Per observation of the series. For metrics: inside a window.
    categories : (n,) object of str, or None
        What each row is, where the source says so (KDD's attack type).
    """

    windows: tuple[Window, ...]
    anomalous: NDArray[np.bool_]
    categories: NDArray[Any] | None = None


@dataclass(frozen=True)
class Layout:
    """Which columns of a user's file mean what.

    Attributes
    ----------
    timestamp_column
        Event time: ISO 8601, `YYYY-MM-DD HH:MM:SS`, or a number since 1970 (seconds, ms, us or ns, told by its size). None:
        the rows of a table, with made-up times one second apart.
    value_columns
        What is judged, several columns as one multivariate series; empty: every other column (with a time stamp, every other
        column that holds numbers).
    series_column
        Names the series of each row; None: all rows are one series, named after the file.
    time_zone
        Of time stamps that do not say it themselves: `UTC`, `Europe/Berlin`.
    """

    timestamp_column: str | None = None
    value_columns: tuple[str, ...] = ()
    series_column: str | None = None
    time_zone: str = "UTC"


@dataclass(frozen=True)
class Dataset:
    """A recorded data set.

    Attributes
    ----------
    name
        As given to `open_dataset`.
    kind
        `metric`: numbers in event time. `table`: rows, whose order is their identity.
    channels
        Names of the columns of every series.
    categorical
        Those of them that hold categories.
    source
        One line for people: where the data is from, or that it is synthetic.
    synthetic
        True where the data is a made-up twin; say so wherever results are shown.
    """

    name: str
    kind: Kind
    channels: tuple[str, ...]
    source: str
    all_series: Mapping[str, Series]
    all_labels: Mapping[str, Labels] = field(default_factory=dict)
    categorical: tuple[str, ...] = ()
    synthetic: bool = False

    def series(self, *globs: str) -> dict[str, Series]:
        """Series by name, in the data set's order; with globs, those whose name matches one of them.

        Raises
        ------
        DataError
            No series matches.
        """
        found = {n: s for n, s in self.all_series.items() if not globs or any(fnmatchcase(n, g) for g in globs)}
        if not found:
            some = ", ".join(list(self.all_series)[:3])
            msg = f"no series of {self.name} matches {' or '.join(globs)}; there are {len(self.all_series)}: {some} ..."
            raise DataError(msg)
        return found

    def labels(self, *globs: str) -> dict[str, Labels]:
        """Labels of the series that `series` gives; series without labels are absent."""
        return {n: self.all_labels[n] for n in self.series(*globs) if n in self.all_labels}

    def select(self, *globs: str, without: Sequence[str] = ()) -> Dataset:
        """The same data set with fewer series."""
        kept = {n: s for n, s in self.series(*globs).items() if not any(fnmatchcase(n, g) for g in without)}
        return replace(self, all_series=kept, all_labels={n: v for n, v in self.all_labels.items() if n in kept})

    def __len__(self) -> int:
        return sum(len(s) for s in self.all_series.values())


def inside(timestamps: NDArray[np.int64], windows: Iterable[Window]) -> NDArray[np.bool_]:
    """(n,) whether a time lies in one of the windows."""
    found = np.zeros(len(timestamps), np.bool_)
    for w in windows:
        found |= (timestamps >= w.first) & (timestamps <= w.last)
    return found


def usual_step(timestamps: NDArray[np.int64]) -> int:
    """Median of the positive steps in ms; 0 for fewer than two observations."""
    steps = np.diff(timestamps)
    steps = steps[steps > 0]
    return int(np.median(steps)) if len(steps) else 0


def episodes(
    categories: NDArray[Any], anomalous: NDArray[np.bool_], timestamps: NDArray[np.int64], gap: int
) -> tuple[Window, ...]:
    """Runs of anomalous rows of one category; up to `gap` other rows may stand inside a run. In order of their start."""
    found: list[Window] = []
    at = np.flatnonzero(anomalous)
    kinds = categories[at]
    for kind in dict.fromkeys(kinds.tolist()):
        rows = at[kinds == kind]
        runs = np.split(rows, np.flatnonzero(np.diff(rows) > gap + 1) + 1)
        found += [Window(int(timestamps[run[0]]), int(timestamps[run[-1]]), kind) for run in runs]
    return tuple(sorted(found, key=lambda w: (w.first, w.last, w.name)))
