"""How calibrated scores of several members become one."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.model import Aggregation, aggregate


@pytest.mark.parametrize(("how", "one"), [("mean", 4.0), ("rms", np.sqrt(48.0)), ("max", 12.0), ("vote", 0.0)])
def test_one_member_that_is_sure_is_heard_in_so_far(how: Aggregation, one: float) -> None:
    calibrated = np.array([[12.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
    assert aggregate(calibrated, how).tolist() == pytest.approx([one, 2.0])
