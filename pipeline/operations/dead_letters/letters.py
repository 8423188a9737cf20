"""Dead letters as values: one letter, how far they are done, which are wanted, and those that are dealt with in one go.

Nothing here reads or sends. A letter holds no headers of its record and not how often it was sent already;
`Letter.with_headers` has both from the record itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast

import msgspec
from confluent_kafka import Message, TopicPartition

from pipeline.alerts.records import dead_letter_facts

_MARK = "tidewatch.replay."
_ATTEMPT_DIGITS = 10

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class Letter:
    """A dead letter: where it lies, why, where its record came from, and the record.

    Attributes
    ----------
    partition, offset
        Its place in the dead-letter topic.
    topic, source_partition, source_offset
        Where its record is, or was.
    cut
        What the letter holds is only the head of the record, which was too large to carry.
    headers, attempt
        Of the record, as far as it is still there; how often it was sent, this time included.
    """

    partition: int
    offset: int
    timestamp: int
    reason: str
    detail: str
    topic: str
    source_partition: int
    source_offset: int
    key: bytes | None
    value: bytes | None
    cut: str = ""
    headers: Headers = ()
    attempt: int = 1

    @classmethod
    def of(cls, message: Message) -> Letter | None:
        """From a message of the dead-letter topic; None for one that is none."""
        facts = dead_letter_facts(_headers(message))
        try:
            where = facts["topic"], int(facts["partition"]), int(facts["offset"])
        except (KeyError, ValueError):
            return None
        cut = ", ".join(
            f"{what} of {facts[f'{what}_length']} bytes, SHA-256 {facts.get(f'{what}_sha256', '?')}"
            for what in ("value", "key")
            if f"{what}_length" in facts
        )
        return cls(
            message.partition() or 0,
            message.offset() or 0,
            message.timestamp()[1],
            facts.get("reason", ""),
            facts.get("detail", ""),
            *where,
            message.key(),
            message.value(),
            cut,
        )

    @property
    def source(self) -> tuple[str, int, int]:
        """Where its record is: topic, partition, offset."""
        return self.topic, self.source_partition, self.source_offset

    @property
    def sent_headers(self) -> list[tuple[str, bytes | None]]:
        """The record's own headers, the place where it was first, and how often it was sent."""
        own = dict(self.headers)
        origin = {"topic": self.topic, "partition": str(self.source_partition), "offset": str(self.source_offset)}
        marks = {_MARK + name: own.get(_MARK + name) or text.encode() for name, text in origin.items()}
        marks[_MARK + "attempt"] = str(self.attempt).encode()
        return [h for h in self.headers if not h[0].startswith(_MARK)] + list(marks.items())

    def with_headers(self, headers: Headers) -> Letter:
        """With what only its record tells: the headers, and by them how often it was sent."""
        before = dict(headers).get(_MARK + "attempt") or b"0"
        counted = before.isdigit() and len(before) < _ATTEMPT_DIGITS  # whoever may write may write anything
        return replace(self, headers=headers, attempt=int(before) + 1 if counted else 1)


@dataclass
class Progress:
    """What of one partition of the dead-letter topic is done: all before `base`, and of some reasons all before a later offset."""

    base: int
    by_reason: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, committed: TopicPartition, first: int) -> Progress:
        """From what the group has committed; what its metadata do not hold is taken for not done."""
        try:
            by_reason = msgspec.json.decode(committed.metadata or b"{}", type=dict[str, int])
        except msgspec.MsgspecError:
            by_reason = {}
        return cls(max(committed.offset, first), by_reason)

    def done(self, letter: Letter) -> bool:
        """Whether the letter was dealt with."""
        return letter.offset < max(self.base, self.by_reason.get(letter.reason, 0))

    def advance(self, to: int, reasons: Collection[str], left: int | None) -> None:
        """All letters of these reasons (none named: of all) before `to` are done; `left`: the first that is not, of others."""
        if reasons:
            self.by_reason |= {r: max(to, self.by_reason.get(r, 0)) for r in reasons}
        self.base = max(self.base, to if left is None else left)
        self.by_reason = {r: o for r, o in self.by_reason.items() if o > self.base}

    def position(self, topic: str, partition: int) -> TopicPartition:
        """What is to be committed."""
        metadata = msgspec.json.encode(self.by_reason, order="sorted").decode() if self.by_reason else ""
        return TopicPartition(topic, partition, self.base, metadata)


@dataclass(frozen=True)
class Selection:
    """Which letters are wanted.

    Attributes
    ----------
    reasons
        Empty: any.
    since
        Older ones are not sent, and count as done.
    limit
        At most so many; 0: all.
    again
        Also those that were sent before.
    places
        Only these (partition, offset) of the dead-letter topic; of the same reasons, what lies before the last of them in its
        partition counts as done. None: any.
    others
        Input topics of other streams that share the dead-letter topic: letters of their records are theirs to send.
    topics
        Only records of these are sent; None: of any.
    """

    reasons: frozenset[str] = frozenset()
    since: datetime | None = None
    limit: int = 0
    again: bool = False
    places: frozenset[tuple[int, int]] | None = None
    others: frozenset[str] = frozenset()
    topics: frozenset[str] | None = None

    def __contains__(self, letter: Letter) -> bool:
        """Whether it is to be sent, leaving aside whether it was."""
        if letter.topic in self.others or (self.reasons and letter.reason not in self.reasons):
            return False
        if self.since is not None and letter.timestamp < self.since.timestamp() * 1000:
            return False
        return self.places is None or (letter.partition, letter.offset) in self.places


@dataclass
class Round:
    """Letters that are dealt with in one go, in the order of their records.

    Attributes
    ----------
    remember
        Keeps `reached`; from who made the round.
    letters
        To be sent, each record once.
    cut
        Wanted, but only their heads are there.
    sent_before, repeated, foreign, elsewhere
        How many were wanted and sent by an earlier run; stand twice in the topic (a worker crashed); are no dead letters; are of topics that
        nothing is sent to.
    reached
        Partition of the dead-letter topic -> the offset up to which it was read.
    """

    remember: Callable[[Mapping[int, int]], None]
    letters: list[Letter] = field(default_factory=list)
    cut: list[Letter] = field(default_factory=list)
    sent_before: int = 0
    repeated: int = 0
    foreign: int = 0
    elsewhere: int = 0
    reached: dict[int, int] = field(default_factory=dict)

    def done(self) -> None:
        """Remember that all of it was dealt with. Raises BrokerError."""
        self.remember(self.reached)


def _headers(message: Message) -> Headers:
    return tuple(cast("list[tuple[str, bytes | None]]", message.headers() or []))
