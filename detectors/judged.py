"""A judgement beside a model's members: learnt from the whole history of each series, and what the history was too short for.

Members are fitted on windows of all series together (`detectors.training`); the judgement of a series (`detectors.judgement`) is fitted on its own
rows. It divides them itself: what judges is tried on the half that it was not fitted on, so that usual sizes are honest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors.judgement.calendar import UTC, Calendar
from detectors.judgement.fitting import TRIED_ON
from detectors.judgement.population import Population
from detectors.model import History, Model
from detectors.training import accepted

Recorded = Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
BUDGET_ROWS = 10_000.0
"""Rows per false alert that is learnt for; a stream's own budget takes its place."""
LEAST = 48
"""Rows of a series without which its judgement begins from nothing, in the stream."""
LEAST_STILL = 16
"""The same of a series in which nothing moves: any move is odd, and there is no noise to be learnt."""
_HOUR, _DAY = 3_600_000, 86_400_000
_MONDAY = 4 * _DAY
"""1970-01-05."""


@dataclass(frozen=True)
class Judgement:
    """What was learnt of the histories of series; it knows nothing of the members, so it may be learnt while they are.

    Attributes
    ----------
    judges
        None where no history says what is usual.
    rows
        How many rows of each series the stream would accept.
    """

    judges: Population | None
    histories: Mapping[str, History]
    calendar: Calendar
    rows: Mapping[str, int]

    @classmethod
    def learnt(cls, series: Recorded, calendar: Calendar = UTC) -> Judgement:
        """From all rows of `series` (name -> (n,) ms, (n, C)) that the stream would accept."""
        cleaned = {name: _clean(*rows) for name, rows in series.items()}
        histories = {name: rows for name, rows in cleaned.items() if _enough(rows[1])}
        local = {name: (calendar.local(times), values) for name, (times, values) in histories.items()}
        placed = {name: calendar.placed(times) for name, (times, _) in local.items()}
        return cls(
            Population.fit(local, budget_rows=BUDGET_ROWS, placed=placed) if local else None,
            {name: History.of(times, values) for name, (times, values) in histories.items()},
            calendar,
            {name: len(times) for name, (times, _) in cleaned.items()},
        )

    def beside(self, model: Model) -> Model:
        """The model of metrics with it."""
        return replace(
            model,
            judgement=Population.none(model.channels) if self.judges is None else self.judges,
            histories=self.histories,
            calendar=self.calendar,
            training_rows={name: self.rows.get(name, rows) for name, rows in model.training_rows.items()},
        )


def with_judgement(model: Model, series: Recorded, *, calendar: Calendar = UTC) -> Model:
    """The model of metrics with a judgement, learnt from all rows of `series` (name -> (n,) ms, (n, C)) that the stream would accept."""
    return Judgement.learnt(series, calendar).beside(model)


def unlearnt(series: Recorded, *, calendar: Calendar = UTC) -> list[str]:
    """What these histories cannot have taught, a line each; series of which the same is true are counted."""
    said: dict[str, list[str]] = {}
    for name, rows in series.items():
        times, values = _clean(*rows)
        for what in _missing(calendar.local(times), enough=_enough(values)):
            said.setdefault(what, []).append(name)
    return [f"{what} ({_which(names, len(series))})" for what, names in said.items()]


def _enough(values: NDArray[np.float64]) -> bool:
    """Whether a history (n, C) says what is usual."""
    return len(values) >= LEAST or (len(values) >= LEAST_STILL and bool((values == values[0]).all()))


def _missing(local: NDArray[np.int64], *, enough: bool) -> Iterator[str]:
    if not enough:
        yield f"fewer than {LEAST} rows in the history: what is usual is learnt in the stream"
        return
    steps = np.diff(local)
    if np.median(steps) >= _DAY:
        return
    days = (local - _MONDAY) // _DAY
    span = local[-1] - local[0] + 2 * np.median(steps)
    if span < _DAY / TRIED_ON:
        yield "less than 32 hours in the history: times of day are not known"
    elif not np.isin(days % 7, (5, 6)).any():
        yield "no weekend in the history: one will look odd"
    elif span + _HOUR < 7 * _DAY / TRIED_ON:
        yield "less than 9 days and 8 hours in the history: days of the week are not told apart"


def _which(names: list[str], of: int) -> str:
    if of == 1 or len(names) == 1:
        return names[0]
    return "all series" if len(names) == of else f"{len(names)} of {of} series, {names[0]} among them"


def _clean(times: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    kept = accepted(times, values)
    return times[kept], values[kept]
