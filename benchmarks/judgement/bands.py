"""What the alarm's band is like: how much of what is normal it holds, how wide it is, whether it and the alarms say the same, what an anomaly does to it.

    python benchmarks/judgement/bands.py [--seeds 7 8 9] [--write docs/benchmarks/bands.md]

Looked at are the clean kinds, the everyday metrics as usual, and of the development sets what lies half a day and more from any label. All that counts is behind
what was learnt from; asked is the product's default budget.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from numpy.typing import NDArray

from benchmarks.judgement import clean, engine, everyday, labelled
from benchmarks.judgement.items import Floats, Item

DAY_MS = 86_400_000
CENTRAL = 0.999
"""Share of the residuals whose width the band's is compared with."""
LEAST = 1000
"""Rows in which such a share can be seen."""
LATER, SIZE = 0.25, 3.0
"""Where among the judged rows an anomaly is put for half a day, and how large: in widths of the central residuals."""


@dataclass(frozen=True)
class Looked:
    """Of one item.

    Attributes
    ----------
    rows, within
        Normal rows, and those in the band.
    wide
        Median width of the band, in widths of the residuals' central 99.9 %; NaN where nothing varies or rows are few.
    quiet_outside, alarms, alarms_inside
        Normal rows beyond the band that did not alarm; that alarmed; that did so within the band.
    below_zero
        Rows whose band or expected value is below zero, of a series that never is.
    during, behind
        By how much the middle of the band moves for an anomaly while it lasts and for as long behind it, medians in units of half the band's width; NaN where none was put.
    """

    rows: int
    within: int
    wide: float
    quiet_outside: int
    alarms: int
    alarms_inside: int
    below_zero: int
    during: float = np.nan
    behind: float = np.nan


def looked(item: Item, budget: float, *, disturbed: bool = False) -> Looked:
    """Judge an item of one channel and look at its band; once more with an anomaly of half a day in it where that is asked for."""
    lower, expected, upper, alarms = banded(item, budget)
    x, normal = item.values[item.first :, 0], _far_from(item)
    inside = (lower <= x) & (x <= upper)
    left = (x - expected)[normal]
    central = float(np.diff(np.quantile(left, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2]))[0])
    visible = normal.sum() >= LEAST and central > 0.0
    positive = (item.values[:, 0] >= 0).all()
    found = Looked(
        int(normal.sum()),
        int((normal & inside).sum()),
        float(np.median((upper - lower)[normal])) / central if visible else np.nan,
        int((normal & ~inside & ~alarms).sum()),
        int((normal & alarms).sum()),
        int((normal & alarms & inside).sum()),
        int((np.minimum(lower, expected) < 0).sum()) if positive else 0,
    )
    if not disturbed or not visible:
        return found
    half_a_day = max(int(DAY_MS / 2 / float(np.median(np.diff(item.times)))), 1)
    at = int(LATER * len(x))
    values = item.values.copy()
    values[item.first + at : item.first + at + half_a_day] += SIZE * central
    low, _, high, _ = banded(replace(item, values=values), budget)
    moved = np.abs((low + high) - (lower + upper)) / np.maximum(upper - lower, 1e-12)
    during, behind = (float(np.median(moved[at + k * half_a_day + 1 :][:half_a_day])) for k in (0, 1))
    return replace(found, during=during, behind=behind)


def banded(item: Item, budget: float) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Lower edge, expected value and upper edge of each judged row, and whether it alarms, as the product tells them (`pipeline.steps.judgement`)."""
    said = engine.said(item, budget)
    lower, expected, upper = (said.expected[:, 0] + k * said.band[:, 0] for k in (-1, 0, 1))
    if (item.values[: item.first, 0] >= 0).all():
        floor = np.where(np.minimum.accumulate(item.values[item.first :, 0]) < 0, -np.inf, 0.0)
        lower, expected = np.maximum(lower, floor), np.maximum(expected, floor)
    return lower, expected, upper, said.anomalous


def _far_from(item: Item) -> NDArray[np.bool_]:
    """Judged rows that lie half a day and more from any label."""
    around = np.zeros(len(item.times), np.bool_)
    for i in np.flatnonzero(item.y):
        a, b = np.searchsorted(item.times, [item.times[i] - DAY_MS // 2, item.times[i] + DAY_MS // 2 + 1])
        around[a:b] = True
    return ~around[item.first :]


def text(groups: Callable[[], Iterator[tuple[str, str, Looked]]]) -> str:
    """The page: a row for each kind, and how many of them are as they should be."""
    found: dict[tuple[str, str], list[Looked]] = {}
    for group, kind, one in groups():
        found.setdefault((group, kind), []).append(one)
    lines = [
        "| | rows | within | width | outside, no alarm | alarms (within) | moved by an anomaly, behind it |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [_row(f"{group}: {kind}", of) for (group, kind), of in found.items()]
    kinds = [_wide(of) for of in found.values()]
    seen = [w for w in kinds if np.isfinite(w)]
    counts = f"At most 1.5 times as wide: {sum(w <= 1.5 for w in seen)} of {len(seen)} that can be told; median {np.median(seen):.2f}."
    return "\n".join([counts, "", *lines]) + "\n"


def _wide(of: list[Looked]) -> float:
    widths = [o.wide for o in of if np.isfinite(o.wide)]
    return float(np.median(widths)) if widths else np.nan


def _row(name: str, of: list[Looked]) -> str:
    rows, within, outside, alarms, inside = (
        sum(getattr(o, k) for o in of) for k in ("rows", "within", "quiet_outside", "alarms", "alarms_inside")
    )
    moved = [[getattr(o, k) for o in of if np.isfinite(getattr(o, k))] for k in ("during", "behind")]
    by = ", ".join(f"{np.median(m):.2f}" for m in moved if m)
    wide = _wide(of)
    width = f"{wide:.2f}" if np.isfinite(wide) else ""
    below = sum(o.below_zero for o in of)
    note = f" ({below} rows below zero)" if below else ""
    return (
        f"| {name}{note} | {rows:,} | {100 * within / rows:.3f} % | {width} | {outside} | {alarms} ({inside}) | {by} |"
    )


def groups(seeds: list[int]) -> Iterator[tuple[str, str, Looked]]:
    """Group, kind and figures of each item."""
    for seed in seeds:
        for item in clean.clean(seed):
            yield "clean", item.name.rpartition(",")[0], looked(item, everyday.budget(item), disturbed=True)
        for item in everyday.everyday(seed):
            if not item.y.any():
                kind = item.name.rpartition(f" {everyday.USUAL}")[0]
                yield "everyday", kind, looked(item, everyday.budget(item), disturbed=True)
    for source in ("ms", "lro"):
        for item in labelled.source(source):
            if item.values.shape[1] == 1:
                yield "recorded", source, looked(item, everyday.budget(item))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    told = HEAD + text(lambda: groups(arguments.seeds))
    print(told)
    if arguments.write is not None:
        arguments.write.write_text(told)


HEAD = """<!-- written by benchmarks/judgement/bands.py -->

# The alarm's band

Made-up clean series, everyday metrics as usual, and what lies half a day from any label of recorded series; behind what was learnt from, one alert per series and month
asked for. *Within* is the share of normal rows in the band. *Width* is its median in widths of the residuals' central 99.9 %, where there are 1,000 rows. *Outside, no alarm* is what the band
promises and the alarm does not keep; alarms *within* the band are of several rows together (a shift, a drift, noise, standing still), which no band around one row shows. *Moved* is the middle of the
band by an anomaly of half a day, three such widths high, while it lasts and for as long behind it: medians in units of half the band's width.

"""

if __name__ == "__main__":
    main()
