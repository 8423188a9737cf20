"""What stands still, or is off only now and then: a move is told once, a lasting one becomes usual, and what comes now and then is not told more from month to month."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.evaluation import delay
from tests.detectors.judgement.both import by_numpy, by_the_product

STEP = 300_000
DAY = 288
BUDGET = 8640.0
LEARNT = 14 * DAY


def judged(values: np.ndarray, step: int = STEP, first: int = LEARNT) -> list[tuple[int, int]]:
    """Rows of each alert, counted from the beginning of the series."""
    said, _ = by_the_product(values[:, None], first, step, BUDGET)
    return [(a + first, b + first) for a, b in delay.episodes(said.anomalous.astype(np.int8))]


def still(*moves: tuple[int, int, float], days: int = 35, of: float = 3.0) -> np.ndarray:
    """One value, and others from a row on for so many rows."""
    values = np.full(days * DAY, of)
    for at, lasts, to in moves:
        values[at : at + lasts] = to
    return values


@pytest.mark.parametrize("of", [3.0, 0.0, 1e6])
def test_a_move_is_told_while_it_lasts_and_its_hour_of_the_next_days_is_not(of: float) -> None:
    at = 20 * DAY
    assert judged(still((at, 10, of + 1), of=of)) == [(at, at + 9)]


def test_a_move_in_the_history_is_no_reason_for_alerts() -> None:
    at = 20 * DAY
    assert judged(still((1000, 10, 4.0), (at, 10, 4.0))) == [(at, at + 9)]


@pytest.mark.parametrize(
    ("step", "days"), [(STEP, 1), (3_600_000, 1), (86_400_000, 28)], ids=["5 min", "hours", "days"]
)
def test_a_move_for_good_is_usual_from_a_day_on_and_back_is_a_move(step: int, days: int) -> None:
    long = max(days * 86_400_000 // step, 12)
    n, at = 400 + 12 * long, 400 + 4 * long
    values = np.full(n, 3.0)
    values[at:] = 4.0
    values[at + 4 * long : at + 4 * long + 4] = 3.0
    told = judged(values, step, 400)
    assert [a for a, _ in told] == [at, at + 4 * long]
    assert told[0][1] - at < long + 20


def test_what_is_on_by_day_is_not_usual_when_it_is_off_for_a_day() -> None:
    t = np.arange(42 * DAY) % DAY
    values = ((t >= 96) & (t < 240)).astype(np.float64)
    values[20 * DAY : 23 * DAY] = 0.0
    told = judged(values)
    assert [a // DAY for a, _ in told][:1] == [20]
    assert all(20 * DAY <= a < 23 * DAY + 10 for a, _ in told)


@pytest.mark.parametrize("share", [0.05, 0.04])
def test_what_comes_now_and_then_is_not_told_more_often_after_months(share: float) -> None:
    told = 0
    for seed in range(2):
        rng = np.random.default_rng([seed, 31])
        values = (rng.uniform(size=120_000) < share) * np.round(1 + rng.exponential(5, 120_000))
        told += len(judged(values))
    assert told <= 2 * 2 * (120_000 - LEARNT) / BUDGET  # twice the budget; it was six times


def test_what_switches_at_any_time_is_no_noise() -> None:
    rng = np.random.default_rng(8)
    ends = np.cumsum(rng.integers(12, 35, 3000))
    values = (np.searchsorted(ends, np.arange(30_000), side="right") % 2).astype(np.float64)
    assert len(judged(values, 60_000, 15_000)) <= 2


def switching(at: int, lasts: int, n: int) -> np.ndarray:
    """On for 12 to 34 rows, then off for as many, and so on; but on for so many from a row on."""
    ends = np.cumsum(np.random.default_rng(9).integers(12, 35, n // 12))
    values = (np.searchsorted(ends, np.arange(n), side="right") % 2).astype(np.float64)
    values[at : at + lasts] = 1.0
    return values


def test_what_switches_at_any_time_is_told_where_it_hangs_and_that_is_over_after_a_day() -> None:
    told = judged(switching(7000, 10 * DAY, 15_000))
    assert [a for a, _ in told[1:] if a < 7000 + 10 * DAY] == []
    first, last = told[0]
    assert 7000 + 2 * 34 < first < 7000 + 3 * 40
    assert last == pytest.approx(7000 + DAY, abs=40)


def test_a_counter_that_is_mostly_zero_and_stays_zero_is_no_alert() -> None:
    values = errors_of(0.1)
    values[6000:] = 0.0
    assert judged(values) == []


def errors_of(share: float) -> np.ndarray:
    rng = np.random.default_rng(12)
    return (rng.uniform(size=12_000) < share) * rng.integers(1, 4, 12_000).astype(np.float64)


def test_the_compiled_rows_say_what_numpy_says_of_what_switches_and_hangs() -> None:
    values, first = switching(1600, 500, 2300), 1500
    said, _ = by_the_product(values[:, None], first, STEP, BUDGET)
    alone, judge, _, _ = by_numpy(values[:, None], first, STEP, BUDGET)
    np.testing.assert_allclose(said.strength, alone.strength, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(said.anomalous, alone.anomalous)
    assert judge.longest[0] < 0
    assert said.anomalous.any()


@pytest.mark.parametrize("share", [0.0, 0.03])
def test_the_compiled_rows_say_what_numpy_says_of_a_move_for_good(share: float) -> None:
    rng = np.random.default_rng(4)
    values = np.where(rng.uniform(size=2200) < share, 9.0, 3.0)
    values[1500:] += 2.0
    values[1900:] = 5.0
    said, _ = by_the_product(values[:, None], 1200, 3_600_000, 200.0)
    alone, _, _, _ = by_numpy(values[:, None], 1200, 3_600_000, 200.0)
    np.testing.assert_allclose(said.strength, alone.strength, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(said.anomalous, alone.anomalous)
    assert said.anomalous[300] == (share == 0.0)


def test_a_nightly_job_of_three_rows_is_known_and_told_when_it_stays_away() -> None:
    rng = np.random.default_rng(5)
    values = rng.gamma(2.0, 2.0, 28 * DAY)
    for k, size in enumerate((400.0, 250.0, 90.0)):
        values[24 + k :: DAY] += size
    at = 23 * DAY + 24
    values[at : at + 3] = 5.0
    assert [a for a, _ in judged(values)] == [at]
