"""What a worker's log says of its work, by a clock that is set by hand."""

from __future__ import annotations

from collections import Counter

from structlog.testing import capture_logs

from pipeline.operations.progress import EVERY, PATIENCE, WARN_EVERY, Progress
from pipeline.partition.home import Verdict


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_says_once_what_it_waits_for_and_only_where_that_takes_long() -> None:
    clock = Clock()
    progress = Progress(clock)
    with capture_logs() as lines:
        progress.tick(given=0, opened=0)
        clock.now += PATIENCE - 0.5
        progress.tick(given=0, opened=0)
        assert lines == []
        clock.now += 0.5
        for _ in range(5):
            progress.tick(given=0, opened=0)
            clock.now += 1
        assert [line["event"] for line in lines] == ["waiting for partitions"]
        progress.tick(given=2, opened=1)  # one still loads its state
        clock.now += PATIENCE
        progress.tick(given=2, opened=1)
        assert len(lines) == 1
        progress.tick(given=2, opened=2)
        clock.now += PATIENCE
        progress.tick(given=2, opened=2)
        clock.now += PATIENCE
        progress.tick(given=2, opened=2)
    assert [line["event"] for line in lines] == ["waiting for partitions", "waiting for records"]


def test_a_stream_that_is_at_work_waits_for_nothing() -> None:
    clock = Clock()
    progress = Progress(clock)
    with capture_logs() as lines:
        progress.batch("shops", Counter(records=10))
        progress.tick(given=1, opened=1)
        clock.now += 2 * PATIENCE
        progress.tick(given=1, opened=1)
    assert lines == []


def test_the_first_score_and_the_first_alert_of_each_stream_are_told_once() -> None:
    clock = Clock()
    progress = Progress(clock)
    with capture_logs() as lines:
        progress.batch("shops", Counter(records=10))
        clock.now += 4
        for _ in range(2):
            progress.batch("shops", Counter(records=10, scored=3))
        clock.now += 1
        for _ in range(2):
            progress.batch("shops", Counter(records=10, scored=3, alerts_firing=1))
        progress.batch("taxi", Counter(records=10, scored=3))
    told = [(line["event"], line["stream"], line["after"]) for line in lines]
    assert told == [
        ("first record scored", "shops", 4.0),
        ("first alert", "shops", 5.0),
        ("first record scored", "taxi", 5.0),
    ]


def test_a_line_every_half_minute_in_which_something_came_and_none_otherwise() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.batch("shops", Counter(records=60, observations=600, scored=500, alerts_firing=2))
    progress.batch("taxi", Counter())
    for partition, lag in ((0, 5), (1, 7)):
        progress.position("shops", partition, lag)
        progress.series("shops", partition, warming=1, live=10 + partition, once=0)
    with capture_logs() as lines:
        clock.now += EVERY - 1
        progress.tick(given=2, opened=2)
        clock.now += 1
        progress.tick(given=2, opened=2)
        lines[:] = [line for line in lines if line["event"] == "progress"]
        assert lines == [
            {
                "event": "progress", "log_level": "info", "stream": "shops", "partitions": 2, "series_live": 21, "series_warming": 2,
                "records": 60, "observations": 600, "per_second": 20.0, "scored": 500, "lag": 12, "alerts": 2,
            }
        ]  # fmt: skip
        clock.now += 10 * EVERY
        progress.tick(given=2, opened=2)
        assert len(lines) == 1
        progress.forget("shops", 1)
        progress.batch("shops", Counter(records=30))
        clock.now += EVERY
        progress.tick(given=1, opened=1)
        assert [line["lag"] for line in lines if line["event"] == "progress"] == [12, 5]


def test_series_that_are_not_at_home_are_told_once_a_minute_for_a_stream_until_they_are() -> None:
    clock = Clock()
    progress = Progress(clock)
    with capture_logs() as lines:
        progress.homes("shops", 0, Verdict("CRC32", 9, 10, "a"))
        progress.homes("shops", 1, Verdict("keyless", 2, 10, "b"))
        for _ in range(int(WARN_EVERY) + 1):
            progress.tick(given=2, opened=2)
            clock.now += 1
        told = [line for line in lines if line["event"] == "series not at home"]
        assert [(line["stream"], line["partitions"], line["partition"]) for line in told] == [("shops", [0, 1], 1)] * 2
        assert "2 of 10 series looked at are not at home ('b'): their records have no key" in told[0]["why"]
        progress.homes("shops", 0, None)
        progress.forget("shops", 1)
        clock.now += 2 * WARN_EVERY
        progress.tick(given=2, opened=2)
    assert sum(line["event"] == "series not at home" for line in lines) == 2


def test_a_stream_most_of_whose_series_come_once_is_told_once_a_minute_until_they_are_gone() -> None:
    """It looked well: records came, none was scored, and nothing said so."""
    clock = Clock()
    progress = Progress(clock)
    with capture_logs() as lines:
        progress.series("shops", 0, warming=150, live=0, once=149)
        progress.series("shops", 1, warming=20, live=80, once=1)
        progress.series("taxi", 0, warming=400, live=100, once=250)  # not more than half
        progress.series("kdd", 0, warming=99, live=0, once=99)  # few
        for _ in range(int(WARN_EVERY) + 1):
            progress.tick(given=4, opened=4)
            clock.now += 1
        told = [line for line in lines if line["event"] == "series never come again"]
        assert [line["stream"] for line in told] == ["shops"] * 2
        assert told[0]["why"].startswith("150 of 250 series came once and not again for an hour")
        progress.forget("shops", 0)
        clock.now += 2 * WARN_EVERY
        progress.tick(given=3, opened=3)
    assert sum(line["event"] == "series never come again" for line in lines) == 2
