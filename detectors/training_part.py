"""How many of a series' first rows train where nobody says; without anything of the detectors, so that it is there at once."""

from __future__ import annotations

SHORT = 30
"""Observations that are learnt from where there are twice as many."""


def metric_training_rows(n: int) -> int:
    """NAB's probation: 15 % of a metric's n observations, 750 at most; of a short one half, up to 30, for less tells nothing."""
    return min(max(int(0.15 * n), min(n // 2, SHORT)), 750)


def table_training_rows(n: int) -> int:
    """15 % of a table's n rows."""
    return int(0.15 * n)
