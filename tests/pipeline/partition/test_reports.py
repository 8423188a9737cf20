"""How often a loop says what it holds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pipeline.partition.reports import Reports


class Slow:
    """Metrics that take `seconds` of the clock for the series, and count how often they are told."""

    def __init__(self, seconds: float) -> None:
        self.now, self.told, self.seconds = 100.0, 0, seconds

    def clock(self) -> float:
        return self.now

    def series(self, *_: Any, **__: Any) -> None:
        self.told += 1
        self.now += self.seconds

    def open_alerts(self, *_: Any) -> None: ...
    def clocks(self, *_: Any) -> None: ...
    def shadow(self, *_: Any) -> None: ...


def core() -> Any:
    return SimpleNamespace(
        warming=0, once=0, state=[], standing=None,
        life=SimpleNamespace(open=lambda state: {}), clock=SimpleNamespace(now=0, apart=lambda far: ()),
    )  # fmt: skip


def test_where_telling_what_is_held_takes_long_changes_of_it_are_told_seldom_and_the_last_one_always() -> None:
    metrics, held = Slow(0.01), core()
    reports = Reports(metrics, "s", 0, metrics.clock)  # type: ignore[arg-type]
    for _ in range(100):  # alerts in a hundred batches of a millisecond
        reports.state_changed(held)
        metrics.now += 0.001
    assert metrics.told == 1
    for _ in range(1000):
        reports.state_if_due(held)
        metrics.now += 0.001
    assert metrics.told == 2
    reports.state(held)  # a checkpoint
    assert metrics.told == 3


def test_a_change_is_told_at_once_and_what_follows_soon_with_the_next() -> None:
    metrics, held = Slow(0.0), core()
    reports = Reports(metrics, "s", 0, metrics.clock)  # type: ignore[arg-type]
    for _ in range(10):
        reports.state_changed(held)
    assert metrics.told == 1
    metrics.now += 0.5
    reports.state_if_due(held)
    assert metrics.told == 2
