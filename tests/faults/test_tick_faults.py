"""All producers stop: who carries time on may die, sleep or have lost its state; whoever reads the log and the topic of decisions says the same."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer
from faults.guarantee import Guarantee
from faults.recording import PARTITIONS
from faults.world import Outcome, World, body

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.nightly]

TICKS = Guarantee(
    "45-ticks",
    "all producers stop, and the owner that carries time on is killed or sleeps; then Redis is emptied",
    "each partition is told to have no data, once; the same bytes for whoever comes next, and for whoever reads all of it back",
    "an hour of 40 live series, then nothing for 20 minutes of the wall clock (a worker waits 1 s, not a minute, until it believes that a log has ended); the owner killed "
    "between its tick and the checkpoint; another paused past its session, continued when its successor has taken ticks",
    broken={
        "ticks left out where a partition's past is read (`Decisions.claim`)": "seen (the states differ after Redis was emptied: no tick is in force)"
    },
)
MINUTE = 60_000


def feed(world: World, minutes: int, until: int) -> None:
    """A record a minute of each series, read as they were written (Kafka's time stamps say so)."""
    producer = Producer({"bootstrap.servers": world.brokers, "log_level": 0, "partitioner": "murmur2_random"})
    for minute in range(minutes):
        at = until - (minutes - minute) * MINUTE
        for i in range(40):
            value = json.dumps({"series": f"live-{i}", "timestamp": at + i, "value": 10.0 + (7 * minute + i) % 5})
            producer.produce(world.topic, value, f"live-{i}", timestamp=at + i + 200)
    assert producer.flush(60) == 0
    world.fed = minutes * 40


def no_data(world: World) -> dict[str, list[str]]:
    """What is told of each partition, repetitions dropped."""
    told: dict[tuple[str, int], dict[str, Any]] = {}
    for message in world.read(f"{world.name}.alerts"):
        alert = body(message)
        told.setdefault((alert["id"], alert["sequence"]), alert)
    found: dict[str, list[str]] = {}
    for alert in told.values():
        if alert["kind"] == "no data":
            found.setdefault(alert["series"], []).append(alert["change"])
    return found


EACH = {f"(partition {p})": ["anomaly"] for p in range(PARTITIONS)}


def test_time_goes_on_where_all_producers_stop_whoever_dies(new_world: Callable[..., World]) -> None:
    world = new_world()
    world.alert_policy = {"absent_after": "5m"}
    now = int(time.time() * 1000)
    feed(world, 60, now - 20 * MINUTE)
    dies = world.start(plant="dies_behind_a_tick")
    world.wait_for(lambda: dies.events("in the hole"), "a tick that is taken, and not in force")
    dies.kill()
    assert no_data(world) == {}

    sleeper = world.start(plant="impatient")
    world.wait_for(world.settled, "a checkpoint")
    sleeper.pause()
    owner = world.start(plant="impatient")
    world.wait_for(lambda: no_data(world) == EACH, "what is to be told")
    sleeper.resume()
    world.wait_for(
        lambda: any("partition" in line["event"] for line in sleeper.events()[-5:]), "the sleeper's awakening"
    )
    time.sleep(3.0)
    first = _settled(world, [sleeper, owner])
    assert no_data(world) == EACH
    assert not first.torn

    with world.redis() as client:
        client.flushall()
    last = world.start()
    world.wait_for(world.settled, "the state read back")
    second = _settled(world, [last])
    assert second.states == first.states
    assert second.alerts == first.alerts
    assert not second.torn
    TICKS.held(
        f"{len(EACH)} partitions told once each; after Redis was emptied the same states and {len(second.alerts)} alert records, byte for byte "
        f"({second.repeated['alerts']} came again, unchanged)"
    )


def _settled(world: World, workers: list[Any]) -> Outcome:
    for worker in workers:
        assert worker.stop() == 0, worker.text()[-3000:]
    return world.collect()
