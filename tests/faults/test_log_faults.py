"""The log itself changes: retention passes the checkpoint, the topic is another one of the same name."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from faults.guarantee import Guarantee
from faults.recording import PARTITIONS, WINDOW
from faults.topics import create_again, moved_as_promised, until_firing
from faults.world import ROOT, STREAM, Outcome, World, body
from msgspec import structs

from pipeline.kafka.transport.thread import FETCH_WAIT
from pipeline.partition.deciding.decisions import unpacked

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

EXPIRED = Guarantee(
    "40-expired",
    "expired offsets: retention passed the checkpoint",
    "a gap of the stated size, said once; windows start anew; no crash",
    "records deleted up to beyond the checkpoint: while no worker ran, and before the eyes of a worker that was paused",
)
RECREATED = Guarantee(
    "41-recreated",
    "topic deleted and created again",
    "the state is not applied: one clear error with the mend",
    "worker stopped, topic deleted, created and filled again, worker started; then `tidewatch state reset`",
)


GROWN = Guarantee(
    "42-grown",
    "partitions added",
    "a series that moves starts in probation; its open alert on the old partition resolves with the reason `moved`; others as before",
    "4 partitions become 6 while alerts are firing, and the worker is started again",
)


@pytest.mark.parametrize("worker_is", [pytest.param("dead", marks=pytest.mark.nightly), "paused"])
def test_expired_records_are_a_gap_of_stated_size(
    new_world: Callable[..., World], reference: Outcome, worker_is: str
) -> None:
    world = new_world(session_timeout="30s")
    worker = world.start()
    world.feed(0.75)
    world.wait_for(world.settled, "a checkpoint")
    before = world.checkpointed()
    if worker_is == "dead":
        assert worker.stop() == 0
    else:
        worker.pause()
        time.sleep(
            20 * FETCH_WAIT
        )  # what it asked for last is answered, with nothing: else the broker sends it what comes now
    world.feed(0.85)
    gone = world.ends()
    world.expire(gone)
    world.feed()
    if worker_is == "dead":
        worker = world.start()
    else:
        worker.resume()
    outcome = world.finish()
    missed = {line["partition"]: line["missed"] for line in worker.events("records expired before they were read")}
    assert missed == {p: gone[p] - before[p] for p in range(PARTITIONS)}
    assert len(worker.events("records expired before they were read")) == PARTITIONS
    lost = [
        key for key in reference.scores.keys() - outcome.scores.keys() if not before[key[0]] <= key[1] < gone[key[0]]
    ]
    anew = _first_after(outcome, reference, gone)
    assert anew * (WINDOW - 3) < len(lost) <= anew * (WINDOW - 1)  # what came twice has no score in either run
    assert not outcome.torn
    assert outcome.observations + len(outcome.letters) == len(world.recording) - sum(missed.values())
    EXPIRED.held(
        f"{sum(missed.values()):,} records missed, as its {PARTITIONS} events say (one for each partition); "
        f"{anew} series began new windows after it, {len(lost)} observations of theirs without a score, as expected: a window has {WINDOW}; exit code 0",
        f"worker {worker_is}",
    )


def _without_serial(outcome: Outcome) -> Outcome:
    """What is left, but for the serial of what holds: a stream's list of decisions goes on where its topic is another one."""
    states = {
        (partition, name): structs.replace(unpacked(field), serial=0).packed() if name == b"f:in_force" else field
        for (partition, name), field in outcome.states.items()
    }
    return replace(outcome, states=states)


@pytest.mark.nightly
def test_a_topic_of_the_same_name_is_not_the_same_topic(world: World, reference: Outcome) -> None:
    worker = world.start()
    world.feed(0.5)
    world.wait_for(world.settled, "a checkpoint")
    assert worker.stop() == 0
    world.admin.delete_topics([world.topic], operation_timeout=30)[world.topic].result(30)
    world.wait_for(lambda: create_again(world), "the new topic")
    world.fed = 0
    world.feed()
    refusing = world.start()
    world.wait_for(lambda: not refusing.alive, "the end of the worker")
    assert refusing.process.returncode == 2
    (told,) = [line for line in refusing.text().splitlines() if line.startswith("error:")]
    assert f"tidewatch state reset {STREAM}" in told
    assert "topic (deleted and created again?)" in told
    reset = ["state", "reset", STREAM, "--yes", "--config", str(world.folder / "tidewatch-0.toml")]
    subprocess.run([sys.executable, "-m", "pipeline", *reset], check=True, capture_output=True, cwd=ROOT)
    world.start()
    outcome = world.finish()
    assert _without_serial(outcome).differences(_without_serial(reference)) == []
    RECREATED.held(f"exit code 2, “{told.split('another ')[-1]}”; after the reset the same end state as a first run")


@pytest.mark.nightly
def test_series_that_move_to_added_partitions_end_their_alerts(world: World, reference: Outcome) -> None:
    worker = world.start()
    firing, _ = until_firing(world, 4)
    assert worker.stop() == 0
    world.grow(6)
    world.start()
    world.wait_for(lambda: len(world.workers[-1].events("partition opened")) == 6, "all partitions")
    world.feed()
    outcome = world.finish()
    GROWN.held(moved_as_promised(outcome, reference, firing))


def _first_after(outcome: Outcome, reference: Outcome, gone: dict[int, int]) -> int:
    """Series whose first score after the hole comes later than in the undisturbed run: their windows began anew."""

    def first(of: Outcome) -> dict[str, int]:
        found: dict[str, int] = {}
        for (partition, offset, *_), message in sorted(of.scores.items()):
            if offset >= gone[partition]:
                found.setdefault(body(message)["series"], offset)
        return found

    here, there = first(outcome), first(reference)
    return sum(here.get(series, 1 << 60) > offset for series, offset in there.items())
