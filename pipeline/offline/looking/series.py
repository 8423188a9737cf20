"""What the times and the numbers of one series say: step, gaps, order; range, missing, constant, and what looks suspicious."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detectors.training_part import history_rows, table_training_rows
from pipeline.offline.looking.seasons import YEAR, Season, Trend, seasons, steady_step, trend
from pipeline.offline.looking.spans import moment
from producers.datasets import Dataset, Series

NEAR = 0.1
"""A step agrees with the usual one within a tenth of it, or is the calendar's: months have 28 to 31 days."""
GAP = 1.5
"""Usual steps from which a step is a gap: something is missing in between."""
BLOCK = 24
"""Steps of which a median is taken where it is asked whether the usual step changed."""
FEW = 20
"""Numbers, or changes of them, below which nothing is said of how they change."""
FAR = 5.0
"""Widths of the middle nine tenths beyond which a value that comes again and again is taken for a mark."""


@dataclass(frozen=True)
class Steps:
    """How the times of a series follow each other, in ms; counts are of rows.

    Attributes
    ----------
    usual
        The median step; 0 where there are fewer than two times.
    even
        Share of the steps that are the usual one.
    gaps, missing, longest, longest_at
        Steps that leave something out, how many usual steps that is, and the longest of them with the time before it.
    changes
        Time, usual step before and after: where the step became another one for good.
    """

    usual: int
    even: float
    gaps: int
    missing: int
    longest: int
    longest_at: int
    late: int
    repeated: int
    changes: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Numbers:
    """One channel of a series, or one column of a table; suspicious things are said in words."""

    name: str
    known: int
    missing: int
    low: float
    middle: float
    high: float
    constant: bool
    seasons: tuple[Season, ...] = ()
    trend: Trend | None = None
    suspicious: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeriesLook:
    """One series; of a table the times mean nothing and `steps` is None."""

    name: str
    rows: int
    first: int
    last: int
    steps: Steps | None
    numbers: tuple[Numbers, ...]
    categories: tuple[tuple[str, int, str, float], ...] = ()
    """Column, how many values, the most common one and its share."""
    labelled: int | None = None
    suspicious: tuple[str, ...] = ()
    learnt: int = 0
    """First rows that the default learns from."""


def look_at(data: Dataset, series: Series, *, deep: bool = True) -> SeriesLook:
    """All that is said of one series; seasons and trend only where `deep`."""
    metric = data.kind == "metric"
    times = series.timestamps
    order = np.argsort(times, kind="stable") if metric and (np.diff(times) < 0).any() else None
    steps = steps_of(times) if metric else None
    ordered = times if order is None else times[order]
    numbers, categories = [], []
    for channel, column in zip(data.channels, series.columns, strict=True):
        if column.dtype == object:
            categories.append(_category(channel, column))
        else:
            in_order = column if order is None else column[order]
            told = any(f" in {channel};" in line and "--read missing=" in line for line in data.reading)
            number = in_order.astype(np.float64, copy=False)
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # differences of the largest floats: no number is too large to be told
                numbers.append(_numbers(channel, ordered, number, steps, deep=deep, marks_told=told))
    labels = data.all_labels.get(series.name)
    return SeriesLook(
        series.name,
        len(series),
        int(times.min()) if len(times) else 0,
        int(times.max()) if len(times) else 0,
        steps,
        tuple(numbers),
        tuple(categories),
        None if labels is None else int(labels.anomalous.sum()),
        _suspicious_times(times, steps) if steps else (),
        learnt=history_rows(ordered) if metric else table_training_rows(len(series)),
    )


def steps_of(times: NDArray[np.int64]) -> Steps:
    """How times (n,), in the order of the file, follow each other."""
    rising = bool((times[1:] > times[:-1]).all())
    late = 0 if rising else int((times < np.maximum.accumulate(times)).sum())
    unique = times if rising else np.unique(times)
    repeated = len(times) - len(unique)
    between = np.diff(unique)
    if not len(between):
        return Steps(0, 0.0, 0, 0, 0, 0, late, repeated)
    usual = int(np.median(between))
    even = np.abs(between - usual) <= NEAR * usual
    steady = steady_step(usual)
    if steady != usual:
        even = np.abs(between - steady) <= NEAR * steady
    changes = _changes(unique, between)
    local = np.full(len(between), steady)
    for at, _, after in changes:
        local[np.searchsorted(unique[:-1], at) :] = steady_step(after)
    wide = between > GAP * local
    longest = int(np.where(wide, between, 0).argmax())
    return Steps(
        usual,
        float(even.mean()),
        int(wide.sum()),
        int((np.rint(between[wide] / local[wide]) - 1).sum()),
        int(between[longest]) if wide.any() else 0,
        int(unique[longest]) if wide.any() else 0,
        late,
        repeated,
        changes,
    )


def _changes(times: NDArray[np.int64], between: NDArray[np.int64]) -> tuple[tuple[int, int, int], ...]:
    """Where the usual step becomes another: medians of blocks that differ by half, two blocks or more on either side."""
    blocks = len(between) // BLOCK
    if blocks < 4:
        return ()
    medians = np.median(between[: blocks * BLOCK].reshape(blocks, BLOCK), axis=1)
    ratio = np.maximum(medians[1:], 1) / np.maximum(medians[:-1], 1)
    new = np.flatnonzero((ratio > 1.5) | (ratio < 1 / 1.5)) + 1
    # A block that holds the change itself has a median of either side, or between: it belongs to none.
    borders = [0, *[int(b) for b in new], blocks]
    runs = [(a, b) for a, b in pairwise(borders) if b - a >= 2]
    found = []
    for (a, b), (c, d) in pairwise(runs):
        before, after = int(np.median(medians[a:b])), int(np.median(medians[c:d]))
        if not 1 / 1.5 <= after / max(before, 1) <= 1.5:
            start = max(b - 1, 0) * BLOCK
            nearer = np.abs(between[start : c * BLOCK + BLOCK] - after) < np.abs(
                between[start : c * BLOCK + BLOCK] - before
            )
            found.append((int(times[start + int(nearer.argmax())]), before, after))
    return tuple(found)


def _numbers(
    name: str,
    times: NDArray[np.int64],
    values: NDArray[np.float64],
    steps: Steps | None,
    *,
    deep: bool,
    marks_told: bool,
) -> Numbers:
    finite = np.isfinite(values)
    known = values[finite]
    if not len(known):
        return Numbers(name, 0, len(values), np.nan, np.nan, np.nan, constant=False)
    low, high = float(known.min()), float(known.max())
    constant = low == high
    found: tuple[Season, ...] = ()
    rising = None
    marks = _marks(known)
    rises = _resets(known)
    if steps is not None and deep and not constant:
        usual = np.where(np.isin(values, [m for m, _ in marks]), np.nan, values)
        if rises is not None:  # what matters in a counter is how fast it rises
            usual = np.diff(usual, prepend=np.nan)
            usual[usual < 0] = np.nan
        apart = np.r_[True, np.diff(times) > 0]
        found = seasons(times[apart], usual[apart], steps.usual if steps.even > 0.5 else 0)
        rising = trend(times, usual, max((s.period for s in found), default=0.0))
    suspicious = (
        []
        if constant
        else _suspicious_numbers(times[finite], known, [] if marks_told else marks, rises, metric=steps is not None)
    )
    return Numbers(
        name,
        len(known),
        len(values) - len(known),
        low,
        float(np.median(known)),
        high,
        constant,
        found,
        rising,
        tuple(suspicious),
    )


def _marks(known: NDArray[np.float64]) -> list[tuple[float, int]]:
    """Values far from all others that come again and again, as -999 does; and how often."""
    if len(known) < FEW:
        return []
    low, high = np.quantile(known, [0.05, 0.95])
    width = max(float(high - low), 1e-12 * max(abs(low), abs(high)))
    if low == high:
        return []
    found = []
    for extreme in (float(known.min()), float(known.max())):
        times = int((known == extreme).sum())
        others = known[known != extreme]
        beyond = min(abs(extreme - float(others.min())), abs(extreme - float(others.max()))) if len(others) else 0.0
        whole = extreme == int(extreme) if abs(extreme) < 1e15 else False
        if times >= 3 and whole and beyond > FAR * width:
            found.append((extreme, times))
    return found


def _suspicious_numbers(
    times: NDArray[np.int64],
    known: NDArray[np.float64],
    marks: list[tuple[float, int]],
    resets: int | None,
    *,
    metric: bool,
) -> list[str]:
    said = [
        f"{m:g} stands {n:,} times far from all others: a mark for missing? (--read missing={m:g})" for m, n in marks
    ]
    if not metric:
        return said
    if resets is not None:
        again = f", starts again {resets:,} times" if resets else ""
        said.append(f"only rises{again}: a counter? what matters is how much it rises from row to row")
    stuck = _stuck(known, np.diff(known))
    if stuck is not None:
        first, last = stuck
        said.append(f"stands still at {known[first]:g} for {last - first + 1:,} rows from {moment(int(times[first]))}")
    return said


def _resets(known: NDArray[np.float64]) -> int | None:
    """How often a counter starts again; None where it is none: it rises, or falls to nearly nothing."""
    change = np.diff(known)
    moved = change[change != 0]
    down = change < 0
    if len(moved) < FEW or known.min() < 0 or down.sum() > 0.01 * len(moved):
        return None
    return int(down.sum()) if (known[1:][down] <= 0.1 * known[:-1][down]).all() else None


def _stuck(known: NDArray[np.float64], change: NDArray[np.float64]) -> tuple[int, int] | None:
    """First and last place of the longest run of equal values, where the series mostly moves and the run stands out."""
    if len(known) < FEW or (change != 0).mean() < 0.5:
        return None
    borders = np.flatnonzero(np.r_[True, change != 0, True])
    lengths = np.diff(borders)
    k = int(lengths.argmax())
    others = np.delete(lengths, k)
    if lengths[k] < FEW or lengths[k] < 5 * np.quantile(others, 0.99):
        return None
    return int(borders[k]), int(borders[k + 1]) - 1


def _suspicious_times(times: NDArray[np.int64], steps: Steps) -> tuple[str, ...]:
    said = []
    if steps.repeated:
        said.append(
            f"{steps.repeated:,} rows have the time of another row: only the first of each is scored "
            "(several series in one? --series-column)"
        )
    if steps.late:
        said.append(f"{steps.late:,} rows are older than a row before them: not in the order of time")
    years = (1970 + times.min() / YEAR, 1970 + times.max() / YEAR) if len(times) else (2000.0, 2000.0)
    if years[1] < 1972 or years[0] > 2100:
        said.append(f"all times lie in {years[0]:.0f} to {years[1]:.0f}: is their unit right? (--read time-unit)")
    return tuple(said)


def _category(name: str, column: NDArray[np.object_]) -> tuple[str, int, str, float]:
    values, counts = np.unique(column.astype(str), return_counts=True)
    most = int(counts.argmax())
    return name, len(values), str(values[most]), float(counts[most] / counts.sum())
