"""What a history can teach, and how much of a recording is history."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.judged import unlearnt
from detectors.judgement.calendar import Calendar
from detectors.training_part import history_rows

HOUR = 3_600_000
MONDAY = 1_782_691_200_000
"""2026-06-29T00:00Z."""


def rows(first_hour: int, hours: int, step: int = HOUR) -> tuple[np.ndarray, np.ndarray]:
    times = MONDAY + first_hour * HOUR + np.arange(hours * HOUR // step) * step
    return times, np.random.default_rng(0).normal(size=(len(times), 1))


@pytest.mark.parametrize(
    ("first", "hours", "said"),
    [
        (0, 8, ["fewer than 48 rows in the history: what is usual is learnt in the stream (a)"]),
        (0, 20, ["fewer than 48 rows in the history: what is usual is learnt in the stream (a)"]),
        (0, 50, ["no weekend in the history: one will look odd (a)"]),
        (0, 120, ["no weekend in the history: one will look odd (a)"]),
        (0, 168, ["less than 9 days and 8 hours in the history: days of the week are not told apart (a)"]),
        (0, 224, []),
        (30, 400, []),
    ],
)
def test_what_a_history_is_too_short_for_is_said(first: int, hours: int, said: list[str]) -> None:
    assert unlearnt({"a": rows(first, hours)}) == said


def test_a_weekend_is_one_by_the_local_clock() -> None:
    friday = {"a": rows(4 * 24, 46, HOUR // 4)}  # Friday 00:00 to 21:00 of the next day in UTC
    assert "weekend" not in " ".join(unlearnt(friday))
    late = {"a": rows(3 * 24, 47, HOUR // 4)}  # ends on Friday, 22:45 UTC, which is Saturday in Berlin
    assert "no weekend" in unlearnt(late)[0]
    assert "no weekend" not in " ".join(unlearnt(late, calendar=Calendar("Europe/Berlin")))


def test_days_and_weeks_are_nothing_to_series_of_daily_rows() -> None:
    assert unlearnt({"a": rows(0, 24 * 60, 24 * HOUR)}) == []


def test_series_of_which_the_same_is_true_are_counted() -> None:
    series = {"a": rows(0, 230), "b": rows(0, 20), "c": rows(0, 20)}
    assert unlearnt(series) == [
        "fewer than 48 rows in the history: what is usual is learnt in the stream (2 of 3 series, b among them)"
    ]


@pytest.mark.parametrize(
    ("hours", "history"),
    [(0, 0), (40, 20), (24 * 14, 168), (24 * 15, 288), (24 * 20, 336), (24 * 28, 336), (24 * 100, 1200)],
)
def test_half_is_history_or_two_weeks_but_never_all(hours: int, history: int) -> None:
    assert history_rows(rows(0, hours)[0]) == history
