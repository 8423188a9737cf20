"""Two rolling updates of the settings file, one after the other, over sixteen partitions: whoever restarts when, the newer file holds in the end."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

import pytest
from simulation.runs import WORKERS, Fault, Outcome, Run, report, shortest, simulate
from simulation.scenarios import small_numbers

PARTITIONS = 16
NEWER, NEWEST = 0.31, 0.77
"""Two contents of the file, as the simulation makes them of a number."""
SEEDS = (2,)


@pytest.fixture(autouse=True)
def _small_numbers() -> Iterator[None]:
    with small_numbers():
        yield


def rolling(seed: int) -> Run:
    """One worker gets a newer file, later one gets the newest; the others may get either, and restart with whatever file they have, in order or not.

    One of them never gets the newest, and is the last to start.
    """
    chance = random.Random(f"rolling {seed}")
    first, last = chance.randrange(WORKERS), chance.randrange(WORKERS)
    faults = [_update(2.0, first, NEWER), _update(26.0, last, NEWEST)]
    late = chance.sample([w for w in range(WORKERS) if w != last], WORKERS - 1)
    faults += [_update(chance.uniform(27.0, 50.0), w, NEWER) for w in late if chance.random() < 0.5]
    faults += [_update(chance.uniform(55.0, 70.0), w, NEWEST) for w in late[1:] if chance.random() < 0.7]
    faults.append(Fault(78.0, "stop in order", late[0], 0.5, 0.0))
    for _ in range(8):
        kind = chance.choice(("stop in order", "stop in order", "crash", "pause", "rebalance"))
        faults.append(
            Fault(chance.uniform(30.0, 75.0), kind, chance.randrange(WORKERS), chance.choice((0.1, 2.0, 8.0)), 0.0)
        )
    return Run(seed, tuple(sorted(faults, key=lambda f: f.at)), records=8, partitions=PARTITIONS)


def _update(at: float, worker: int, content: float) -> Fault:
    """A worker stops in order, and starts with another file."""
    return Fault(at, "settings file changed", worker, 0.5, content)


def levels(outcome: Outcome) -> list[Any]:
    """What each partition judges by."""
    return [held.settings and held.settings["threshold"]["level"] for held in outcome.in_force.values()]


def stands_at_the_newest(outcome: Outcome) -> bool:
    return levels(outcome) == [round(1.0 + 2 * NEWEST, 1)] * PARTITIONS


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(SEEDS, id="some"),
        pytest.param(range(40), id="many", marks=[pytest.mark.slow, pytest.mark.nightly]),
    ],
)
def test_all_partitions_stand_at_the_newest_file_whoever_restarts_when(seeds: Iterable[int]) -> None:
    for seed in seeds:
        outcome = simulate(rolling(seed))
        if outcome.problem is not None:
            pytest.fail(report(*shortest(rolling(seed), outcome=outcome)), pytrace=False)
        assert stands_at_the_newest(outcome), (seed, levels(outcome))


def test_a_worker_that_proposes_again_what_was_replaced_brings_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check sees it: each start is a decision of its own."""
    numbers = count()
    monkeypatch.setattr("simulation.worker.content_id", lambda *_: f"start {next(numbers)}")
    assert any(not stands_at_the_newest(simulate(rolling(seed))) for seed in SEEDS)
