"""How many false alerts are wanted, as people say it, and what that is in rows of a series.

    "1 per series per month"   of each series; also day, week and year, and "per 3 months"
    "2 per week"               of the whole stream, shared among the series that live in it
    "1 per 1000 rows"         of a table, whose rows have no time between them; of a metric too

A month is 30 days, a year 365. Rows per false alert are what a level is made of, here and in `detectors.judgement`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

LEAST_ROWS = 200.0
"""No level is laxer than one false alert in so many rows of a series, whatever budget is stated."""
UNTIMED_ROWS = 10_000.0
"""Rows per false alert where a budget speaks of time and a series has no usual step."""
METRIC, TABLE = "1 per series per month", "1 per 10000 rows"
"""Budgets where nobody states one; a month of five-minute values is 8,640 rows."""
_DAY = 86_400_000
_UNITS = {"day": _DAY, "week": 7 * _DAY, "month": 30 * _DAY, "year": 365 * _DAY}
_BUDGET = re.compile(
    r"(?P<alerts>\d{1,9}(?:\.\d{1,9})?) per (?:(?P<whose>series|stream) per )?(?:(?P<count>[1-9]\d{0,11}) )?(?P<unit>day|week|month|year|row)s?"
)
_EXAMPLES = '"1 per series per month", "2 per week" (of the whole stream) or "1 per 1000 rows"; day, week, month and year are known'


@dataclass(frozen=True, slots=True)
class Budget:
    """How many alerts there may be that are none.

    Attributes
    ----------
    alerts
        More than 0.
    period_ms
        In this event time; None: in `rows`.
    rows
        Of a series; None where there is a period.
    shared
        Of all series of the stream together, not of each.
    """

    alerts: float
    period_ms: int | None = None
    rows: int | None = None
    shared: bool = False


def parse(text: str) -> Budget:
    """The budget that a text states.

    Raises
    ------
    ValueError
        It states none; one line, with how it is written.

    Examples
    --------
    >>> parse("1 per series per week")
    Budget(alerts=1.0, period_ms=604800000, rows=None, shared=False)
    >>> parse("1 per 1000 rows").rows
    1000
    """
    found = _BUDGET.fullmatch(" ".join(text.split()))
    if found is None or not float(found["alerts"]) or (found["unit"] == "row" and not found["count"]):
        msg = f"{text[:60]!r} is no false-alarm budget; write it as {_EXAMPLES}"
        raise ValueError(msg)
    alerts, count, unit = float(found["alerts"]), int(found["count"] or 1), found["unit"]
    if unit == "row":  # of each series or of all: the share of rows is the same
        return Budget(alerts, rows=count)
    return Budget(alerts, period_ms=count * _UNITS[unit], shared=found["whose"] != "series")


def budget_rows(budget: Budget, interval_ms: ArrayLike, series: ArrayLike = 1) -> NDArray[np.float64]:
    """Rows of a series per false alert; never fewer than `LEAST_ROWS`.

    Parameters
    ----------
    interval_ms
        Usual step of each series, ms; 0 where there is none.
    series
        How many series live in the stream, where the budget is the whole stream's. Broadcast against `interval_ms`.

    Returns
    -------
    As many as the two broadcast to.

    Examples
    --------
    >>> float(budget_rows(parse("1 per series per month"), 300_000))
    8640.0
    >>> budget_rows(parse("1 per week"), [60_000, 0], series=50).tolist()
    [504000.0, 500000.0]
    """
    import numpy as np

    interval = np.asarray(interval_ms, np.float64)
    shares = np.maximum(np.asarray(series, np.float64), 1.0) if budget.shared else 1.0
    if budget.period_ms is None:
        rows = np.full(interval.shape, float(budget.rows or 1))
    else:
        timed = budget.period_ms / np.where(interval > 0, interval, 1.0)
        rows = np.where(interval > 0, timed, UNTIMED_ROWS)
    return np.asarray(np.maximum(rows * shares / budget.alerts, LEAST_ROWS))
