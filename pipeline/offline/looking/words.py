"""What was found in a data set, as lines for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.offline.looking.seasons import steady_step
from pipeline.offline.looking.series import Numbers, SeriesLook, Steps
from pipeline.offline.looking.spans import moment, span
from producers.datasets import Dataset

MOST_COLUMNS = 30
"""Columns of a series that are told one by one."""


def lines(looks: Sequence[SeriesLook], most: int) -> Iterator[str]:
    """A few lines for each of `most` series, those with something suspicious first, and one for the others."""
    first = sorted(range(len(looks)), key=lambda k: not _suspicious(looks[k]))
    for k in sorted(first[:most]):
        yield from _series(looks[k])
    if others := [looks[k] for k in first[most:]]:
        constant = sum(all(n.constant for n in look.numbers) for look in others)
        yield (
            f"{len(others):,} more series, {sum(map(_suspicious, others)):,} of them with something suspicious, {constant:,} constant "
            "(--series GLOB, --most N, --json FILE)"
        )


def season_notes(looks: Iterable[SeriesLook], learnt: Mapping[str, int] | None = None) -> Iterator[str]:
    """Where what is learnt from holds less than two of a series' seasons: a line, and the option that mends it.

    `learnt`: how many first rows of each series that are, by its name; None: what the default takes.
    """
    short: dict[float, list[tuple[SeriesLook, int, float]]] = {}
    for look in looks:
        if look.steps is None or not look.steps.usual:
            continue
        first = look.learnt if learnt is None else learnt[look.name]
        step = max(float(steady_step(look.steps.usual)), (look.last - look.first) / max(look.rows - 1, 1))
        for period in {s.period for n in look.numbers for s in n.seasons}:
            if first * step < 2 * period:
                short.setdefault(round(period), []).append((look, first, step))
    for period, found in short.items():
        look, first, step = found[0]
        wanted = int(np.ceil(2 * period / step))
        whose = f"of {look.name}" if len(found) == 1 else f"of {len(found):,} series ({look.name}, ...)"
        mend = (
            f"--train-rows {wanted} would hold two"
            if wanted <= 0.7 * look.rows
            else "only a longer file holds enough of them"
        )
        yield (
            f"the first {first:,} rows {whose} are learnt from, {span(first * step)}: less than two seasons of {span(period)}, so what is "
            f"usual in it cannot be known; {mend}"
        )


def as_json(data: Dataset, looks: Sequence[SeriesLook]) -> dict[str, Any]:
    """All that was found, times in ms since 1970."""
    return {
        "name": data.name,
        "kind": data.kind,
        "rows": len(data),
        "reading": list(data.reading),
        "series": [_plain(asdict(look)) for look in looks],
    }


def _plain(value: Any) -> Any:
    """As JSON can say it: what is not a number is null."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value


def _suspicious(look: SeriesLook) -> bool:
    steps = look.steps
    return bool(look.suspicious or any(n.suspicious for n in look.numbers) or (steps and (steps.changes or steps.gaps)))


def _series(look: SeriesLook) -> Iterator[str]:
    if look.steps is None:
        yield f"{look.name}: {look.rows:,} rows{_labelled(look)}"
    else:
        length = look.last - look.first
        lasting = f" ({span(length)})" if length else ""
        yield f"{look.name}: {look.rows:,} rows, {moment(look.first)} to {moment(look.last)} UTC{lasting}{_labelled(look)}"
        yield f"  time: {'; '.join(_steps(look.steps))}"
    for numbers in look.numbers[:MOST_COLUMNS]:
        yield f"  {numbers.name}: {'; '.join(_numbers(numbers))}"
    for name, values, common, share in look.categories[:MOST_COLUMNS]:
        yield f"  {name}: {values:,} categories, {share:.0%} are {common!r}"
    if (left := len(look.numbers[MOST_COLUMNS:]) + len(look.categories[MOST_COLUMNS:])) > 0:
        yield f"  {left:,} more columns (--json FILE)"
    for said in (*look.suspicious, *(f"{n.name} {s}" for n in look.numbers for s in n.suspicious)):
        yield f"  suspicious: {said}"


def _labelled(look: SeriesLook) -> str:
    return "" if look.labelled is None else f", {look.labelled:,} of them labelled anomalous"


def _steps(steps: Steps) -> Iterator[str]:
    if not steps.usual:
        yield "one moment only"
        return
    steady = steady_step(steps.usual)
    usual = span(steady)
    if steps.even >= 0.5:
        yield f"a step of {usual}" + ("" if steps.even == 1 else f" ({_share(steps.even)} of the steps)")
    else:
        yield f"irregular, a step of {usual} in the middle ({_share(steps.even)} are near it)"
    for at, before, after in steps.changes:
        yield f"from {moment(at)} on {span(after)} instead of {span(before)}"
    if steps.gaps and steps.even >= 0.5:
        longest = f"{span(steps.longest)} from {moment(steps.longest_at)}"
        yield (
            f"{steps.gaps:,} gaps, about {steps.missing:,} rows are missing, the longest {longest}"
            if steps.gaps > 1
            else f"a gap, {longest}"
        )
    elif not steps.gaps:
        yield "no gaps"


def _numbers(numbers: Numbers) -> Iterator[str]:
    if not numbers.known:
        yield "nothing but missing numbers"
        return
    if numbers.constant:
        yield f"constant, {numbers.low:g}"
    else:
        yield f"{numbers.low:g} to {numbers.high:g}, median {numbers.middle:g}"
    if numbers.missing:
        yield f"{numbers.missing:,} missing ({_share(numbers.missing / (numbers.missing + numbers.known))})"
    if numbers.seasons:
        said = ", ".join(f"{span(s.period)} ({s.strength:.2f})" for s in numbers.seasons)
        yield f"season{'s' if len(numbers.seasons) > 1 else ''} of {said}"
    if numbers.trend is not None:
        yield f"{'rises' if numbers.trend.change > 0 else 'falls'} by {abs(numbers.trend.change):.3g} over the whole"


def _share(share: float) -> str:
    """A share, never rounded to all or nothing.

    >>> _share(0.5), _share(0.9999), _share(0.0001)
    ('50 %', 'over 99 %', 'under 1 %')
    """
    if 0.99 < share < 1:
        return "over 99 %"
    return "under 1 %" if 0 < share < 0.01 else f"{share:.0%}".replace("%", " %")
