"""What `look` says of times and numbers, with the right values for each."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.offline.looking.seasons import HOUR, MINUTE
from pipeline.offline.looking.series import SeriesLook, look_at, steps_of
from pipeline.offline.looking.words import as_json, lines, season_notes
from producers.datasets import Dataset, Series

START = 1_767_225_600_000  # 2026-01-01


def grid(n: int, step: int = HOUR) -> np.ndarray:
    return START + np.arange(n, dtype=np.int64) * step


def wave(n: int) -> np.ndarray:
    return 50 + 10 * np.sin(np.arange(n) * 2 * np.pi / 24) + np.random.default_rng(0).normal(size=n)


def look(values: np.ndarray, times: np.ndarray | None = None) -> SeriesLook:
    series = Series("s", grid(len(values)) if times is None else times, (values,))
    return look_at(Dataset("d", "metric", ("v",), "here", {"s": series}), series)


def test_gaps_are_counted_in_usual_steps() -> None:
    times = np.delete(grid(100), [10, 11, 50])
    steps = steps_of(times)
    assert (steps.usual, steps.gaps, steps.missing, steps.longest) == (HOUR, 2, 3, 3 * HOUR)
    assert steps.longest_at == START + 9 * HOUR


@pytest.mark.parametrize("unit", ["M", "Y"])
def test_months_and_years_have_no_gaps(unit: str) -> None:
    times = np.arange("1950", "2020", dtype=f"datetime64[{unit}]").astype("datetime64[ms]").astype(np.int64)
    steps = steps_of(times)
    assert (steps.gaps, steps.even) == (0, 1.0)


def test_another_step_from_some_day_on_is_no_row_of_gaps() -> None:
    times = np.r_[grid(500, 15 * MINUTE), START + 500 * 15 * MINUTE + np.arange(500) * HOUR]
    steps = steps_of(times)
    assert steps.gaps == 0
    [(at, before, after)] = steps.changes
    assert (before, after) == (15 * MINUTE, HOUR)
    assert abs(at - times[500]) <= HOUR


def test_disorder_and_repetition_are_counted() -> None:
    times = grid(100)
    times[20], times[21] = times[21], times[20]
    times[50] = times[49]
    steps = steps_of(times)
    assert (steps.late, steps.repeated) == (1, 1)
    found = look(wave(100), times)
    assert len(found.suspicious) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: np.cumsum(np.abs(v)) % 5_000, "a counter?"),
        (lambda v: np.r_[v[:200], np.full(60, v[199]), v[260:]], "stands still"),
        (lambda v: np.where(np.arange(len(v)) % 90 == 3, -999.0, v), "--read missing=-999"),
    ],
    ids=["counter", "stuck", "mark for missing"],
)
def test_suspicious_numbers_are_told(change, said: str) -> None:
    found = look(change(wave(600)))
    assert said in " ".join(found.numbers[0].suspicious)
    assert look(wave(600)).numbers[0].suspicious == ()


def test_a_rising_value_with_noise_is_no_counter() -> None:
    assert look(np.linspace(0, 100, 600) + wave(600)).numbers[0].suspicious == ()


def test_constant_missing_and_empty() -> None:
    assert look(np.full(50, 3.0)).numbers[0].constant
    values = wave(100)
    values[:7] = np.nan
    assert (look(values).numbers[0].known, look(values).numbers[0].missing) == (93, 7)
    assert "nothing but missing" in "\n".join(lines([look(np.full(50, np.nan))], 1))


def test_too_short_a_training_part_for_a_season_is_told_with_the_rows_that_it_takes() -> None:
    [note] = season_notes([one := look(wave(200))], {one.name: 30})
    assert "less than two seasons of 1 d" in note
    assert "--train-rows 48" in note
    assert list(season_notes([one], {one.name: 48})) == []


def test_what_is_told_of_the_training_part_is_what_score_takes_by_default() -> None:
    """Half of it, not the 15 % of a detector alone."""
    assert look(wave(200)).learnt == 100
    assert list(season_notes([look(wave(200))])) == []
    [note] = season_notes([look(wave(80))])
    assert "the first 40 rows" in note


def test_many_series_are_a_few_lines_with_the_suspicious_first() -> None:
    usual = [look(wave(100)) for _ in range(30)]
    said = "\n".join(lines([*usual, look(np.cumsum(np.abs(wave(100))))], 2))
    assert "a counter?" in said
    assert "29 more series" in said


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_no_unit_is_too_large_or_too_small(scale: float) -> None:
    [season] = look(wave(600) * scale).numbers[0].seasons
    assert season.period == 24 * HOUR


def test_json_holds_no_nan() -> None:

    found = look(np.full(50, np.nan))
    data = Dataset("d", "metric", ("v",), "here", {})
    json.dumps(as_json(data, [found]), allow_nan=False)
