"""What a test says of an Outcome, in words for the table of guarantees."""

from __future__ import annotations

import re

from faults.world import Outcome, Worker, World


def said(outcome: Outcome) -> str:
    """What came twice, and was the same."""
    repeated = outcome.repeated
    return (
        f"end state and {len(outcome.alerts)} alert records identical "
        f"({repeated['alerts']} alerts, {repeated['scores']:,} scores, {repeated['observations.dlq']} dead letters came again, unchanged)"
    )


def told(worker: Worker, event: str) -> str:
    """The reason that a worker's first line of an event gives, without addresses: they differ from run to run."""
    return "“" + re.sub(r"127\.0\.0\.1:\d+", "HOST:PORT", worker.events(event)[0]["reason"]) + "”"


def seen(world: World, reference: Outcome) -> str:
    """What the check says of a guarantee that was broken; an AssertionError where it says nothing."""
    world.wait_for(lambda: world.settled() or gave_up(world), "the end")
    if told := gave_up(world):
        return f"seen (a worker cannot go on: “{told}”)"
    found = world.finish().differences(reference)
    assert found, "the guarantee was broken, and the check did not see it"
    kinds = {kind: sum(line.startswith(kind) for line in found) for kind in ("states", "alerts", "scores", "letters")}
    return "seen (" + ", ".join(f"{n} {kind}" for kind, n in kinds.items() if n) + " differ)"


def gave_up(world: World) -> str:
    """The last words of a worker that ended by an error; empty where none did."""
    lines = [line for worker in world.workers for line in worker.text().splitlines() if line.startswith("error:")]
    return lines[0].removeprefix("error: ").split(": run")[0] if lines else ""
