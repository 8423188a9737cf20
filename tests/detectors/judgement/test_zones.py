"""Local clocks of many times at once are those of zoneinfo, one by one."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from detectors.judgement.zones import offsets


def naive(name: str, ms: int) -> int:
    offset = datetime.fromtimestamp(ms / 1000, UTC).astimezone(ZoneInfo(name)).utcoffset()
    assert offset is not None
    return round(offset.total_seconds() * 1000)


@pytest.mark.parametrize(
    "name",
    [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "Asia/Tehran",
    ],
)
def test_any_time_has_the_offset_of_its_zone(name: str) -> None:
    times = np.random.default_rng(0).integers(0, 4_000_000_000_000, 3_000)
    assert offsets(name, times).tolist() == [naive(name, t) for t in times.tolist()]


def test_the_second_at_which_summer_time_begins_and_ends() -> None:
    spring, autumn = (int(datetime(2024, *at, 1, tzinfo=UTC).timestamp() * 1000) for at in ((3, 31), (10, 27)))
    times = np.array([spring - 1, spring, autumn - 1, autumn])
    assert (offsets("Europe/Berlin", times) // 3_600_000).tolist() == [1, 2, 2, 1]


def test_no_times_have_no_offsets() -> None:
    assert offsets("Europe/Berlin", np.zeros(0, np.int64)).tolist() == []
