"""The real intake under faults at any await: each observation counts once, each series is at home; and an intake with a hole in it is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import pytest
from aiokafka import TopicPartition
from simulation.intake import FAULTS, Parts, simulate

from pipeline.alerts.records import Message
from pipeline.intake.reading import Begin
from pipeline.intake.run import Intake

SEEDS = 40


def test_whatever_fails_each_observation_counts_once() -> None:
    happened = Counter[str]()
    for seed in range(SEEDS):
        problem, world = simulate(seed)
        happened.update(world.happened)
        if problem is not None:
            pytest.fail("\n".join([*world.network.trace, f"seed {seed}: {problem}"]), pytrace=False)
    # A simulation that never gets into trouble proves nothing.
    assert all(happened[trouble] for trouble in (*FAULTS, "written twice", "ended by an error"))


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(8))
def test_of_very_many_runs_none_fails(part: int) -> None:
    for seed in range(1_000 + 250 * part, 1_250 + 250 * part):
        problem, world = simulate(seed)
        if problem is not None:
            pytest.fail("\n".join([*world.network.trace, f"seed {seed}: {problem}"]), pytrace=False)


def test_a_seed_is_one_run_to_the_last_callback() -> None:
    assert simulate(7)[1].network.trace == simulate(7)[1].network.trace


class Hasty(Intake):
    """Takes for written what is read, also where it waits for others."""

    def _write(self, letters: Sequence[Message]) -> None:
        super()._write(letters)
        if self._outstanding:
            self._outstanding[-1].reached = {tp: source.read for tp, source in self._sources.items()}


class Forgetful(Intake):
    """Does not say of which source an observation is, but of which process."""

    def _on_assigned(self, held: Mapping[TopicPartition, Begin]) -> None:
        super()._on_assigned(held)
        for source in self._sources.values():
            source.name += f"/{id(self._metrics)}"


class OneMapping(Intake):
    """Takes positions for the same whatever they were read by."""

    def _on_assigned(self, held: Mapping[TopicPartition, Begin]) -> None:
        super()._on_assigned(held)
        for source in self._sources.values():
            source.name = source.name.rpartition("/")[0]


def found_by(parts: Parts, only: Collection[str]) -> str:
    """What the first of so many seeds that says no says."""
    return next((p for seed in range(40) if (p := simulate(seed, parts, sorted(only))[0]) is not None), "")


@pytest.mark.parametrize(
    ("parts", "only", "says"),
    [
        (Parts(intake=Hasty), ("crash", "stopped in order"), "lost"),
        (Parts(intake=Forgetful), ("crash", "pause"), "counted twice"),
        (Parts(intake=OneMapping), ("settings changed", "crash"), "lost"),
        (Parts(ids_are_told=False), ("topic created again",), "lost"),
    ],
    ids=["commits too early", "sources without names", "one mapping", "topics without ids"],
)
def test_what_is_planted_is_found(parts: Parts, only: Collection[str], says: str) -> None:
    assert found_by(parts, only).startswith(says)
