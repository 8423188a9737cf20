"""What the page says of a stream, from what Kafka and the store tell: each word, and the rates. No I/O."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from pipeline.alerts.selecting.silences import calendar
from pipeline.dashboard.acting import Wish, what, wish
from pipeline.dashboard.heard import SILENT
from pipeline.dashboard.overview import QUIET, STUCK, Overview, StreamLook
from pipeline.errors import BrokerError, StoreError, TidewatchError
from pipeline.kafka.offsets import Bounds
from pipeline.operations.desk import told
from pipeline.partition.deciding.what import Acknowledge, Close, Comment, Decision, Forget, Lift, Silence
from pipeline.partition.stores.presence import Presence, Replaying
from pipeline.partition.stores.redis import Progress
from pipeline.settings import Settings


class Store:
    """As much of one as the overview asks."""

    def __init__(self) -> None:
        self.offsets: dict[int, int] = {}
        self.decided: dict[int, bytes] = {}
        self.words: dict[str, bytes] = {}
        self.replays: dict[str, bytes] = {}
        self.away = ""

    async def told(self, among: str) -> dict[str, bytes]:
        if self.away:
            raise StoreError(self.away)
        return (
            self.replays if among == "replays:web.observations" else self.words if among == "workers:tidewatch" else {}
        )

    async def progress(self, _stream: str, partition: int) -> Progress | None:
        if self.away:
            raise StoreError(self.away)
        return Progress(self.offsets[partition], 1) if partition in self.offsets else None

    async def newest_decision(self, _stream: str) -> int:
        return max(self.decided, default=0)

    async def decisions(self, _stream: str) -> dict[int, bytes]:
        return self.decided


class World(Overview):
    """Kafka as the test says it is."""

    def __init__(self) -> None:
        self.now, self.store, self.ends, self.members, self.error = 0.0, Store(), {0: 0, 1: 0}, ("w@h",), ""
        self.begins = 0
        settings = Settings.model_validate({"streams": [{"name": "web", "model": "m"}]})
        super().__init__(settings, self.store, clock=lambda: self.now)  # type: ignore[arg-type]

    def _ask_kafka(self) -> Any:
        from pipeline.dashboard.overview import _Kafka

        if self.error:
            return _Kafka({}, (), str(BrokerError(self.error)))
        logs = None if self.ends is None else {p: Bounds(self.begins, end) for p, end in self.ends.items()}
        return _Kafka({"web": logs}, self.members)

    async def seen(self, at: float) -> StreamLook:
        self.now = at
        [stream] = (await self.look()).streams
        return stream


@pytest.fixture
def world(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    return World()


async def test_each_word_is_said_for_its_reason(world: World) -> None:
    look = await world.seen(0)  # two empty partitions need no checkpoint
    assert (look.verdict, look.lag, look.decisions) == ("quiet", 0, 0)
    assert look.why == "nothing has come yet: topic web.observations is empty"
    world.ends = {0: 100, 1: 0}
    look = await world.seen(5)
    assert (look.verdict, look.lag) == ("starting", 100)  # all of it waits
    world.store.offsets = {0: 60}
    look = await world.seen(10)
    assert (look.verdict, look.lag) == ("live", 40)
    assert (await world.seen(10 + STUCK)).verdict == "live"
    assert (await world.seen(11 + STUCK)).verdict == "stuck"
    world.store.offsets = {0: 100}
    assert (await world.seen(12 + STUCK)).verdict == "live"
    assert (await world.seen(6 + QUIET)).verdict == "quiet"
    world.ends = {0: 20_000, 1: 0}
    look = await world.seen(7 + QUIET)
    assert (look.verdict, look.why) == ("behind", "19,900 records wait to be scored")
    world.members = ()
    assert (await world.seen(8 + QUIET)).verdict == "no worker"
    world.members, world.store.away = ("w@h",), "Redis is away"
    assert ((await world.look()).store, (await world.seen(9 + QUIET)).verdict) == ("Redis is away", "store away")
    world.error = "no broker answers"
    assert ((await world.look()).kafka, (await world.seen(10 + QUIET)).verdict) == ("no broker answers", "Kafka away")


async def test_what_waited_while_nobody_worked_makes_nobody_stuck_who_comes(world: World) -> None:
    world.ends, world.begins, world.members = {0: 100}, 40, ()
    look = await world.seen(0)
    assert (look.verdict, look.lag) == ("no worker", 60)
    world.store.offsets = {0: 50}
    assert (await world.seen(10 * STUCK)).lag == 50
    world.members = ("w@h",)
    assert (await world.seen(11 * STUCK)).verdict == "live"
    assert (await world.seen(12 * STUCK + 1)).verdict == "stuck"


async def test_what_was_not_asked_for_is_not_known(world: World) -> None:
    world.ends, world.store.away = {0: 100}, "Redis is away"
    look = await world.seen(0)
    assert (look.lag, look.decisions, look.verdict) == (None, None, "store away")


async def test_a_topic_that_is_not_there_is_said(world: World) -> None:
    world.ends = None  # type: ignore[assignment]
    assert (await world.seen(0)).verdict == "no topic"


async def test_rates_are_of_the_last_looks(world: World) -> None:
    world.ends, world.store.offsets = {0: 1000, 1: 500}, {0: 1000, 1: 500}
    assert (await world.seen(0)).rate is None
    world.ends, world.store.offsets = {0: 1400, 1: 600}, {0: 1200, 1: 600}
    look = await world.seen(10)
    assert (look.rate, look.coming) == (30.0, 50.0)


async def test_silences_are_those_that_hold(world: World) -> None:
    def decided(serial: int, of: Any) -> tuple[int, bytes]:
        return serial, msgspec.json.encode(Decision(str(serial), of, "ann", "2026-01-01T00:00:00Z"))

    far = 4_000_000_000_000
    weekly = calendar(["sat 22:00-06:00"], "Europe/Berlin")
    made = [
        Silence("a", far), Silence("b", far), Lift(2), Silence("old", 1), Silence("*", 0, calendar=weekly), Silence("old", 1, calendar=weekly),
    ]  # fmt: skip
    world.store.decided = dict(decided(i + 1, of) for i, of in enumerate(made))
    look = await world.seen(0)
    assert [(s["series"], s["when"]) for s in look.silences] == [("a", ""), ("*", "sat 22:00-06:00 Europe/Berlin")]
    assert look.decisions == 6


async def test_each_worker_is_as_it_said_last_and_silent_where_it_says_no_more(world: World) -> None:
    wall = [time.time()]
    two = [Presence("1", worker=name, clock=lambda: wall[0]) for name in ("a:1", "b:2")]
    for partition, presence in enumerate(two):
        presence.series("web", partition, warming=partition, live=10)
        presence.checkpoint("web", partition, 7)
    two[1].series("web", 0, warming=5, live=5)  # it had this one before, and has said so earlier
    world.store.words = {"b:2": two[1].word(["store away"], ["x"])}
    wall[0] += 1
    two[1].forget("web", 0)
    world.store.words |= {"a:1": two[0].word([], []), "c:3": b"{}"}
    world.now = 100.0
    look = await world.look()
    assert [(w.worker, w.verdict, w.held) for w in look.words] == [
        ("a:1", "well", {"web": [0]}),
        ("b:2", "degraded", {"web": [0, 1]}),
    ]
    assert (look.words[1].problems, look.words[1].notes, look.words[0].stored_at) == (
        ["store away"],
        ["x"],
        wall[0] - 1,
    )
    assert (look.streams[0].live, look.streams[0].warming) == (20, 1)
    world.store.words["b:2"] = two[1].word([], [])
    world.now += SILENT + 1
    look = await world.look()
    assert [(w.verdict, w.held) for w in look.words] == [("silent", {"web": [0]}), ("well", {"web": [1]})]
    assert look.words[0].age > SILENT


async def test_a_replay_that_runs_is_seen_with_how_far_it_is(world: World) -> None:
    replaying = Replaying("taxi", 10_320, "600x")
    replaying.sent, replaying.when = 5_160, 1_412_000_000_000
    world.store.replays = {replaying.name: replaying.word()}
    [seen] = (await world.seen(0)).replays
    assert (seen.source, seen.sent, seen.total, seen.when) == ("taxi", 5_160, 10_320, 1_412_000_000_000)
    assert (await world.seen(SILENT + 1)).replays == []  # it was killed, and says no more


@pytest.mark.parametrize(
    ("asked", "decided"),
    [
        (Wish("s", "acknowledge", "h[1]", why="me"), Acknowledge("h[[]1]", "me")),
        (Wish("s", "acknowledge", "h*", exact=False), Acknowledge("h*")),
        (Wish("s", "close", "h*"), Close("h[*]")),
        (Wish("s", "forget", "a"), Forget("a")),
        (Wish("s", "lift", serial=7), Lift(7)),
        (Wish("s", "comment", "h*", text=" two \n lines"), Comment("h*", "two lines")),
    ],
)
def test_a_name_is_no_pattern_unless_it_is_meant_as_one(asked: Wish, decided: Any) -> None:
    assert what(asked) == decided


def test_a_silence_ends_so_many_minutes_from_now() -> None:
    import time

    silence = what(Wish("s", "silence", "a?", exact=False, minutes=30))
    assert isinstance(silence, Silence)
    assert (silence.series, round((silence.until / 1000 - time.time()) / 60)) == ("a?", 30)


def test_a_silence_is_asked_for_by_label_and_by_calendar_too() -> None:
    asked = wish(
        b'{"stream":"s","do":"silence","where":["env=te*"],"weekly":["sat,sun 22:00-06:00"],"time_zone":"Europe/Berlin","why":"backups"}'
    )
    silence = what(asked)
    assert isinstance(silence, Silence)
    assert told(silence) == "silence * where env=te* sat,sun 22:00-06:00 Europe/Berlin: backups"
    with pytest.raises(TidewatchError, match="no window of a week"):
        what(Wish("s", "silence", "a", weekly=["whenever"]))
    with pytest.raises(TidewatchError, match="say of which series"):
        wish(b'{"stream":"s","do":"silence"}')
