"""Seasons are found where they are and nowhere else: made-up series whose seasons are known, and random walks that have none."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.offline.looking.seasons import DAY, HOUR, MONTH, YEAR, seasons, trend

I = np.arange(2_000)  # noqa: E741


def times(n: int, step: int = HOUR) -> np.ndarray:
    return 1_700_000_000_000 + np.arange(n, dtype=np.int64) * step


def noise(n: int, width: float = 0.4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, width, n)


def periods(values: np.ndarray, step: int = HOUR) -> list[float]:
    return [round(s.period / HOUR, 1) for s in seasons(times(len(values), step), values, step)]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.sin(I * 2 * np.pi / 24) + noise(2_000), [24.0]),
        (np.sin(I * 2 * np.pi / 24) - (I // 24 % 7 >= 5) + noise(2_000), [24.0, 168.0]),
        (np.sin(I * 2 * np.pi / 37.3) + noise(2_000), [37.3]),
        (np.where(I % 24 == 0, 5.0, 0.0) + noise(2_000), [24.0]),
        (np.sin(I * 2 * np.pi / 24) + 0.01 * I + noise(2_000), [24.0]),
        (np.zeros(2_000), []),
        (noise(2_000), []),
    ],
    ids=["day", "day and week", "of no calendar", "a job each day", "beside a trend", "constant", "noise"],
)
def test_seasons_are_found(values: np.ndarray, found: list[float]) -> None:
    assert periods(values) == pytest.approx(found, rel=0.005)


def test_an_outage_a_hole_and_missing_rows_hide_no_season() -> None:
    values = np.sin(I * 2 * np.pi / 24) + noise(2_000)
    values[500:800], values[1_500] = np.nan, 1e9
    assert periods(values) == [24.0]
    kept = np.sort(np.random.default_rng(1).choice(2_000, 700, replace=False))
    [season] = seasons(times(2_000)[kept], values[kept], 0)
    assert season.period == DAY


def test_months_are_of_the_calendar() -> None:
    months = np.arange("2010-01", "2020-01", dtype="datetime64[M]").astype("datetime64[ms]").astype(np.int64)
    [season] = seasons(months, 10 * np.sin(np.arange(120) * 2 * np.pi / 12) + noise(120, 2.0), 31 * DAY)
    assert season.period == pytest.approx(YEAR, rel=1e-6)
    assert season.cycles == pytest.approx(120 * MONTH / YEAR, rel=0.01)


def test_random_walks_have_none() -> None:
    """Their autocorrelation has hills all the same: of a hundred walks a few may be taken for seasonal, not one in five."""
    taken = sum(bool(periods(np.cumsum(noise(n, seed=seed)))) for n in (100, 300) for seed in range(50))
    assert taken <= 5


def test_a_season_of_a_few_cells_in_a_million_and_one_of_a_week_are_both_found() -> None:
    n = 300_000
    minutes = np.arange(n)
    values = np.sin(minutes * 2 * np.pi / 60) + 2.0 * (minutes // 1_440 % 7 >= 5) + noise(n)
    assert [s.period for s in seasons(times(n, 60_000), values, 60_000)] == [HOUR, 7 * DAY]


@pytest.mark.parametrize("rate", [0.02, -0.02, 0.0])
def test_a_trend_is_found_beside_a_season(rate: float) -> None:
    found = trend(times(2_000), rate * I + 5 * np.sin(I * 2 * np.pi / 24) + noise(2_000), DAY)
    if not rate:
        assert found is None
    else:
        assert found is not None
        assert found.change == pytest.approx(rate * 2_000, rel=0.05)
