"""What is wrong with the topics of all streams and intakes, taken together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from pipeline.settings.intakes import IntakeSettings
from pipeline.settings.streams import StreamSettings


def crossed_topics(streams: Iterable[StreamSettings]) -> Iterator[str]:
    """What is wrong with the streams' topics, taken together.

    A topic has one use. An input topic that workers also write to feeds itself: one bad record makes hundreds of dead letters
    within seconds. One topic for records of two kinds loses some: alerts are compacted, and their readers know nothing else. That
    streams share a topic of one kind, alerts or dead letters or scores, is fine, except for inputs: a state belongs to one stream.
    """
    used: dict[str, tuple[str, str, bool]] = {}  # topic -> setting, its stream, whether it may be shared
    inputs = [("topic", s.input_topic, s, False) for s in streams]
    outputs = [
        (setting, topic, s, True)
        for s in streams
        for setting, topic in (
            ("alert_topic", s.alert_topic),
            ("dead_letter_topic", s.dlq),
            ("score_topic", s.score_topic),
            ("decision_topic", s.decision_topic),
        )
        if topic
    ]
    for setting, topic, stream, shared in [*inputs, *outputs]:
        if told := illegal(topic):
            yield f"{setting} {topic!r} of stream {stream.name} {told}"
        before, other, sharing = used.setdefault(topic, (setting, stream.name, shared))
        if (before, other) != (setting, stream.name) and not (sharing and before == setting):
            of = "the same stream" if other == stream.name else f"stream {other}"
            yield f"{setting} {topic} of stream {stream.name} is also the {before} of {of}: name another"


def wrong_intakes(streams: Iterable[StreamSettings], intakes: Sequence[IntakeSettings]) -> Iterator[str]:
    """What is wrong with intakes: an unknown stream, two of one name, topics that what comes of them is written to."""
    named = {s.name: s for s in streams}
    used = {topic: setting for s in streams for setting, topic in (
        ("topic", s.input_topic), ("alert_topic", s.alert_topic), ("dead_letter_topic", s.dlq),
        ("score_topic", s.score_topic), ("decision_topic", s.decision_topic),
    ) if topic}  # fmt: skip
    names: set[str] = set()
    for intake in intakes:
        if intake.stream not in named:
            yield f"intake {intake.name} feeds stream {intake.stream}, which there is not: {', '.join(named) or 'none is configured'}"
        if intake.name in names:
            yield f"two intakes have the same name: {intake.name}"
        names.add(intake.name)
        if told := illegal(intake.dlq):
            yield f"dead_letter_topic {intake.dlq!r} of intake {intake.name} {told}"
        for topic, setting in [*used.items(), *((i.dlq, "dead_letter_topic") for i in intakes)]:
            if glob := next((g for g in intake.topics if fnmatchcase(topic, g)), ""):
                yield f"topics {glob} of intake {intake.name} has {topic}, which is a {setting}: it would read what is written here; name others"
        if intake.dlq in used:
            yield f"dead_letter_topic {intake.dlq} of intake {intake.name} is also a {used[intake.dlq]}: name another"


def illegal(topic: str) -> str:
    """Why Kafka would not have a topic of that name, or nobody may write to it; empty where nothing is wrong."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic) or topic in (".", ".."):
        return "is no name for a topic: letters, digits, dot, dash and underscore, at most 249"
    return "is one of Kafka's own" if topic in ("__consumer_offsets", "__transaction_state") else ""
