"""The slow, obvious way: one record after the other, no store, no broker, nothing in flight. What the simulation must equal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipeline.batches import RecordBatch, Rejected
from pipeline.records import DeadLetter, Message, dead_letter_facts
from pipeline.stream import Stream

if TYPE_CHECKING:
    from simulation.world import Partition


@dataclass
class Oracle:
    """What one partition's log leads to."""

    messages: list[Message] = field(default_factory=list)
    """All that is published, in order, nothing twice."""
    published: list[int] = field(default_factory=lambda: [0])
    """[n]: how many messages the first n records lead to."""
    states: list[dict[str, bytes]] = field(default_factory=list)
    """[n]: everything the state holds after the first n records."""


def undisturbed(stream: Stream, partition: int, log: Partition) -> Oracle:
    """Push one record at a time."""
    core = stream.core(partition)
    oracle = Oracle(states=[core.state.snapshot(everything=True)])
    for record in log.records:
        one = RecordBatch(
            stream.settings.input_topic,
            partition,
            np.array([record.offset]),
            record.offset + 1,
            [record.key],
            [record.value],
            np.zeros(1, np.int64),
        )
        observations, rejected = stream.decoder.decode(one)
        for step, settled in core.process(observations):
            rejected += [Rejected(0, reason, detail) for _, reason, detail in step.rejected + settled.unscorable]
            oracle.messages += [a.message(stream.settings.alert_topic) for a in settled.alerts]
            if stream.settings.score_topic:
                scores = core.life.scores(core.state, settled.scored)
                oracle.messages += [s.message(stream.settings.score_topic) for s in scores]
        if rejected:
            more = f" (and {len(rejected) - 1} more of its points)" if len(rejected) > 1 else ""
            why = Rejected(0, rejected[0].reason, rejected[0].detail + more)
            oracle.messages.append(DeadLetter.of(one, why, stream=stream.name).message(stream.settings.dlq))
        oracle.published.append(len(oracle.messages))
        oracle.states.append(core.state.snapshot(everything=True))
    return oracle


def identity_of(message: Message) -> tuple[str, ...]:
    """What a subscriber drops repetitions by."""
    headers = dict(message.headers)
    if "ce_id" in headers:
        return (message.topic, headers["ce_id"].decode())
    if facts := dead_letter_facts(message.headers):
        return (message.topic, facts["partition"], facts["offset"])
    return (message.topic, (message.value or b"").decode())
