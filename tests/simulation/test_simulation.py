"""The real loop under faults at any await equals the undisturbed run; and a loop or store with a hole in it is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from simulation.runs import Parts, Run, report, run_of, shortest, simulate
from simulation.scenarios import small_numbers
from simulation.world import StoreClient

from pipeline.loop import PartitionLoop
from pipeline.stores.base import Claim, Identity

SEEDS = 200


@pytest.fixture(autouse=True)
def _small_numbers() -> Iterator[None]:
    with small_numbers():
        yield


def test_whatever_fails_the_result_is_that_of_an_undisturbed_run() -> None:
    happened = Counter[str]()
    for seed in range(SEEDS):
        outcome = simulate(run_of(seed))
        happened.update(outcome.happened)
        if outcome.problem is not None:
            pytest.fail(report(*shortest(run_of(seed))), pytrace=False)
    # A simulation that never gets into trouble proves nothing.
    for trouble in (
        "checkpoint refused",
        "checkpoint refused again",
        "state written again from memory",
        "state store does not answer, waiting",
        "no checkpoint at revocation",
        "producer gave up",
    ):
        assert happened[trouble] > 0, trouble


def test_a_seed_is_one_run_to_the_last_callback() -> None:
    assert simulate(run_of(7)).trace == simulate(run_of(7)).trace


def found_by(parts: Parts) -> Run | None:
    """The first of the suite's seeds that says no."""
    return next((run_of(seed) for seed in range(SEEDS) if simulate(run_of(seed), parts).problem is not None), None)


class Everybodys(StoreClient):
    """A store that does not look at the nonce: whoever knows the sequence may write."""

    async def save(self, claim: Claim, *arguments: Any, **options: Any) -> Claim:
        def as_owner() -> Claim:
            stored = self._redis.store._hashes.get((claim.stream, claim.partition))
            nonce = claim.nonce if stored is None else stored.owner
            after = self._redis.save(Claim(claim.stream, claim.partition, nonce, claim.sequence), *arguments, **options)
            return Claim(claim.stream, claim.partition, claim.nonce, after.sequence)

        return await self._call(as_owner)


class Unfenced(StoreClient):
    """A store that takes every write: neither nonce nor sequence is looked at."""

    async def save(self, claim: Claim, *arguments: Any, **options: Any) -> Claim:
        def as_anybody() -> Claim:
            stored = self._redis.store._hashes.get((claim.stream, claim.partition))
            nonce, sequence = (claim.nonce, claim.sequence) if stored is None else (stored.owner, stored.sequence)
            after = self._redis.save(Claim(claim.stream, claim.partition, nonce, sequence), *arguments, **options)
            return Claim(claim.stream, claim.partition, claim.nonce, after.sequence)

        return await self._call(as_anybody)


class OffsetApart(StoreClient):
    """Fields and offset in two writes."""

    async def save(
        self, claim: Claim, offset: int, identity: Identity, changed: Mapping[str, bytes], **options: Any
    ) -> Claim:
        def fields_only() -> None:
            stored = self._redis.store._hashes.get((claim.stream, claim.partition))
            if stored is not None and stored.owner == claim.nonce:
                stored.fields |= changed

        await self._call(fields_only)
        return await super().save(claim, offset, identity, changed, **options)


class AlertsAfterwards(PartitionLoop):
    """Messages leave when the checkpoint is stored, not before."""

    def _publish_later(self) -> list[tuple[Any, ...]]:
        return self.__dict__.setdefault("_held_back", [])

    def _send(self, message: Any) -> None:
        self._publish_later().append(message)

    def _written(self, size: int, started: float) -> None:
        super()._written(size, started)
        for message in self._publish_later():
            super()._send(message)
        self._publish_later().clear()


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(Parts(store=Everybodys), id="no nonce"),
        pytest.param(Parts(store=Unfenced), id="no fence at all"),
        pytest.param(Parts(store=OffsetApart), id="offset apart from fields"),
        pytest.param(Parts(loop=AlertsAfterwards), id="alerts after the checkpoint"),
    ],
)
def test_a_hole_is_found_by_one_of_the_seeds(parts: Parts) -> None:
    assert found_by(parts) is not None


def test_a_failing_seed_is_told_in_its_shortest_form() -> None:
    parts = Parts(store=OffsetApart)
    found = found_by(parts)
    assert found is not None
    small, outcome = shortest(found, parts)
    assert outcome.problem is not None
    assert len(small.faults) <= len(found.faults)
    assert simulate(small, parts).trace == outcome.trace
    told = report(small, outcome)
    assert told.startswith(f"seed {found.seed}")
    assert all(str(fault) in told for fault in small.faults)
    assert "VIOLATION" in told
