"""The slow, obvious way: one record after the other, no store, no broker, nothing in flight. What the simulation must equal.

Where history is gone, what is rebuilt is not what was lost, and there is another undisturbed run from there on: a `Branch`. Which
branches there may be, the simulation says; what each of them leads to is worked out here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from pipeline.alerts.records import Alert, DeadLetter, Message, dead_letter_facts
from pipeline.partition.core import PartitionCore
from pipeline.partition.deciding.carrying import applied, hold, looked
from pipeline.partition.deciding.decisions import IN_FORCE, Line, come_due, unpacked
from pipeline.partition.deciding.growth import OUTDATED_CONTROL
from pipeline.partition.stream import Stream
from pipeline.partition.streams import Streams
from pipeline.steps.batches.records import RecordBatch, Rejected
from pipeline.steps.decoding import CONTROL
from producers.records import decode_control, is_control

if TYPE_CHECKING:
    from simulation.world import Partition, Record


@dataclass(frozen=True)
class Branch:
    """Where an undisturbed run begins that has a hole behind it.

    Attributes
    ----------
    state
        What is known at `start`.
    until
        Before it all was published.
    end
        Before it all alerts were; there `told` (series -> last record) is taken up, where it was asked for.
    held
        What the alert topic held when it was asked: ids and sequence numbers.
    """

    state: Mapping[str, bytes]
    start: int
    until: int
    end: int
    told: Mapping[str, Alert] | None = None
    held: frozenset[tuple[str, ...]] = frozenset()


@dataclass
class Oracle:
    """What one partition's log leads to."""

    messages: list[Message] = field(default_factory=list)
    """All that is published, in order, nothing twice."""
    published: list[int] = field(default_factory=lambda: [0])
    """[n]: how many messages the first n records lead to."""
    states: list[dict[str, bytes] | None] = field(default_factory=list)
    """[n]: everything the state holds after the first n records; None where none may be stored yet."""
    taken: dict[int, list[dict[str, bytes]]] = field(default_factory=dict)
    """n -> the states at the same place, behind each decision that was taken there."""


def undisturbed(
    stream: Stream,
    partition: int,
    log: Partition,
    branch: Branch | None = None,
    known: tuple[Oracle, int] | None = None,
    decided: Sequence[Line] = (),
    streams: Streams | None = None,
) -> Oracle:
    """Push one record at a time.

    Parameters
    ----------
    known
        An oracle of a log whose first so many records were the same, and what was decided before them.
    decided
        What the partition took, in order.
    """
    streams = Streams(stream) if streams is None else streams
    oracle, same = Oracle(), 0
    state = None if branch is None else branch.state
    if known is not None and known[0].states[known[1]] is not None:
        state = known[0].states[known[1]]
    core = streams.core(unpacked((state or {}).get(IN_FORCE)), partition)
    if state is not None:
        core.state.restore(state)
        hold(core, unpacked(core.state.in_force))
    begun = branch is None
    if known is not None and known[0].states[known[1]] is not None:
        before, same = known
        begun = True
        taken = {n: states for n, states in before.taken.items() if n < same}
        messages = before.messages[: before.published[same]]
        oracle = Oracle(messages, before.published[: same + 1], before.states[:same], taken)
    ahead = [t for t in decided if t.follows(unpacked(core.state.in_force))]
    for record in log.records[same:]:
        if branch is not None and not begun and record.offset >= branch.end:
            core, _ = _decide(core, ahead, branch.end - 1, streams, None)
            _take_up(core, branch)
            begun = True
        oracle.states.append(core.state.snapshot(everything=True) if begun else None)
        if branch is None or record.offset >= branch.start:
            core, said = _decide(core, ahead, record.offset, streams, oracle if begun else None)
            if (effect := looked(core, unpacked(core.state.in_force), record.offset, streams)) is not None:
                core = effect.core
                said += [a.message(core.stream.settings.alert_topic) for a in effect.alerts]
            alerts, others = _record(core.stream, core, record, streams)
            if effect is not None and (topic := core.stream.settings.score_topic):
                others = [s.message(topic) for s in effect.scores] + others
            oracle.messages += said + alerts if begun else []
            oracle.messages += others if branch is None or record.offset >= branch.until else []
        oracle.published.append(len(oracle.messages))
    if branch is not None and not begun:
        core, _ = _decide(core, ahead, branch.end - 1, streams, None)
        _take_up(core, branch)
    oracle.states.append(core.state.snapshot(everything=True))
    _, said = _decide(core, ahead, 1 << 62, streams, oracle)
    oracle.messages += said
    return oracle


def _decide(
    core: PartitionCore, ahead: list[Line], offset: int, streams: Streams, oracle: Oracle | None
) -> tuple[PartitionCore, list[Message]]:
    """Let what was taken up to an offset take effect."""
    said: list[Message] = []
    while due := come_due(ahead, unpacked(core.state.in_force), offset):
        effect = applied(core, unpacked(core.state.in_force), due, streams)
        core = effect.core
        said += [a.message(core.stream.settings.alert_topic) for a in effect.alerts]
        if topic := core.stream.settings.score_topic:
            said += [s.message(topic) for s in effect.scores]
        if oracle is not None:
            oracle.taken.setdefault(len(oracle.states) - 1, []).append(core.state.snapshot(everything=True))
    return core, said


def _take_up(core: PartitionCore, branch: Branch) -> None:
    if branch.told is not None:
        core.take_up(branch.told)


def _record(
    stream: Stream, core: PartitionCore, record: Record, streams: Streams
) -> tuple[list[Message], list[Message]]:
    """What one record leads to: alerts, and scores and dead letters."""
    settings = stream.settings
    one = RecordBatch(
        settings.input_topic,
        core.partition,
        np.array([record.offset]),
        record.offset + 1,
        [record.key],
        [record.value],
        np.array([record.written]),
    )
    if is_control(record.key, record.value):
        return _control(stream, core, one, streams)
    observations, rejected = stream.decoder.decode(one)
    published: list[Message] = []
    others: list[Message] = []
    for part in core.parts(core.unseen(observations)):
        step, settled = core.settled_now(
            core.push(part)
        )  # said before the next part, which may forget a series of this one
        core.hear_delays(step, one)
        rejected += [Rejected(0, reason, detail) for _, reason, detail in step.rejected + settled.unscorable]
        published += [a.message(settings.alert_topic) for a in settled.alerts]
        if settings.score_topic:
            others += [s.message(settings.score_topic) for s in core.life.records.scores(core.state, settled.scored)]
    if rejected:
        more = f" (and {len(rejected) - 1} more of its points)" if len(rejected) > 1 else ""
        why = Rejected(0, rejected[0].reason, rejected[0].detail + more)
        others.append(DeadLetter.of(one, why, stream=stream.name).message(settings.dlq))
    return published, others


def _control(
    stream: Stream, core: PartitionCore, one: RecordBatch, streams: Streams
) -> tuple[list[Message], list[Message]]:
    """A record that a version before decisions wrote, or a stranger: it counts where nothing was decided yet."""
    held, offset = unpacked(core.state.in_force), int(one.offsets[0])
    control = decode_control(one.values[0] or b"")
    refusal = OUTDATED_CONTROL if held.begun else held.growth.refusal(control, 1 << 62)
    if refusal is not None or control is None:
        letter = DeadLetter.of(one, Rejected(0, CONTROL, refusal or ""), stream=stream.name)
        return [], [letter.message(stream.settings.dlq)]
    held = msgspec.structs.replace(held, growth=held.growth.by_record(control, offset))
    hold(core, held)
    if held.growth.next is None:
        return [], []
    effect = applied(core, held, held.growth.next, streams)
    topic = stream.settings.score_topic
    scores = [s.message(topic) for s in effect.scores] if topic else []
    return [a.message(stream.settings.alert_topic) for a in effect.alerts], scores


def identity_of(message: Message) -> tuple[str, ...]:
    """What a subscriber drops repetitions by."""
    headers = dict(message.headers)
    if "ce_id" in headers:
        return (message.topic, headers["ce_id"].decode())
    if facts := dead_letter_facts(message.headers):
        return (message.topic, facts["partition"], facts["offset"])
    return (message.topic, (message.value or b"").decode())
