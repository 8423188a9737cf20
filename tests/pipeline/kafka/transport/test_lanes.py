"""Open partitions, without Kafka; with it: test_transport.py."""

from __future__ import annotations

import pytest
from aiokafka.errors import IllegalStateError
from faust.types import TP

from pipeline.kafka.transport.lanes import Lane, Lanes


def test_whoever_opens_a_partition_that_was_taken_away_comes_too_late_and_does_not_seek() -> None:
    lanes, sought = Lanes(), []

    def seek(tp: TP, offset: int) -> None:
        sought.append((tp, offset))

    before, tp = lanes.epoch, TP("t", 0)
    first = Lane(tp, 7, 7)
    lanes.open(first, before, seek)
    assert lanes.get(tp) is first
    lanes.close_all()
    assert not lanes
    with pytest.raises(IllegalStateError, match=r"t\[0\] was taken away before it was opened"):
        lanes.open(Lane(tp, 9, 9), before, seek)
    assert lanes.get(tp) is None
    lanes.open(Lane(tp, 9, 9), lanes.epoch, seek)
    assert sought == [(tp, 7), (tp, 9)]


def test_what_is_held_is_counted_over_all_lanes_until_it_is_worked_on() -> None:
    lanes = Lanes()
    for partition in range(2):
        lane = Lane(TP("t", partition), 0, 0)
        lane.held += [(2, 300), (1, 50)]
        lanes.open(lane, lanes.epoch, lambda tp, offset: None)
    assert lanes.held == 700
    (first, _) = lanes
    first.held.popleft()
    assert (first.records, lanes.held) == (1, 400)


def test_a_worker_is_busy_until_the_last_batch_of_any_lane_is_worked_on() -> None:
    lanes = Lanes()
    both = [Lane(TP("t", partition), 0, 0) for partition in range(2)]
    for lane in both:
        lanes.open(lane, lanes.epoch, lambda tp, offset: None)
    assert not lanes.busy
    for lane in both:
        lane.held.append((1, 10))
    both[0].held.popleft()
    assert lanes.busy
    both[1].held.popleft()
    assert not lanes.busy
