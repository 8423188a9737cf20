"""Series of which one observation came, and never another: what a label that is another in every record makes."""

from __future__ import annotations

import numpy as np
from frozen_states import stream_of

from pipeline.partition.core import PartitionCore
from pipeline.steps.batches.observations import Observations

MINUTE = 60_000
T0 = 1_774_915_200_000


def taken(core: PartitionCore, names: list[str], minutes: list[int], first: int) -> int:
    times = T0 + MINUTE * np.array(minutes, np.int64)
    core.process(Observations(first + np.arange(len(names)), names, times, np.ones((len(names), 1))))
    return core.once


def test_what_came_once_is_counted_when_an_hour_has_gone_by_and_no_longer_when_it_comes_again() -> None:
    core = stream_of("metric").core(0)
    assert core.once == 0
    half = [*range(30)]
    assert taken(core, [f"m{i}" for i in half], half, 0) == 0  # they may come again
    rest = [*range(30, 200)]
    assert taken(core, [f"m{i}" for i in rest], rest, 30) == 120  # the newest tenth begins at minute 180
    assert taken(core, ["m0", "m1"], [200, 201], 200) == 120  # two fewer, and two more are an hour old
    assert taken(core, ["liar"], [10**6], 202) == 120  # one clock far ahead says nothing of the others


def test_a_fleet_that_reports_each_hour_comes_again() -> None:
    core = stream_of("metric").core(0)
    hosts = [f"h{i}" for i in range(40)]
    assert [taken(core, hosts, [60 * hour + i for i in range(40)], 40 * hour) for hour in range(3)] == [0, 0, 0]
