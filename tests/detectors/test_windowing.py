from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.base import DetectorError
from detectors.windowing import covariates, infer_interval, minutes_of_week, windows

MONDAY = 1_404_086_400_000  # 2014-06-30 00:00 UTC
MINUTE, DAY = 60_000, 86_400_000


@given(n=st.integers(0, 12), T=st.integers(1, 5), C=st.integers(1, 3), F=st.sampled_from([0, 2]))
def test_windows_are_slices_one_after_the_other(n: int, T: int, C: int, F: int) -> None:
    rng = np.random.default_rng(n)
    values, known = rng.normal(size=(n, C)), rng.normal(size=(n, F)).astype(np.float32)
    x = windows(values, T, known if F else None)
    assert x.shape == (max(n - T + 1, 0), T, C + F)
    assert x.dtype == np.float32
    for i, window in enumerate(x):
        assert (window[:, :C] == values[i : i + T].astype(np.float32)).all()
        assert (window[:, C:] == known[i : i + T]).all()


def test_windows_are_a_view_that_cannot_be_written_to() -> None:
    x = windows(np.zeros((1_000, 1)), 500)
    assert x.base is not None
    with pytest.raises(ValueError, match="read-only"):
        x[0, 0, 0] = 1.0


def test_the_week_starts_on_monday_at_midnight_utc() -> None:
    times = np.array([MONDAY, MONDAY + 90_000, MONDAY + 7 * DAY - 1, MONDAY + 7 * DAY])
    assert minutes_of_week(times).tolist() == [0, 1, 7 * 1440 - 1, 0]


def test_covariates_are_sine_and_cosine_of_day_and_week() -> None:
    (row,) = covariates(np.array([MONDAY + DAY + 6 * 60 * MINUTE]), ["day", "week"])
    week = 2 * math.pi * 1.25 / 7
    assert row == pytest.approx([1.0, 0.0, math.sin(week), math.cos(week)], abs=1e-6)
    assert covariates(np.array([MONDAY]), []).shape == (1, 0)


def test_an_unknown_time_feature_is_named() -> None:
    with pytest.raises(DetectorError, match="unknown time feature 'moon'; choose of day, week"):
        covariates(np.array([MONDAY]), ["moon"])


@pytest.mark.parametrize(
    ("steps", "interval"),
    [
        ([], 0),
        ([300], 300),
        ([300] * 8 + [301, 299], 300),
        ([300] * 8 + [900, 1200], 300),
        ([300] * 7 + [900, 1200, 1500], 0),
        ([300] * 8 + [-300, 0], 300),  # steps back say nothing
        ([100, 900, 250, 400, 30], 0),
    ],
)
def test_a_series_has_a_usual_step_if_four_of_five_are_near_the_median(steps: list[int], interval: int) -> None:
    assert infer_interval(np.cumsum([MONDAY, *steps])) == interval
