"""The seasonal memory: sees what is wrong for the day though right for the hour, and hears no echo."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.base import DetectorError
from detectors.calibration import Empirical
from detectors.seasonal import Seasonal, SeasonalConfig
from detectors.training import train_metric

PERIOD, SPAN = 28, 3


def scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Raw scores of every observation from the first full window on."""
    detector = Seasonal(SeasonalConfig(period=PERIOD, seasons=2, span=SPAN, window=2 * PERIOD + SPAN))
    windows = np.lib.stride_tricks.sliding_window_view(values, detector.config.window)[:, :, None]
    detector.fit(windows)
    return detector.score(windows).raw


def weeks(n: int) -> NDArray[np.float64]:
    """A season with a busy and a quiet part, n times."""
    return np.tile(np.r_[np.full(20, 10.0), np.full(8, 2.0)], n)


def test_a_series_that_repeats_scores_nothing() -> None:
    assert scores(weeks(5)).max() == 0.0


def test_a_quiet_hour_in_a_busy_part_scores_and_has_no_echo_a_season_later() -> None:
    values = weeks(6)
    at = 3 * PERIOD + 5
    values[at : at + SPAN] = 2.0
    raw = scores(values)
    first = 2 * PERIOD + SPAN - 1  # the observation that the first window judges
    assert raw[at + SPAN - 1 - first] == pytest.approx(8.0)
    anomalous = np.flatnonzero(raw > 0) + first
    assert anomalous.min() == at
    assert anomalous.max() == at + 2 * SPAN - 2  # gone with the last mean that holds a quiet hour


def test_a_window_that_does_not_hold_the_seasons_is_refused() -> None:
    with pytest.raises(DetectorError, match="seasons \\* period \\+ span = 59, not 60"):
        Seasonal(SeasonalConfig(period=28, seasons=2, span=3, window=60))


def test_it_is_calibrated_on_all_training_rows_since_it_learns_nothing() -> None:
    rng = np.random.default_rng(0)
    values = weeks(40) + rng.normal(0.0, 0.1, 40 * PERIOD)
    times = np.arange(len(values), dtype=np.int64) * 60_000
    settings = {"period": PERIOD, "span": SPAN, "window": 2 * PERIOD + SPAN}
    model = train_metric({"s": (times, values[:, None])}, [("seasonal", settings)], Empirical())
    rows = model.training_rows["s"]
    expected = Empirical().fit(scores((values[:rows] - values[:rows].mean()) / values[:rows].std()))
    assert model.calibrations["s"][0]["learnt"] == expected["learnt"] == rows - (2 * PERIOD + SPAN) + 1
