from __future__ import annotations

import numpy as np
import pytest

from producers.clock import MAX_SPEED, Clock, parse_speed, steady
from producers.errors import ProducerError


class Wall:
    """Wall time that only moves when somebody sleeps; `lazy` wakes up too early."""

    def __init__(self, lazy: float = 1.0) -> None:
        self.at = 50.0
        self.lazy = lazy
        self.slept: list[float] = []

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += max(seconds * self.lazy, 1e-6)


def test_an_event_is_due_after_its_distance_over_the_speed() -> None:
    wall = Wall()
    clock = Clock(600.0, now=wall.now, sleep=wall.sleep)
    clock.start(1_000_000)
    clock.wait_until(1_000_000 + 30 * 60_000)
    assert wall.at == pytest.approx(50.0 + 3.0)


def test_an_overdue_event_does_not_wait() -> None:
    wall = Wall()
    clock = Clock(1.0, now=wall.now, sleep=wall.sleep)
    clock.start(0)
    wall.at += 10
    clock.wait_until(9_000)
    assert wall.slept == []


def test_a_sleep_that_returns_early_is_slept_again() -> None:
    wall = Wall(lazy=0.5)
    clock = Clock(1.0, now=wall.now, sleep=wall.sleep)
    clock.start(0)
    clock.wait_until(1_000)
    assert wall.at >= 51.0 - 1e-6
    assert len(wall.slept) > 5


def test_full_speed_never_waits_and_everything_is_due() -> None:
    wall = Wall()
    clock = Clock(MAX_SPEED, now=wall.now, sleep=wall.sleep)
    clock.start(0)
    clock.wait_until(1e18)
    assert wall.slept == []
    assert clock.reached_ms() == MAX_SPEED


def test_an_event_that_was_waited_for_is_due() -> None:
    for speed in (0.1, 1.0, 3.0, 7.7, 600.0, 86_400.0):
        wall = Wall()
        clock = Clock(speed, now=wall.now, sleep=wall.sleep)
        clock.start(0)
        for event in range(0, 10_000, 333):
            clock.wait_until(event)
            assert clock.reached_ms() >= event


@pytest.mark.parametrize(
    ("text", "speed"), [("1x", 1.0), ("600x", 600.0), ("0.5x", 0.5), ("20", 20.0), ("max", MAX_SPEED)]
)
def test_speeds_are_read(text: str, speed: float) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["", "x", "0x", "-1x", "fast", "1e3x", "nan"])
def test_a_speed_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ProducerError, match="write 1x, 600x or max"):
        parse_speed(text)


def test_a_steady_rate_spaces_records_evenly() -> None:
    assert np.array_equal(steady(4, 1000.0), [0.0, 1.0, 2.0, 3.0])
