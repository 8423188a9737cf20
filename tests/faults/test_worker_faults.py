"""Workers that are killed, paused, multiplied: what they leave is what an undisturbed one leaves, byte for byte."""

from __future__ import annotations

import time

import pytest
from faults.world import Outcome, World

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_stream_that_nothing_happens_to_gives_the_same_twice(world: World, reference: Outcome) -> None:
    """Two workers and a log that comes bit by bit; what makes all that follows comparable."""
    world.start()
    world.start()
    for share in (0.2, 0.4, 0.6, 0.8, 1.0):
        world.feed(share)
        time.sleep(0.3)
    assert world.finish().differences(reference) == []
