"""Where all producers stop, the owner carries event time on: who is absent, silent or gone is told, as the log of decisions says, however often it is read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from frozen_states import stream_of
from simulation.worker import IDENTITY
from structlog.testing import capture_logs

from pipeline.alerts.records import Alert, decode_alert, rfc3339
from pipeline.errors import BrokerError, Dropped
from pipeline.partition.deciding.decisions import Decisions, Entry, Mark, Reset, Taken, Tick, decode_entry, valid
from pipeline.partition.deciding.what import Close, Decision, SettingsOf, Silence
from pipeline.partition.loop import PartitionLoop
from pipeline.partition.stores.memory import MemoryStore
from pipeline.partition.stream import Stream, create_stream
from pipeline.partition.streams import decided
from pipeline.steps.batches.records import RecordBatch, Standing
from pipeline.steps.stored.pieces import folded
from producers.records import Observation, encode

MINUTE = 60_000
T0 = 1_774_915_200_000


def stream(**alerts: object) -> Stream:
    frozen = stream_of("metric")
    changes = {
        "absent_after": timedelta(minutes=10),
        "silence": timedelta(hours=6),
        "update_every": timedelta(0),
    } | alerts
    update = {
        "alerts": frozen.settings.alerts.model_copy(update=changes),
        "idle_after": timedelta(hours=12),
        "max_series": 1000,
        "format": "native",
    }
    return create_stream(frozen.settings.model_copy(update=update), frozen.model)


class Topic:
    """The topic of decisions; `before_next` slips in before what is written next, and lines come `late` ms by the broker's clock."""

    def __init__(self) -> None:
        self.lines: list[Entry] = []
        self.before_next: list[Entry] = []
        self.arrived: int | None = None

    async def write(self, entries: Sequence[Entry]) -> None:
        self.lines += [*self.before_next, *entries]
        self.before_next = []

    async def read(self) -> Sequence[Entry]:
        return [e for e in self.lines if not isinstance(e, Tick) or e.told_in_time(self.arrived)]

    @property
    def ticks(self) -> list[Tick]:
        return [t for t in valid(self.lines, "t") if isinstance(t, Tick)]


class Place:
    """A log of one partition, its topic of decisions and a store; whoever is the `owner` lives with them. A minute of event time is one of the clocks."""

    def __init__(self, of: Stream | None = None, delay: int = 300) -> None:
        self.of = of or stream()
        self.topic, self.store = Topic(), MemoryStore()
        self.records: list[tuple[int, bytes]] = []
        self.now = float(T0)  # ms
        self.clock_wrong = 0.0
        self.delay = delay
        self.sent: list[tuple[str, bytes]] = []
        self.end: int | None = None
        self.owner: bool = True
        self.newest = 1
        self.settings = Decision("d1", SettingsOf(decided(self.of.settings), self.of.model.hash, {}), "ann", "", 1)
        self.others: list[Decision] = []

    # Listed

    async def after(self, serial: int) -> Sequence[Decision]:
        return [d for d in [self.settings, *self.others] if d.serial > serial]

    def decides(self, what: Any) -> None:
        self.others.append(Decision(f"d{self.newest + 1}", what, "ann", "", self.newest + 1))
        self.newest += 1

    # The world of a loop

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> Awaitable[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        if topic == self.of.settings.alert_topic:
            self.sent.append((topic, value or b""))
        return done

    async def still_owner(self) -> bool:
        return self.owner

    async def end_of_log(self) -> int:
        if self.end is not None and self.end < 0:
            raise BrokerError("away")
        return len(self.records) if self.end is None else self.end

    async def worker(self, of: Stream | None = None) -> PartitionLoop:
        loop = PartitionLoop(
            of or self.of, 0, store=self.store, publisher=self, still_owner=self.still_owner, identity=IDENTITY,
            clock=lambda: self.now / 1000, wall=lambda: self.now / 1000 + self.clock_wrong, checkpoint_every=1e9, checkpoint_records=10**9,
            end_of_log=self.end_of_log,
            decisions=Decisions("s", 0, log="t", listed=self, journal=self.topic, still_owner=self.still_owner),
        )  # fmt: skip
        await loop.assigned()
        await loop.begin(Standing(0, len(self.records), None, 1))
        return loop

    def report(self, minutes: int, names: str = "abcdef", *, of: int | None = None) -> None:
        """All of these series report, a minute after the other; `of`: as of another time than now."""
        chance = random.Random(len(self.records))
        for minute in range(minutes):
            at = int(self.now) if of is None else of + minute * MINUTE
            for k, name in enumerate(names):
                value = encode(Observation(series=name, timestamp=at + k, value=chance.gauss(10, 1)))
                self.records.append((int(self.now) + self.delay, value))
            self.now += MINUTE

    def batch(self, first: int, last: int | None = None) -> RecordBatch:
        some = self.records[first:last]
        n = first + len(some)
        times = np.array([at for at, _ in some], np.int64)
        return RecordBatch("in", 0, np.arange(first, n), n, [None] * len(some), [v for _, v in some], times)

    async def read(self, loop: PartitionLoop) -> None:
        await loop.batch(self.batch(max(loop.position, 0)))

    async def wait(self, loop: PartitionLoop, minutes: float, every: float = 0.5) -> None:
        """Nothing comes for so long."""
        for _ in range(int(minutes / every)):
            self.now += every * MINUTE
            await loop.idle()

    def told(self) -> list[tuple[str, str, str]]:
        return [(a.series, a.status, a.change) for a in self.alerts()]

    def alerts(self) -> list[Alert]:
        seen, alerts = set(), []
        for _, body in self.sent:
            alert = decode_alert(body)
            if (alert.id, alert.sequence) not in seen and alert.kind == "no data":
                alerts.append(alert)
            seen.add((alert.id, alert.sequence))
        return alerts

    async def stored(self) -> dict[str, bytes]:
        return folded(self.store._hashes[self.of.name, 0].fields)


ALL = ("(partition 0)", "firing", "anomaly")


async def stopped(place: Place, minutes: int = 40) -> PartitionLoop:
    """All report for a while, then nobody does."""
    loop = await place.worker()
    place.report(minutes)
    await place.read(loop)
    return loop


async def test_where_all_stop_it_is_one_alert_and_gone_is_told_when_they_are_forgotten() -> None:
    place = Place()
    loop = await stopped(place)
    await place.wait(loop, 9)
    assert place.told() == []
    await place.wait(loop, 5)
    assert place.told() == [ALL]
    assert place.alerts()[0].summary.startswith("6 of 6 series of partition 0 sent no data")
    await place.wait(loop, 13 * 60, every=1)
    assert place.told() == [ALL, ("(partition 0)", "resolved", "gone")]
    written = len(place.topic.ticks)
    assert written < 12  # only where something comes of it
    await place.wait(loop, 7 * 24 * 60, every=60)
    assert len(place.topic.ticks) == written
    assert loop.core.watermark <= place.now


async def test_what_fires_when_all_stop_becomes_no_data_and_one_of_few_series_is_told_by_its_name() -> None:
    place = Place()
    loop = await place.worker()
    place.report(40, "ab")
    await place.read(loop)
    await place.wait(loop, 15)
    assert place.told() == [("a", "firing", "anomaly"), ("b", "firing", "anomaly")]
    first, second = place.alerts()
    assert (first.starts_at, second.starts_at) == (
        rfc3339(T0 + 49 * MINUTE),
        rfc3339(T0 + 49 * MINUTE + 1),
    )  # heard last at minute 39, patient for ten
    await place.wait(loop, 13 * 60, every=1)
    assert place.told()[2:] == [("a", "resolved", "gone"), ("b", "resolved", "gone")]


async def test_who_comes_back_ends_it_and_time_never_falls() -> None:
    place = Place()
    loop = await stopped(place)
    await place.wait(loop, 60)
    before = loop.core.watermark
    place.report(30)
    await place.read(loop)
    assert place.told() == [ALL, ("(partition 0)", "resolved", "normal")]
    assert before <= loop.core.watermark <= place.now
    await place.wait(loop, 20)
    assert place.told()[2:] == [ALL]


async def test_any_cut_any_restart_and_an_empty_store_lead_to_the_same_bytes() -> None:
    place = Place()
    loop = await stopped(place)
    await place.wait(loop, 45)
    place.report(20)
    await place.read(loop)
    await place.wait(loop, 30)
    await loop.checkpoint()
    said, state, entries = list(place.sent), await place.stored(), len(place.topic.ticks)
    chance = random.Random(1)
    for again in range(4):
        place.sent, place.store = [], MemoryStore()
        place.end = -1  # nobody knows where the log ends, so no tick is new
        loop = await place.worker()
        for cut in sorted(chance.sample(range(1, len(place.records)), 6)):
            await loop.batch(place.batch(max(loop.position, 0), cut))
            if again % 2:
                await loop.checkpoint()
                loop = await place.worker()
        await place.read(loop)
        await loop.checkpoint()
        assert [*dict.fromkeys(place.sent)] == [*dict.fromkeys(said)]
        assert await place.stored() == state
    assert len(place.topic.ticks) == entries


async def test_an_owner_that_dies_behind_the_write_has_taken_the_tick() -> None:
    place = Place()
    loop = await stopped(place)
    await loop.checkpoint()
    died: list[int] = []

    async def dies() -> None:
        died.append(1)
        raise asyncio.CancelledError

    loop._apply_due = dies  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await place.wait(loop, 30)
    assert len(place.topic.ticks) == 1
    place.end = -1
    after = await place.worker()
    assert after.core.watermark == place.topic.ticks[0].event_time
    place.store = MemoryStore()  # and so it has for whoever reads all of the log
    reader = await place.worker()
    await place.read(reader)
    assert reader.core.state.snapshot(everything=True) == after.core.state.snapshot(everything=True)


async def test_a_zombie_takes_no_tick() -> None:
    place = Place()
    zombie = await stopped(place)
    await zombie.checkpoint()
    await place.worker()  # the next owner's mark stands before it
    place.owner = False
    with pytest.raises(Dropped):
        await place.wait(zombie, 30)
    assert place.topic.ticks == []
    assert place.told() == []


async def test_a_tick_of_a_wrong_clock_counts_for_nothing_and_is_said_once() -> None:
    place = Place()
    await (await stopped(place)).checkpoint()
    place.clock_wrong = 8 * 3600
    place.topic.arrived = int(place.now) + 10 * MINUTE
    loop = await place.worker()  # begins with the wrong clock, so it has not seen it set
    with capture_logs() as lines:
        await place.wait(loop, 8)
    assert loop.core.watermark < T0 + 40 * MINUTE
    assert [line["why"] for line in lines if "stands still" in line["event"]] == [
        "the worker's clock is not the broker's, so its ticks count for nothing: set it right (NTP)"
    ]
    assert len([e for e in place.topic.lines if isinstance(e, Tick)]) == 1  # and it does not try again at once


async def test_a_clock_that_is_set_while_the_worker_runs_carries_nothing_on() -> None:
    place = Place()
    loop = await stopped(place)
    place.clock_wrong = 8 * 3600
    with capture_logs() as lines:
        await place.wait(loop, 30)
    assert place.topic.ticks == []
    assert [line["why"] for line in lines if "stands still" in line["event"]] == ["the wall clock was set by +28800 s"]
    place.clock_wrong = 0.0
    await place.wait(loop, 5)
    assert place.told() == [ALL]


@pytest.mark.parametrize("of", [T0 - 12 * 365 * 24 * 60 * MINUTE, T0 - 24 * 60 * MINUTE])
async def test_history_that_is_replayed_gets_no_ticks(of: int) -> None:
    place = Place()
    loop = await place.worker()
    place.report(200, of=of)
    await place.read(loop)
    await place.wait(loop, 48 * 60, every=10)
    assert [e for e in place.topic.lines if isinstance(e, Tick)] == []
    assert place.told() == []


async def test_a_log_that_is_copied_with_its_time_stamps_gets_no_ticks() -> None:
    place = Place(delay=300)
    place.report(200)
    place.now += 40 * 24 * 60 * MINUTE  # records that say that they were written when they were of; read 40 days later
    loop = await place.worker()
    await place.read(loop)
    await place.wait(loop, 48 * 60, every=10)
    assert [e for e in place.topic.lines if isinstance(e, Tick)] == []


async def test_time_stands_still_where_the_log_goes_on_or_nobody_knows() -> None:
    place = Place()
    loop = await stopped(place)
    for end in (len(place.records) + 1, -1):
        place.end = end
        await place.wait(loop, 60)
        assert place.topic.ticks == []
    place.end = None
    await place.wait(loop, 5)
    assert place.told() == [ALL]


async def test_producers_that_come_back_with_the_brokers_were_never_absent() -> None:
    place = Place()
    loop = await stopped(place)
    place.end = -1
    await place.wait(loop, 30)
    place.end = None
    await place.wait(loop, 0.5)  # the brokers are back, and what was buffered is on its way
    place.report(10, of=T0 + 40 * MINUTE)
    await place.read(loop)
    await place.wait(loop, 0.5)
    assert place.told() == []


async def test_devices_that_upload_once_an_hour_are_not_missed_between_two_uploads() -> None:
    place = Place()
    loop = await place.worker()
    for hour in range(12):
        place.now = T0 + (hour + 1) * 60 * MINUTE
        uploaded = place.now
        place.report(60, of=T0 + hour * 60 * MINUTE)
        place.records[-360:] = [(int(uploaded) + 300, value) for _, value in place.records[-360:]]
        place.now = uploaded
        await place.read(loop)
        await place.wait(loop, 59)
    assert place.told() == []
    await place.wait(loop, 30)
    assert place.told() == [ALL]  # the thirteenth did not come


async def test_a_worker_that_starts_when_all_is_over_catches_up() -> None:
    place = Place()
    await (await stopped(place)).checkpoint()
    place.now += 30 * 60 * MINUTE  # workers and producers were away for longer than a series is kept
    loop = await place.worker()
    await place.wait(loop, 5)
    assert place.told() == [ALL, ("(partition 0)", "resolved", "gone")]


async def test_decisions_and_ticks_keep_their_order() -> None:
    place = Place()
    loop = await stopped(place)
    await place.wait(loop, 15)
    place.decides(Close("*"))
    await place.wait(loop, 15)
    lines = valid(place.topic.lines, "t")
    kinds = [type(line) for line in lines]
    assert kinds[0] is Taken
    assert kinds.count(Taken) == 2
    assert kinds.index(Tick) < len(kinds) - 1 - kinds[::-1].index(Taken)
    state = loop.core.state.snapshot(everything=True)
    place.store, place.end = MemoryStore(), -1
    again = await place.worker()
    await place.read(again)
    assert again.core.state.snapshot(everything=True) == state


def line(owner: str, number: int, offset: int = 5) -> Tick:
    return Tick("s", 0, owner, offset, number, T0 + number, T0, "t")


@pytest.mark.parametrize(
    ("lines", "numbers"),
    [
        ([Mark("s", 0, "a", "t"), line("a", 1), line("a", 2)], [1, 2]),
        ([Mark("s", 0, "a", "t"), line("a", 1), Mark("s", 0, "b", "t"), line("a", 2), line("b", 2)], [1, 2]),
        ([line("a", 1)], []),
        ([Mark("s", 0, "a", "t"), line("a", 1), line("a", 1)], [1]),
        ([Mark("s", 0, "a", "t"), line("a", 1), Reset("s", 0), Mark("s", 0, "a", "t"), line("a", 1)], [1]),
    ],
    ids=["owner", "zombie", "no mark", "once", "reset"],
)
def test_ticks_count_as_decisions_do(lines: list[Entry], numbers: list[int]) -> None:
    assert [t.number for t in valid(lines, "t") if isinstance(t, Tick)] == numbers
    assert decode_entry(msgspec.json.encode(line("a", 1))) == line("a", 1)


def test_a_line_that_came_at_another_time_than_it_says_is_of_a_wrong_clock() -> None:
    one = line("a", 1)
    assert one.told_in_time(None)
    assert one.told_in_time(T0 + 119_000)
    assert not one.told_in_time(T0 + 121_000)
    assert not one.told_in_time(T0 - 8 * 3_600_000)


async def test_a_silence_that_ends_while_nothing_comes_is_told_then() -> None:
    place = Place()
    loop = await place.worker()
    place.report(40, "ab")
    await place.read(loop)
    place.decides(Silence("a", T0 + 100 * MINUTE))
    await place.wait(loop, 30)
    assert place.told() == [("a", "firing", "anomaly"), ("b", "firing", "anomaly")]
    assert [a.silenced is True for a in place.alerts()] == [True, False]
    await place.wait(loop, 40)
    assert place.told()[2:] == [("a", "firing", "unsilenced")]
    assert place.alerts()[2].silenced is not True


async def test_a_silence_over_all_of_a_partition_ends_too() -> None:
    place = Place()
    loop = await stopped(place)
    place.decides(Silence("*", T0 + 100 * MINUTE))
    await place.wait(loop, 70)
    assert place.told() == [ALL, ("(partition 0)", "firing", "unsilenced")]
    assert [a.silenced is True for a in place.alerts()] == [True, False]
