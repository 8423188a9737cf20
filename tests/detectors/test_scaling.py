"""How series are scaled by min-max: known ones by their range, others by what is known of them."""

from __future__ import annotations

import numpy as np

from detectors.scaling import SeriesScaling


def test_min_max_takes_a_series_to_0_and_1() -> None:
    values = np.array([[10.0, 3.0], [30.0, 3.0], [20.0, 3.0]])
    centre, scale = SeriesScaling("min-max").of(values)
    assert ((values - centre) / scale).tolist() == [[0.0, 0.0], [1.0, 0.0], [0.5, 0.0]]
    assert scale.tolist() == [20.0, 3.0]  # a change of a constant series is counted in its own size
