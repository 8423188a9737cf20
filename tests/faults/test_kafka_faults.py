"""Brokers that are killed, rolled, stopped, moved from: producer and workers wait; nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from confluent_kafka import KafkaException
from faults.guarantee import Guarantee
from faults.recording import PARTITIONS
from faults.verdict import said
from faults.world import Outcome, World, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

AWAY = 30.0
"""Seconds."""
_PROMISE = "same end state; the producer (acks=all, idempotent) loses nothing"

LEADER = Guarantee(
    "20-leader",
    "Kafka: leader of three killed",
    _PROMISE,
    "SIGKILL to the leader of a partition while records come; back later",
)
ROLLED = Guarantee(
    "21-rolled",
    "Kafka: brokers rolled one by one",
    _PROMISE,
    "each broker stopped in order and started again while records come",
)
ALL = Guarantee(
    "22-all",
    "Kafka: all brokers stopped",
    _PROMISE,
    f"SIGKILL to all three, {AWAY:.0f} s of nothing, all started again",
)
MOVED = Guarantee(
    "23-moved",
    "Kafka: a full partition move",
    _PROMISE,
    "all partitions of the input on one broker, moved to another and to the third",
)


def test_the_loss_of_a_leader_changes_nothing(cluster: Any, world: World, reference: Outcome) -> None:
    world.start()
    world.feed(0.2)
    world.progress()
    leader = world.admin.list_topics(world.topic, timeout=30).topics[world.topic].partitions[0].leader
    cluster.kill(leader)
    try:
        for share in (0.4, 0.6, 0.8):
            world.feed(share, wait=False)
            time.sleep(1.0)
        world.flush()
        world.progress()
    finally:
        cluster.start_node(leader)
        in_sync(world)
    world.feed()
    LEADER.held(_finished(world, reference))


@pytest.mark.nightly
def test_brokers_rolled_one_by_one_change_nothing(cluster: Any, world: World, reference: Outcome) -> None:
    world.start()
    world.feed(0.1)
    world.progress()
    for number in (1, 2, 3):
        cluster.stop_node(number, timeout=60)
        try:
            world.feed(0.1 + 0.25 * number, wait=False)
            time.sleep(1.0)
        finally:
            cluster.start_node(number)
            in_sync(world)
    world.feed()
    ROLLED.held(_finished(world, reference))


def test_a_cluster_that_is_away_is_waited_for(cluster: Any, world: World, reference: Outcome) -> None:
    world.start()
    world.feed(0.3)
    world.progress()
    for number in (1, 2, 3):
        cluster.kill(number)
    try:
        world.feed(0.6, wait=False)
        time.sleep(AWAY)
    finally:
        for number in (1, 2, 3):
            cluster.start_node(number, wait=False)
        cluster.wait()
        in_sync(world)
    world.feed(wait=False)
    world.flush()
    ALL.held(_finished(world, reference))


def test_a_partition_that_moves_changes_nothing(new_world: Callable[..., World], reference: Outcome) -> None:
    world = new_world(replicas=(1,))
    world.start()
    world.feed(0.2)
    world.progress()
    for share, broker in ((0.5, 2), (0.8, 3)):
        asyncio.run(_move(world, broker))
        world.feed(share, wait=False)
        world.wait_for(lambda b=broker: _replicas(world) == {(b,)}, "the move")  # type: ignore[misc]
        world.progress()
    world.feed()
    MOVED.held(_finished(world, reference))


def in_sync(world: World) -> None:
    """Wait until every replica of every partition is in sync again."""

    def healthy() -> bool:
        try:
            topics = world.admin.list_topics(timeout=5).topics.values()
        except KafkaException:
            return False
        return all(p.leader > 0 and set(p.isrs) == set(p.replicas) for t in topics for p in t.partitions.values())

    wait_for(healthy, "all replicas in sync")


def _finished(world: World, reference: Outcome) -> str:
    """Wait for the end, starting a worker again where one gave up, as any service manager does; what to say of it."""
    restarts = 0

    def settled() -> bool:
        nonlocal restarts
        if not world.workers[-1].alive:
            restarts += 1
            world.start()
        return world.settled()

    world.wait_for(settled, "all records in the store")
    outcome = world.finish()
    assert world.delivered == len(world.recording)
    assert sum(world.ends().values()) == len(world.recording)
    assert outcome.differences(reference) == []
    gave_up = f", worker started again {restarts} times" if restarts else ""
    return f"{world.delivered:,} records sent, each in the log once{gave_up}; {said(outcome)}"


async def _move(world: World, broker: int) -> None:
    """Put the input topic's partitions on another broker."""
    admin = AIOKafkaAdminClient(bootstrap_servers=world.brokers)
    await admin.start()
    try:
        partitions = [(p, [broker], {}) for p in range(PARTITIONS)]
        request = AlterPartitionReassignmentsRequest(30_000, [(world.topic, partitions, {})], {})  # type: ignore[list-item, arg-type]
        answer = await admin._send_to_controller(request)
        assert answer.error_code == 0, answer
    finally:
        await admin.close()


def _replicas(world: World) -> set[tuple[int, ...]]:
    partitions = world.admin.list_topics(world.topic, timeout=30).topics[world.topic].partitions.values()
    return {tuple(p.replicas) for p in partitions}
