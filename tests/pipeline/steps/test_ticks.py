"""How far a tick may carry event time: by the delays of the log, and by a wall clock that is to be believed."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pipeline.steps.clock.ticks import EPOCH, FARTHEST, LIVE, STEP, Wall, delay, hear, sampled, target

MINUTE, HOUR = 60_000, 3_600_000
T0 = 1_774_915_200_000


def heard(delays: list[int], times: list[int] | None = None, cuts: tuple[int, ...] = ()) -> dict[str, int]:
    scalars: dict[str, int] = {}
    at = np.array(times or [T0 + MINUTE * i for i in range(len(delays))])
    for a, b in zip([0, *cuts], [*cuts, len(delays)], strict=True):
        hear(scalars, at[a:b], np.array(delays[a:b], np.int64))
    return scalars


@pytest.mark.parametrize(
    ("delays", "late"),
    [
        ([100, 5_000, 300], 5_000),
        ([-4 * MINUTE] * 3, -4 * MINUTE),  # producers whose clocks run ahead, all of them
        ([k * MINUTE for k in range(60, 0, -1)] * 3, HOUR),  # uploads once an hour
        ([200] * 50 + [8 * HOUR] * 5, 200),  # a clock that is behind changes nothing,
        ([200] * 50 + [-8 * HOUR] * 5, 200),  # nor one that is ahead
        ([200] * 20 + [8 * HOUR] * 5, None),
        ([12 * 365 * 24 * HOUR] * 100, None),  # years that are replayed
        ([(24 * 60 - k) * MINUTE for k in range(24 * 60)], None),  # uploads once a day
        ([], None),
    ],
)
def test_a_stream_is_as_late_as_it_was_lately_and_live_where_that_is_not_hours(
    delays: list[int], late: int | None
) -> None:
    assert delay(heard(delays, [T0] * len(delays))) == late


def test_delays_are_forgotten_after_two_epochs_and_any_cut_says_the_same() -> None:
    chance = random.Random(3)
    times = sorted(T0 + chance.randrange(12 * EPOCH) for _ in range(400))
    delays = [chance.randrange(HOUR) for _ in times]
    whole = heard(delays, times)
    newest = times[-1] // EPOCH
    assert delay(whole) == max(d for t, d in zip(times, delays, strict=True) if t // EPOCH >= newest - 1)
    for _ in range(20):
        assert heard(delays, times, tuple(sorted(chance.sample(range(400), 7)))) == whole
    assert heard(delays, times, tuple(range(1, 400))) == whole


def test_samples_lie_at_fixed_counts() -> None:
    places = np.arange(5, 30)
    assert places[sampled(places)].tolist() == [8, 16, 24]


@pytest.mark.parametrize(
    ("since", "late", "to"),
    [
        (10 * MINUTE, 5_000, 10 * MINUTE - 5_000),
        (10 * MINUTE, None, None),
        (10 * MINUTE, 9 * MINUTE + 1, None),  # less than a step is left
        (10 * MINUTE, -MINUTE, 11 * MINUTE),
        (HOUR, HOUR, None),
        (-HOUR, 0, None),  # event time is ahead of the wall clock
        (FARTHEST, 0, FARTHEST),
        (FARTHEST + 1, 0, None),  # a log of long ago, whose records were copied with their time stamps
    ],
)
def test_a_tick_goes_as_far_as_the_wall_clock_less_the_delay(since: int, late: int | None, to: int | None) -> None:
    assert target(T0 + since, T0, late) == (None if to is None else T0 + to)
    assert target(T0 + since, 0, late) is None
    assert STEP == MINUTE


class Clocks:
    def __init__(self) -> None:
        self.wall, self.steady = T0 / 1000, 5.0
        self.of = Wall(lambda: self.wall, lambda: self.steady)

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def test_a_wall_clock_that_was_set_is_not_believed_until_it_is_right_again() -> None:
    clocks = Clocks()
    clocks.passes(3600)
    assert clocks.of.doubt == ""
    clocks.wall += 8 * 3600
    assert clocks.of.doubt == "the wall clock was set by +28800 s"
    clocks.of.came(T0 + 3600_000, at_once=True)  # records that say otherwise do not make it right
    assert clocks.of.doubt.startswith("the wall clock")
    clocks.wall -= 8 * 3600
    assert clocks.of.doubt == ""
    clocks.wall -= 300
    assert clocks.of.doubt == "the wall clock was set by -300 s"
    clocks.of.came(int(clocks.wall * 1000) - 50, at_once=True)  # it was wrong before
    assert clocks.of.doubt == ""


def test_what_is_copied_with_old_time_stamps_is_history_and_a_backlog_is_not() -> None:
    clocks = Clocks()
    clocks.of.came(T0 - 2 * LIVE, at_once=False)  # waited in the log while no worker lived
    assert clocks.of.doubt == ""
    clocks.of.came(T0 - 2 * LIVE, at_once=True)
    assert clocks.of.doubt == "its records come later than they were written: a log that is copied"
    clocks.of.came(T0, at_once=True)
    assert clocks.of.doubt == ""
