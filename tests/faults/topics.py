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


def homes(outcome: Outcome) -> dict[str, int]:
    """The partition that each series' state is in."""
    fields = ((p, json.loads(value)) for (p, name), value in outcome.states.items() if name.startswith(b"f:names:"))
    return {series: p for p, names in fields for series in names if series is not None}


def scores_of(outcome: Outcome, of: set[str]) -> int:
    """How many scores there are of some series."""
    return sum(body(message)["series"] in of for message in outcome.scores.values())


def story(outcome: Outcome, without: set[str]) -> dict[tuple[str, int], tuple[object, ...]]:
    """Alert records of other series, without the offsets: there is a control record more in each partition."""
    told = ((key, body(message)) for key, message in outcome.alerts.items())
    facts = ("status", "reason", "as_of", "observed", "expected", "score", "peak_score", "threshold")
    return {
        key: tuple(b[f] if not isinstance(b[f], list) else tuple(b[f]) for f in facts)
        for key, b in told
        if b["series"] not in without
    }
