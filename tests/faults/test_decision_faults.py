"""People decide while workers sleep, die and lose their store: whoever reads log and topic of decisions from the start says the same, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from faults.guarantee import Guarantee
from faults.planted import HOLE
from faults.recording import PARTITIONS
from faults.world import Outcome, Worker, World

from pipeline.partition.deciding.decisions import Mark, Taken

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.nightly]

ZOMBIE = Guarantee(
    "46-decision-zombie",
    "a decision taken by a zombie: a worker that falls asleep just before it writes that it takes it",
    "its line counts for nothing, and it sees so itself; the owner has taken the decision, at one offset, and takes the next one",
    "series forgotten (`tidewatch forget`) at six tenths of the log; the worker asleep in all partitions until its successor has taken that and gone on; then a silence. At last all read "
    "anew, by another group, into an empty Redis",
    broken={
        "a zombie's line counts as any other (`valid`: no look at the owner, the last line of a serial)": "seen (2,013 differences when all is read anew, scores that came again with other contents among them)"
    },
)
BETWEEN = Guarantee(
    "47-decision-between",
    "between the line in the topic of decisions and the checkpoint: the owner killed, Redis emptied or gone back in time",
    "the decision is taken, at the offset of the line; the same bytes for whoever comes next, and for whoever reads all anew",
    "series forgotten at six tenths of the log; the worker asleep in all partitions behind the line; killed, Redis emptied, or restarted from a snapshot of three tenths of the log; then "
    "started again, or continued. At last all read anew, by another group, into an empty Redis",
    broken={
        "decisions left out where a partition's past is read (`Decisions.claim`; killed, Redis emptied)": "seen (660 differences when all is read anew, scores that came again with other contents among them)"
    },
)


def test_a_zombie_takes_no_decision(new_world: Callable[..., World]) -> None:
    world = new_world()
    ends = _wake_a_zombie(world)
    world.decide("silence", "nab-1*", "--until", "2035-01-01T00:00Z")
    world.wait_for(lambda: len(_offsets(world, 4)) == PARTITIONS, "the next decision")
    world.feed()
    first = world.finish()
    assert _offsets(world, 3) == ends
    ZOMBIE.held(f"{len(_refused(world))} lines of a zombie; {_read_anew(world, first)}")


def _wake_a_zombie(world: World) -> dict[int, int]:
    """A worker sleeps where it would take a decision, another one takes it, the sleeper wakes up; where it was taken."""
    zombie = world.start(plant="sleeps_before_it_takes")
    _fed_and_decided(world, zombie, "nab-[0-2]*")
    assert _offsets(world, 3) == {}
    world.feed(0.7)  # so its successor does not take it where the sleeper would
    ends = world.ends()
    world.start()
    world.wait_for(lambda: _offsets(world, 3) == ends, "what its successor takes, behind all that may be said")
    world.feed(0.8)
    world.wait_for(world.settled, "its successor going on")
    zombie.resume()
    world.wait_for(lambda: len(_refused(world)) == PARTITIONS, "what the zombie takes")
    assert all(line.offset < ends[line.partition] for line in _refused(world))
    return ends


@pytest.mark.parametrize("between", ["killed", "killed, Redis emptied", "killed, Redis gone back", "Redis emptied"])
def test_a_decision_is_taken_by_the_line_whatever_becomes_of_owner_and_store(
    new_world: Callable[..., World], between: str
) -> None:
    world = new_world()
    owner = world.start(plant="sleeps_behind_a_decision")
    world.feed(0.3)
    world.wait_for(world.settled, "a checkpoint")
    with world.redis() as client:
        client.save()
    _fed_and_decided(world, owner, "nab-0*")
    ends = world.ends()
    assert _offsets(world, 3) == ends
    if "killed" in between:
        owner.kill()
    if "Redis" in between:
        world.crash_redis()
        if "emptied" in between:
            (world.store.log.parent / "dump.rdb").unlink()
        world.restart_redis()
    if owner.alive:
        owner.resume()
    else:
        world.start()
    world.feed()
    first = world.finish()
    assert _offsets(world, 3) == ends
    BETWEEN.held(_read_anew(world, first), between)


def _fed_and_decided(world: World, worker: Worker, forgotten: str) -> None:
    """Six tenths of the log are in the store, and somebody decides; the worker is asleep."""
    world.feed(0.6)
    world.wait_for(world.settled, "a checkpoint")
    world.decide("forget", forgotten)
    world.wait_for(lambda: len(worker.events(HOLE)) == PARTITIONS, "the moment of each partition")
    world.wait_for(lambda: _asleep(worker), "its sleep")


def _asleep(worker: Worker) -> bool:
    return Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _offsets(world: World, serial: int) -> dict[int, int]:
    """Where each partition took a decision."""
    return {p: offset for p, of in world.taken().items() for taken, offset in of if taken == serial}


def _refused(world: World) -> list[Taken]:
    """Lines of those whose mark is not the last one before."""
    found = []
    for partition in range(PARTITIONS):
        owner = ""
        for entry in world.entries(partition):
            if isinstance(entry, Mark):
                owner = entry.owner
            elif isinstance(entry, Taken) and entry.owner != owner:
                found.append(entry)
    return found


def _read_anew(world: World, first: Outcome) -> str:
    """A worker that knows nothing but the log and the topic of decisions publishes all again, the same, and comes to the same state."""
    assert not first.torn
    assert all(len([t for t in of if t[0] == 3]) == 1 for of in world.taken().values())
    with world.redis() as client:
        client.flushall()
    before = world.taken()
    world.start(group=f"{world.name}-anew")
    second = world.finish()
    assert second.differences(first) == []
    assert second.repeated["alerts"] >= first.repeated["alerts"] + len(first.alerts)
    assert world.taken() == before
    return f"the same states and {len(first.alerts)} alert records"
