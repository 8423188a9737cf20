"""Health is about advance, not about being alive."""

from __future__ import annotations

import inspect
from collections import Counter

from prometheus_client import CollectorRegistry

from pipeline.operations.health import PATIENCE, Health
from pipeline.operations.metrics import WorkerMetrics
from pipeline.steps.scoring import Scorer


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_no_advance_with_lag_is_degraded_and_an_advance_heals_it() -> None:
    clock = _Clock()
    health = Health(patience=60, clock=clock)
    health.position("taxi", 0, 10, lag=5)
    clock.now = 59
    assert health.problems() == []
    clock.now = 61
    health.position("taxi", 0, 10, lag=9)
    assert health.problems() == ["taxi[0] stands at offset 10 for 61 s with records waiting"]
    health.position("taxi", 0, 11, lag=8)
    assert health.problems() == []


def test_standing_still_without_lag_is_well_and_the_patience_starts_when_records_come() -> None:
    clock = _Clock()
    health = Health(patience=60, clock=clock)
    health.position("taxi", 0, 10, lag=0)
    clock.now = 1000
    assert health.problems() == []
    health.position("taxi", 0, 10, lag=1)
    assert health.problems() == []
    clock.now = 1061
    assert len(health.problems()) == 1
    health.forget("taxi", 0)
    assert health.problems() == []


def test_a_store_that_does_not_answer_for_long_is_degraded() -> None:
    clock = _Clock()
    health = Health(patience=60, clock=clock)
    health.waiting("taxi", 0, True, "state store")
    clock.now = 61
    health.waiting("taxi", 0, True, "state store")
    assert health.problems() == ["taxi[0] waits for the state store since 61 s"]
    health.waiting("taxi", 0, False, "state store")
    assert health.problems() == []


def test_what_no_detector_could_score_is_degraded_for_a_while() -> None:
    clock = _Clock()
    metrics = WorkerMetrics(CollectorRegistry(), Health(clock=clock))
    metrics.batch("taxi", 0, Counter({"records": 9, "rejected_undecodable": 4}), {})
    assert metrics.health.problems() == []
    metrics.batch("taxi", 0, Counter({"records": 9, "rejected_not scorable": 2}), {})
    clock.now = 500
    metrics.batch("taxi", 0, Counter({"records": 9, "rejected_not scorable": 1}), {})
    told = "observations that a detector could not score are dead letters, the last"
    assert metrics.health.problems() == [f"taxi[0]: 3 {told} 0 s ago"]
    clock.now = 1101
    assert metrics.health.problems() == []
    metrics.batch("taxi", 0, Counter({"records": 9, "rejected_not scorable": 1}), {})
    assert metrics.health.problems() == [f"taxi[0]: 1 {told} 0 s ago"]
    metrics.forget("taxi", 0)
    assert metrics.health.problems() == []


def test_health_tells_of_a_detector_that_hangs_before_it_ends_the_process() -> None:
    ends = inspect.signature(Scorer).parameters["timeout"].default.total_seconds()
    assert ends / 2 >= PATIENCE


def test_an_input_that_ended_is_noted_for_the_whole_stream_and_is_well_all_the_same() -> None:
    clock = _Clock()
    health = Health(clock=clock)
    health.position("taxi", 0, 10, lag=0)
    health.position("taxi", 1, 10, lag=0)
    clock.now = 600
    health.position("taxi", 0, 10, lag=0)
    health.position("taxi", 1, 11, lag=0)
    clock.now = 1000
    assert health.notes() == []  # partition 0 has been quiet for long, 1 has not
    clock.now = 600 + 20 * 60
    assert health.notes() == ["taxi: input ended, no record for 20 min: see to its producers"]
    assert health.problems() == []
    health.position("taxi", 0, 12, lag=0)
    assert health.notes() == []


def test_records_that_wait_are_no_input_that_ended() -> None:
    clock = _Clock()
    health = Health(clock=clock)
    for minute in range(30):
        clock.now = 60.0 * minute
        health.position("taxi", 0, 10, lag=5)
    assert health.notes() == []


def test_wrong_clocks_are_named_and_only_some_of_many() -> None:
    hour = 3_600_000
    health = Health()
    health.clocks("taxi", 3, [("x", 8 * hour), ("y", -50 * 24 * hour)])
    assert health.notes() == [
        "taxi[3]: the clock of series 'x' is 8 h ahead",
        "taxi[3]: the clock of series 'y' is 50 d behind",
    ]
    health.clocks("taxi", 3, [(f"s{i}", hour) for i in range(1000)])
    assert len(health.notes()) == 6
    assert "taxi[3]: 995 more series have a wrong clock" in health.notes()
    assert health.problems() == []
    health.forget("taxi", 3)
    assert health.notes() == []


def test_event_time_that_stands_though_nothing_comes_is_noted_with_why() -> None:
    metrics = WorkerMetrics(CollectorRegistry(), Health())
    metrics.stands("taxi", 3, "the wall clock was set by +28800 s")
    assert metrics.health.notes() == [
        "taxi[3]: its event time stands still though nothing comes: the wall clock was set by +28800 s"
    ]
    assert metrics.health.problems() == []
    metrics.stands("taxi", 3, "")
    assert metrics.health.notes() == []


def test_series_that_come_once_and_never_again_are_a_note_and_no_fault_of_the_workers() -> None:
    health = Health()
    health.series("shops", 0, series=150, once=149)
    assert [note.partition(",")[0] for note in health.notes()] == [
        "shops: 149 of 150 series came once and not again for an hour"
    ]
    assert health.problems() == []
    health.forget("shops", 0)
    assert health.notes() == []
