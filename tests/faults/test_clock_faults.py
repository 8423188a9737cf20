"""Clocks that lie, series that fall silent, devices that bring hours at once: what a state knows of time is restored, or read back, to the byte."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable

import pytest
from faults.guarantee import Guarantee
from faults.recording import START, Recording
from faults.verdict import said
from faults.world import Outcome, World, body

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.nightly]

VOTERS = Guarantee(
    "48-voters",
    "wrong clocks, and a state that is restored again and again, then read back",
    "event time goes on as if nobody had died: who votes, who is absent and since when are part of the state; a wrong clock silences nobody",
    "four hours of 40 series, six of whose clocks are hours wrong; four fall silent; five workers killed one after the other, Redis emptied before the last",
    broken={"clocks left out where a state is restored": "seen (3 differences: alerts that are missing)"},
)
LATENESS = Guarantee(
    "49-lateness",
    "observations out of order, and a worker that dies while some wait for older ones",
    "what waits is part of the state: the same order, scores and alerts, whoever died",
    "the same, with `lateness` of 5 minutes, and what comes up to 8 minutes out of order; two devices bring an hour at once",
    broken={
        "what waits left out where a state is restored": "seen (291 differences, alerts that are missing or too many among them)"
    },
)
MINUTE, MINUTES = 60_000, 240
WRONG = {"s03": 8 * 60, "s07": 8 * 60, "s11": 20, "s19": -8 * 60, "s23": -20, "s31": 10**6}
"""Minutes by which clocks are."""
SILENT = {"s01": 150, "s13": 150, "s21": 170, "s37": 170}
"""Who says nothing from which minute on."""
AT_ONCE = ("s05", "s29")


def log(*, disorder: bool) -> Recording:
    """A record a minute of each series, in the order in which they come."""
    chance, rows = random.Random(5), list[tuple[float, str, int]]()
    for minute in range(MINUTES):
        for i in range(40):
            name = f"s{i:02d}"
            comes = minute + i / 40
            if minute >= SILENT.get(name, MINUTES):
                continue
            if disorder and name in AT_ONCE:
                comes = (minute // 60 + 1) * 60 + minute % 60 / 1000
            elif disorder and chance.random() < 0.2:
                comes += chance.choice((1.5, 4.0, 8.0))
            rows.append((comes, name, minute + WRONG.get(name, 0)))
    rows.sort()
    values = [_encoded(name, minute, chance) for _, name, minute in rows]
    return Recording([name.encode() for _, name, _ in rows], values, 0)


def _encoded(name: str, minute: int, chance: random.Random) -> bytes:
    value = chance.gauss(10, 1) + (60 if chance.random() < 0.005 else 0)
    return json.dumps({"series": name, "timestamp": START + minute * MINUTE, "value": value}).encode()


@pytest.mark.parametrize(("row", "lateness"), [(VOTERS, "0s"), (LATENESS, "5m")], ids=["voters", "lateness"])
def test_what_a_state_knows_of_time_is_restored_and_read_back_to_the_byte(
    new_world: Callable[..., World], row: Guarantee, lateness: str
) -> None:
    def fresh() -> World:
        world = new_world()
        world.recording = log(disorder=lateness != "0s")
        world.alert_policy = {"absent_after": "10m"}
        world.stream_settings = {"lateness": lateness}
        return world

    calm, world = fresh(), fresh()
    calm.start()
    calm.feed()
    reference = calm.finish()
    told = _no_data(reference)
    assert set(SILENT) <= told
    assert not told & set(WRONG)
    shares = (0.3, 0.5, 0.65, 0.75, 0.9)
    for share in shares:
        worker = world.start()
        world.feed(share)
        world.progress()
        if share == shares[2]:
            world.wait_for(
                world.settled, "a checkpoint between a silence and its telling"
            )  # what a state without clocks would never tell
        if share == shares[-1]:
            world.wait_for(world.settled, "a checkpoint, and its commit")
            world.wait_for(lambda: world.committed() == world.ends(), "the commit of it")
        worker.kill()
    with world.redis() as client:
        client.flushall()
    last = world.start()
    world.feed()
    outcome = world.finish()
    assert len(last.events("state rebuilt")) == world.partitions
    assert outcome.differences(reference) == []
    row.held(
        f"{len(shares)} kills, {len(_clocks(outcome))} partitions' event time as it was, {len(told)} series told to have no data; {said(outcome)}"
    )


def _no_data(outcome: Outcome) -> set[str]:
    """Series that are told to have none."""
    alerts: Iterable[dict[str, object]] = map(body, outcome.alerts.values())
    return {str(a["series"]) for a in alerts if a["kind"] == "no data"}


def _clocks(outcome: Outcome) -> dict[int, int]:
    """Event time of each partition."""
    return {p: json.loads(v)["watermark"] for (p, name), v in outcome.states.items() if name == b"f:scalars"}
