"""Somebody changes the topic under a worker that runs: deletes it, or adds partitions."""

from __future__ import annotations

import subprocess
import sys

import pytest
import tomli_w
from faults.guarantee import Guarantee
from faults.topics import create_again, moved_as_promised, until_firing
from faults.world import ROOT, STREAM, Outcome, World

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

DELETED = Guarantee(
    "43-deleted",
    "topic deleted under a live worker",
    "the worker ends in order, with one clear error and the mend; its state is not applied to what comes after (“topic deleted and created again”)",
    "topic deleted under a worker that runs, and left so, or created again at once",
)
GROWN = Guarantee(
    "44-grown-live",
    "partitions added under a live worker",
    "`doctor` warns before; the worker goes on; a series that moves starts in probation, its open alert on the old partition resolves with "
    "the reason `moved`; others as before",
    "4 partitions become 6 while alerts are firing and records come (the worker asks for news every 2 s, not once a minute)",
)


@pytest.mark.parametrize("then", [pytest.param("left so", marks=pytest.mark.nightly), "created again"])
def test_a_topic_deleted_under_a_worker_is_told_with_the_mend(world: World, then: str) -> None:
    """Seen to fail without `pipeline.kafka.topic_watch`: the worker lived on without a word and without a partition."""
    worker = world.start()
    world.feed(0.2)
    world.wait_for(world.settled, "a checkpoint")
    world.admin.delete_topics([world.topic], operation_timeout=30)[world.topic].result(30)
    if then == "created again":
        world.wait_for(lambda: create_again(world), "the new topic")
    world.wait_for(lambda: not worker.alive, "the end of the worker")
    assert worker.process.returncode == 2, world.logs()
    (told,) = [line for line in worker.text().splitlines() if line.startswith("error:")]
    assert ("is no more (deleted?)" if then == "left so" else "deleted and created again") in told
    assert f"`tidewatch state reset {STREAM}`" in told
    DELETED.held(f"exit code 2, “{told.removeprefix('error: ').replace(world.name, 'NAME')}”", then)


def test_partitions_added_under_a_worker_move_series_and_it_goes_on(world: World, reference: Outcome) -> None:
    """Seen to fail where nobody tells of the partitions that were added: the alerts of moved series stay open."""
    worker = world.start(plant="hears_quickly")
    firing, share = until_firing(world, 4)
    assert "adding partitions moves most series" in _doctor(world)
    world.grow(6)
    world.feed(share + 0.01)  # some of it before the worker hears of them
    world.wait_for(lambda: _opened(worker.events("partition opened")) == set(range(6)), "all partitions")
    world.feed()
    outcome = world.finish()
    assert len(world.workers) == 1
    told = moved_as_promised(outcome, reference, firing)
    GROWN.held(f"`doctor` warned; the same worker opened the new ones; {told}")


def _opened(lines: list[dict[str, int]]) -> set[int]:
    return {line["partition"] for line in lines}


def _doctor(world: World) -> str:
    """What the doctor says of settings with more partitions."""
    settings = world.settings("", world.store.url)
    settings["kafka"]["partitions"] = 6
    file = world.folder / "doctor.toml"
    file.write_text(tomli_w.dumps(settings))
    command = [sys.executable, "-m", "pipeline", "doctor", "--no-canary", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    return " ".join(done.stdout.split())
