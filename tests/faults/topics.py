"""A topic that is created again or grows, and what became of its series."""

from __future__ import annotations

import json

from confluent_kafka import KafkaException
from faults.world import Outcome, World, body


def create_again(world: World) -> bool:
    """Whether it could be created: Kafka forgets a topic a little after it has said so."""
    try:
        world.create_topic()
    except KafkaException:
        return False
    return True


def until_firing(world: World, alerts: int) -> tuple[dict[str, str], float]:
    """Feed until so many alerts fire: the series of each, by id, and the share of the recording that was fed."""
    share = 0.5
    while len(firing := world.open_alerts()) < alerts:
        share += 0.01
        world.feed(share)
        world.wait_for(world.settled, "a checkpoint")
    return firing, share


def moved_as_promised(outcome: Outcome, reference: Outcome, firing: dict[str, str]) -> str:
    """What became of series when partitions were added, in words; an AssertionError where it is not what is promised."""
    now, before = homes(outcome), homes(reference)
    moved = {series for series in now if now[series] != before[series]}
    ended = {i for (i, _), message in outcome.alerts.items() if body(message)["reason"] == "moved"}
    assert ended
    assert ended == {i for i, series in firing.items() if series in moved}
    assert scores_of(outcome, moved) < scores_of(reference, moved), "no probation"
    stayed = story(outcome, moved)
    assert stayed == story(reference, moved)
    return (
        f"{len(moved)} of the series that went on moved, in probation there; of {len(firing)} firing alerts {len(ended)} resolved as moved; "
        f"the {len(stayed)} alert records of series that stayed are as in the undisturbed run"
    )


def homes(outcome: Outcome) -> dict[str, int]:
    """The partition that each series' state is in."""
    fields = ((p, json.loads(value)) for (p, name), value in outcome.states.items() if name.startswith(b"f:names:"))
    return {series: p for p, names in fields for series in names if series is not None}


def scores_of(outcome: Outcome, of: set[str]) -> int:
    """How many scores there are of some series."""
    return sum(body(message)["series"] in of for message in outcome.scores.values())


def story(outcome: Outcome, without: set[str]) -> dict[tuple[str, int], tuple[object, ...]]:
    """What alert records of other series say."""
    told = ((key, body(message)) for key, message in outcome.alerts.items())
    facts = ("status", "reason", "as_of", "observed", "expected", "score", "peak_score", "threshold")
    return {
        key: tuple(b[f] if not isinstance(b[f], list) else tuple(b[f]) for f in facts)
        for key, b in told
        if b["series"] not in without
    }
