from __future__ import annotations

import numpy as np
import pytest

from detectors.evaluation import delay

MINUTES = np.arange(1000, dtype=np.int64) * 60_000


def at(*minutes: int) -> tuple[int, ...]:
    return tuple(m * 60_000 for m in minutes)


def test_found_late_missed_and_false():
    #   windows   100-120            500-520       800-820
    #   alerts        110-115 118-119        530-540        (790-801)
    alerts = [at(110, 115), at(118, 119), at(530, 540), at(790, 801)]
    judgement = delay.judge(MINUTES, alerts, [at(100, 120), at(500, 520), at(800, 820)])
    assert [f.alert for f in judgement.finds] == [0, None, 3]
    assert (judgement.finds[0].delay_observations, judgement.finds[0].delay_minutes) == (10, 10.0)
    assert (judgement.finds[2].delay_observations, judgement.finds[2].delay_minutes) == (0, 0.0)
    assert judgement.false_alerts == (2,)
    assert judgement.found == 2
    assert delay.false_alerts_per_series_day([judgement, judgement]) == pytest.approx(1440 / 999)


def test_nothing_watched():
    nothing = delay.judge(MINUTES[:0], [], [])
    assert np.isnan(delay.false_alerts_per_series_day([nothing]))


def test_episodes_and_what_was_found_of_them():
    y = np.array([0, 1, 1, 0, 1, 0, 0, 1])
    assert delay.episodes(y) == [(1, 2), (4, 4), (7, 7)]
    assert delay.episodes(np.zeros(3)) == []
    flagged = np.array([0, 0, 1, 1, 0, 0, 0, 1], bool)
    assert delay.episodes_found(delay.episodes(y), flagged) == [1, None, 0]
