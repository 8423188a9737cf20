"""What a data set is: series of recorded observations in columns, and, apart from them, their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from producers.datasets.rows import Rows
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
        Event time, ms since the epoch; datetime64 (UTC) becomes it.
    columns : C arrays (n,)
        float64, or object holding str where the column is a category. A missing number is NaN.
    interval_ms
        The usual step; 0 = irregular.
    positions : (n,) int64
        Which row of the source each observation is, from 0; in a `Dataset`, of its rows.

    Raises
    ------
    DataError
        A column has another length than the times; these are none.
    """

    name: str
    timestamps: NDArray[np.int64]
    columns: tuple[NDArray[Any], ...]
    interval_ms: int = 0
    positions: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        if (kind := np.asarray(self.timestamps).dtype).kind == "M":
            object.__setattr__(
                self, "timestamps", np.asarray(self.timestamps).astype("datetime64[ms]").astype(np.int64)
            )
        elif kind.kind not in "iu" and len(self.timestamps):
            msg = f"series {self.name}: its times are {kind.name}; give datetime64, or whole ms since 1970"
            raise DataError(msg)
        if any(len(c) != len(self.timestamps) for c in self.columns):
            lengths = ", ".join(f"{len(c):,}" for c in self.columns)
            msg = f"series {self.name}: {len(self.timestamps):,} times, but columns of {lengths} values"
            raise DataError(msg)
        if len(self.positions) != len(self.timestamps):
            object.__setattr__(self, "positions", np.arange(len(self.timestamps), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.timestamps)

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """(n, C) float64; of one column, the same memory. Raises DataError where a column is a category."""
        if any(c.dtype == object for c in self.columns):
            msg = f"series {self.name} has categories among its columns; use rows(), and encode them"
            raise DataError(msg)
        if len(self.columns) == 1:
            return self.columns[0].astype(np.float64, copy=False)[:, None]
        return np.column_stack(self.columns).astype(np.float64, copy=False)

    def rows(self, start: int = 0, stop: int | None = None) -> list[list[float | str]]:
        """Rows [start, stop) as lists, as they stand in an observation."""
        return Rows(self.columns)[start:stop]

    def take(self, which: NDArray[Any] | slice) -> Series:
        """The observations that an index array, mask or slice selects; of a slice, the same memory."""
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
class Corrections:
    """What a user says of how a file is written, where what was found in it is wrong; None or empty: as found.

    Attributes
    ----------
    decimal
        `.` or `,`; the other one parts thousands.
    header
        Whether the first line holds names.
    day_first
        Of dates as 03/04/2026.
    time_unit
        Of times that are numbers: s, ms, us, ns, min, h, d since 1970, or days: excel, jd (Julian), mjd, matlab; 100 ns: filetime (Windows), ticks (.NET).
    missing
        Cells that stand for a missing number, besides the usual ones: -999.
    labels
        The column of labels.
    sheet
        Of an Excel workbook.
    drop_bad_rows
        Leave rows out whose cells or time cannot be read, and say how many, instead of refusing the file.
    files
        Several files are a series each (`series`), or parts of one (`parts`).
    """

    decimal: Literal[".", ","] | None = None
    delimiter: str | None = None
    encoding: str | None = None
    header: bool | None = None
    day_first: bool | None = None
    time_unit: str | None = None
    missing: tuple[str, ...] = ()
    labels: str | None = None
    sheet: str | None = None
    drop_bad_rows: bool = False
    files: Literal["series", "parts"] | None = None

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Corrections:
        """From `decimal=,`, `day-first=yes`, ... as typed at a command. Raises DataError."""
        found: dict[str, Any] = {}
        for text in texts:
            name, given, value = text.partition("=")
            if name not in _CORRECTIONS or not given or not value:
                near = get_close_matches(name, _CORRECTIONS, 1)
                meant = (
                    f"did you mean {near[0]}=?"
                    if near and name not in _CORRECTIONS
                    else f"there are {', '.join(_CORRECTIONS)}"
                )
                msg = f"--read {text}: is not NAME=VALUE; {meant}"
                raise DataError(msg)
            field_name, allowed = _CORRECTIONS[name]
            if allowed and value not in allowed:
                msg = f"--read {text}: choose one of {', '.join(f'{name}={v}' for v in allowed)}"
                raise DataError(msg)
            if field_name == "missing":
                found["missing"] = (*found.get("missing", ()), value)
            elif field_name == "delimiter":
                sign = {"tab": "\t", "\\t": "\t", "blank": " ", "blanks": " ", "comma": ",", "semicolon": ";"}.get(
                    value, value
                )
                if len(sign) != 1:
                    msg = f"--read {text}: a delimiter is one sign, or tab, blank, comma, semicolon"
                    raise DataError(msg)
                found["delimiter"] = sign
            else:
                found[field_name] = {"yes": True, "no": False, "drop": True}.get(value, value) if allowed else value
        return cls(**found)


_CORRECTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "decimal": ("decimal", (".", ",")),
    "delimiter": ("delimiter", ()),
    "encoding": ("encoding", ()),
    "header": ("header", ("yes", "no")),
    "day-first": ("day_first", ("yes", "no")),
    "time-unit": (
        "time_unit",
        ("s", "ms", "us", "ns", "min", "h", "d", "excel", "jd", "mjd", "matlab", "filetime", "ticks"),
    ),
    "missing": ("missing", ()),
    "labels": ("labels", ()),
    "sheet": ("sheet", ()),
    "bad-rows": ("drop_bad_rows", ("drop",)),
    "files": ("files", ("series", "parts")),
}
"""Name at the command -> field, values that it may have (none: any)."""


@dataclass(frozen=True)
class Layout:
    """Which columns of a user's file mean what; what is left open is found, and `Dataset.reading` says what was.

    Attributes
    ----------
    timestamp_column
        Event time: a date with or without a time of day, or a number since 1970. Two columns, `DATE,TIME`, where it stands in two.
        None: found by name and content.
    value_columns
        What is judged, several columns as one multivariate series; empty: every other column that fits.
    series_column
        Names the series of each row; several, `host,metric`, together. None: found where times come again and a column tells them apart.
    time_zone
        Of time stamps that do not say it themselves: `UTC`, `Europe/Berlin`.
    table
        The rows are a table, with made-up times one second apart, whether there is a time or not.
    wide
        Each value column is a series of its own.
    corrections
        How the file is written.
    """

    timestamp_column: str | None = None
    value_columns: tuple[str, ...] = ()
    series_column: str | None = None
    time_zone: str = "UTC"
    table: bool = False
    wide: bool = False
    corrections: Corrections = field(default_factory=Corrections)

    def __post_init__(self) -> None:
        given: Any = self.value_columns  # in a notebook one name, or a list
        columns = (given,) if isinstance(given, str) else tuple(given)
        object.__setattr__(self, "value_columns", columns)


@dataclass(frozen=True)
class Dataset:
    """A recorded data set. Its rows are those of its series, merged by their positions and numbered anew where these overlap or leave gaps.

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
    reading
        Of a user's file: what was taken for what, a line each, with the option that corrects it.
    """

    name: str
    kind: Kind
    channels: tuple[str, ...]
    source: str
    all_series: Mapping[str, Series]
    all_labels: Mapping[str, Labels] = field(default_factory=dict)
    categorical: tuple[str, ...] = ()
    synthetic: bool = False
    reading: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if odd := next((s for s in self.all_series.values() if len(s.columns) != len(self.channels)), None):
            msg = f"{self.name}: series {odd.name} has {len(odd.columns):,} columns, but there are {len(self.channels):,} channels: {', '.join(self.channels[:8])}"
            raise DataError(msg)
        positions = [s.positions for s in self.all_series.values()]
        rows = positions[0] if len(positions) == 1 else np.concatenate([np.empty(0, np.int64), *positions])
        if _is_numbering(rows):
            return
        row = np.empty_like(rows)
        row[np.argsort(rows, kind="stable")] = np.arange(len(rows))
        parts = np.split(row, np.cumsum([len(p) for p in positions])[:-1])
        numbered = zip(self.all_series.items(), parts, strict=True)
        object.__setattr__(self, "all_series", {n: replace(s, positions=part) for (n, s), part in numbered})

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


def _is_numbering(rows: NDArray[np.int64]) -> bool:
    """Whether rows (N,) are 0..N-1, each once."""
    if len(rows) and rows[0] == 0 and (rows[1:] - rows[:-1] == 1).all():
        return True
    inside = not len(rows) or (rows.min() >= 0 and rows.max() < len(rows))
    return bool(inside and (np.bincount(rows, minlength=len(rows)) == 1).all())


def inside(timestamps: NDArray[np.int64], windows: Iterable[Window]) -> NDArray[np.bool_]:
    """(n,) whether a time lies in one of the windows."""
    found = np.zeros(len(timestamps), np.bool_)
    for w in windows:
        found |= (timestamps >= w.first) & (timestamps <= w.last)
    return found


def usual_step(timestamps: NDArray[np.int64]) -> int:
    """Median of the positive steps in ms; 0 for fewer than two observations."""
    steps = np.diff(timestamps)
    if steps.min(initial=1) <= 0:
        steps = steps[steps > 0]
    return int(np.median(steps, overwrite_input=True)) if len(steps) else 0


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
