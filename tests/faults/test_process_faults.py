"""What goes wrong inside the process: a detector that misbehaves, a clock that jumps."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request

import pytest
from faults.guarantee import Guarantee
from faults.recording import PARTITIONS
from faults.verdict import said
from faults.world import Message, Outcome, World

from pipeline.embedded.process import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

DETECTOR = Guarantee(
    "50-detector",
    "a detector that raises, or returns NaN",
    "halved until the offending observations are found: these to dead letters, the rest scored",
    "a member of the model that does so where a value jumps by 100 scales",
)
MEMORY = Guarantee(
    "51-memory",
    "a detector that needs more memory than there is",
    "fewer windows at a time; nothing lost",
    "a member of the model that has memory for 16 windows at a time",
)
HANGS = Guarantee(
    "52-hangs",
    "a detector that hangs",
    "the process ends with a clear line, the restart goes on",
    "a member of the model that never comes back from one batch (patience set to 3 s, 60 s otherwise)",
)
CLOCK = Guarantee(
    "53-clock",
    "the wall clock jumps by a day, both ways",
    "no effect: time is the record's, waiting is the monotonic clock's",
    "a worker whose wall clock is now right, now a day ahead, now a day behind, by turns of a second",
)


HEALTH = Guarantee(
    "54-health",
    "a detector that hangs, or cannot score something: health",
    "`/healthz` says degraded, and what",
    "asked of workers whose detector raises, or returns NaN, on some inputs, and of one whose detector hangs (health's patience set to 1 s, 30 s "
    "otherwise)",
)


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        pytest.param("detector_raises", "raised ArithmeticError", marks=pytest.mark.nightly),
        ("detector_is_not_a_number", "not a number"),
    ],
)
def test_what_no_detector_can_score_becomes_a_dead_letter(
    world: World, reference: Outcome, plant: str, reason: str
) -> None:
    port = free_port()
    world.start(plant=plant, metrics_port=port)
    world.feed()
    told = _degraded(world, port, "observations that a detector could not score")
    outcome = world.finish()
    new = [outcome.letters[key] for key in outcome.letters.keys() - reference.letters.keys()]
    assert new
    assert reference.letters.items() <= outcome.letters.items()
    assert all(reason in dict(headers)["tidewatch.error.detail"].decode() for _, _, headers in new)
    series = {(key or b"").decode() for key, _, _ in new}
    assert _without(outcome.scores, series) == _without(reference.scores, series)
    assert _without(outcome.alerts, series) == _without(reference.alerts, series)
    assert outcome.offsets == reference.offsets
    DETECTOR.held(
        f"{len(new)} observations of {len(series)} series to dead letters with "
        f"the reason, {len(_without(outcome.scores, series)):,} scores of all other series unchanged",
        plant.removeprefix("detector_").replace("_", " "),
    )
    HEALTH.held(f"503, “{told}”", plant.removeprefix("detector_").replace("_", " "))


@pytest.mark.nightly
def test_health_says_that_a_detector_hangs(world: World) -> None:
    """Seen to fail while `Partitions.standing` left out partitions whose first batch was still in flight.

    That health says so before the process ends: tests/pipeline/operations/test_metrics.py.
    """
    port = free_port()
    worker = world.start(plant="detector_hangs_for_good", metrics_port=port)
    world.wait_for(lambda: len(worker.events("partition opened")) == PARTITIONS, "all partitions")
    assert _health(port) == (200, [])
    world.feed()
    told = _degraded(world, port, "stands at offset")
    worker.kill()  # it would not stop in order
    HEALTH.held(f"200 before, then 503, “{told}”", "hangs")


@pytest.mark.nightly
def test_a_detector_without_memory_is_given_less_at_a_time(world: World, reference: Outcome) -> None:
    worker = world.start(plant="detector_wants_memory")
    world.feed()
    outcome = world.finish()
    assert outcome.differences(reference) == []
    halved = len(worker.events("detector raised, halving the batch"))
    assert halved
    MEMORY.held(f"batches halved {halved} times, no dead letter more; {said(outcome)}")


def test_a_detector_that_hangs_ends_the_process_and_the_next_goes_on(world: World, reference: Outcome) -> None:
    worker = world.start(plant="detector_hangs")
    world.feed()
    world.wait_for(lambda: not worker.alive, "the end of the worker that hangs", timeout=180)
    (told,) = [line for line in worker.text().splitlines() if line.startswith("error:")]
    assert "took longer than 15 s" in told
    assert worker.process.returncode == 2
    world.start(plant="detector_hangs")
    outcome = world.finish()
    assert outcome.differences(reference) == []
    HANGS.held(f"exit code 2, “{told}”; {said(outcome)}")


def test_a_clock_that_jumps_changes_nothing(world: World, reference: Outcome) -> None:
    worker = world.start(plant="clock_jumps")
    for share in (0.2, 0.4, 0.6, 0.8, 1.0):
        world.feed(share)
        world.progress()
    outcome = world.finish()
    assert outcome.differences(reference) == []
    assert not outcome.repeated
    CLOCK.held(f"{said(outcome)}; {len(worker.events('partition opened'))} partitions opened once")


def _degraded(world: World, port: int, problem: str) -> str:
    """Wait until the worker says that it is not well, with this problem; its line."""
    found: list[str] = []

    def degraded() -> bool:
        status, problems = _health(port)
        found[:] = [line for line in problems if problem in line]
        return status == 503 and bool(found)

    world.wait_for(degraded, f"{problem!r} in /healthz")
    return re.sub(r"\d+ s\b", "N s", found[0])


def _health(port: int) -> tuple[int, list[str]]:
    """What a worker says of itself."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as answer:
            return answer.status, json.load(answer).get("problems", [])
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["problems"]
    except OSError:  # it is not up yet
        return 0, []


def _without(messages: dict, series: set[str]) -> dict:  # type: ignore[type-arg]
    """Those of other series."""
    return {key: m for key, m in messages.items() if _series(m) not in series}


def _series(message: Message) -> str:
    return str(json.loads(message[1] or b"")["series"])
