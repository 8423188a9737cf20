"""Where people decide: what the list of a stream holds, where each partition took it, and what is added to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec

from pipeline.alerts.records import rfc3339
from pipeline.alerts.selecting.feedback import Feedback
from pipeline.alerts.selecting.silences import calendar
from pipeline.errors import SettingsError, TidewatchError
from pipeline.kafka import rights, topics
from pipeline.kafka.clients import connect_admin
from pipeline.kafka.decisions import DecisionTopic
from pipeline.operations.deciding import (
    Journal,
    changed,
    content_of,
    differences,
    now,
    refused,
    require_same_shape,
    settings_decision,
    taken_by_partition,
    who,
)
from pipeline.operations.state_admin import configured, opened
from pipeline.partition.deciding.decisions import IN_FORCE, InForce, Taken, unpacked
from pipeline.partition.deciding.listing import Listing
from pipeline.partition.deciding.what import (
    Acknowledge,
    Close,
    Comment,
    Decision,
    Forget,
    Lift,
    Partitions,
    SettingsOf,
    Silence,
    Undo,
    What,
)
from pipeline.partition.stores.base import Register
from pipeline.partition.stores.redis import RedisStore
from pipeline.partition.stream import create_stream, load_model
from pipeline.settings import Settings
from producers.times import typed_time

MAX_COMMENT = 1000
"""Characters of a comment."""
MAX_WHY = 500
"""Characters of a reason."""
MAX_SERIES = 1024
"""Characters of a series' name or pattern."""
ASKED = "asked-"
"""What an id begins with that somebody gave: it is never one of ours."""
_POLL = 0.25


@dataclass(frozen=True)
class Line:
    """A decision, and partition -> offset at which it was taken."""

    decision: Decision
    taken: Mapping[int, int]
    learning: Sequence[int] = ()
    """Partitions in which its settings learn beside older ones, and hold when they are live."""
    before: SettingsOf | None = None
    """Of settings: those that were decided before."""
    refused: Sequence[int] = ()
    """Of the newest settings: partitions that took them and cannot go on with them, so that the older ones judge on."""

    @property
    def words(self) -> str:
        """It in words: of settings what they change."""
        return told(self.decision.what, self.before)


class Desk:
    """The decisions of one stream, for one command. All methods raise StoreError and BrokerError.

    Raises
    ------
    SettingsError
        The stream is not configured.
    """

    def __init__(
        self,
        settings: Settings,
        stream: str,
        register: Register,
        held: Callable[[str], Awaitable[Mapping[int, InForce]]] | None = None,
        names: Callable[[str], Awaitable[Sequence[str]]] | None = None,
    ) -> None:
        self._held = held
        self._names = names
        self.stream = configured(settings, stream)
        self._admin, kafka = connect_admin(settings.kafka), settings.kafka
        topic = self.stream.decision_topic
        rights.require(self._admin, kafka, read=[topic])
        self._input = topics.require(self._admin, kafka, [self.stream.input_topic, topic])[self.stream.input_topic]
        self._journal = Journal(DecisionTopic(kafka, topic), None, stream)
        self._listing = Listing(stream, register, self._journal.read, of_log=self._input.topic_id)

    async def lines(self) -> list[Line]:
        """All decisions, in order, each with where it was taken."""
        await self._listing.fill_up()
        taken = await self._taken()
        where: dict[int, dict[int, int]] = {}
        for partition, lines in taken.items():
            for line in lines:
                for decision in line.decisions:
                    where.setdefault(decision.serial, {})[partition] = line.offset
        held = await self._in_force()
        told_of: list[Line] = []
        before: SettingsOf | None = None
        decided = await self._listing.after(0)
        newest = max((d.serial for d in decided if isinstance(d.what, SettingsOf)), default=0)
        for d in decided:
            of, at = d.what if isinstance(d.what, SettingsOf) else None, where.get(d.serial, {})
            learning = [p for p, h in held.items() if h.shadow is not None and h.shadow.serial == d.serial]
            refusing = [p for p, h in held.items() if p in at and d.serial == newest and refused(d, h)]
            told_of.append(Line(d, at, learning, before if of is not None else None, refusing))
            before = d.what if isinstance(d.what, SettingsOf) else before
        return told_of

    async def decide(self, what: What, *, by: str = "", id: str = "") -> int:  # noqa: A002
        """Add a decision of `by`, of whoever runs this where that is empty; returns its serial.

        With the `id` of one that is in the list nothing is added, and its serial is the answer: who heard no answer may ask again.
        Raises TidewatchError where it says nothing, or too much, and where the id is of another decision.
        """
        what = fit(what)
        await self._listing.fill_up()
        known = await self._listing.after(0)
        if id and (before := next((d for d in known if d.id == id), None)) is not None:
            if not _same(before.what, what):
                msg = f"id {id.removeprefix(ASKED)} is decision {before.serial} of stream {self.stream.name} already, `{told(before.what)}`: give what is another decision another id"
                raise TidewatchError(msg)
            return before.serial
        if isinstance(what, Lift):
            if not any(d.serial == what.silence and isinstance(d.what, Silence) for d in known):
                msg = f"decision {what.silence} of stream {self.stream.name} is no silence; `tidewatch decisions {self.stream.name}` lists them"
                raise TidewatchError(msg)
            if (over := next((d.serial for d in known if d.what == what), 0)) > 0:
                msg = f"silence {what.silence} of stream {self.stream.name} was ended by decision {over} already"
                raise TidewatchError(msg)
        if isinstance(what, Feedback) and (before := _said_before(what, known)) is not None:
            msg = f"decision {before.serial} of stream {self.stream.name}, by {before.by}, says so of this alert already: `{told(before.what)}`"
            raise TidewatchError(msg)
        return await self._listing.propose(Decision(id or uuid4().hex, what, by=plain(by) or who(), at=now()))

    async def nothing_comes_of(self, what: What) -> str:
        """Why nothing will come of a decision as things stand, in words; empty: something may, or nobody knows.

        Raises StoreError.
        """
        if isinstance(what, Silence) and 0 < what.until <= time.time() * 1000:
            return f"it is over already: only what is as of a time before {rfc3339(what.until)} and comes later falls into it"
        if not isinstance(what, (Acknowledge, Silence, Close, Forget, Comment)) or self._names is None:
            return ""
        names = await self._names(self.stream.name)
        if isinstance(what, Comment):
            found = not names or bool(what.alert) or what.series in names
        elif isinstance(what, Silence):
            silenced = what.in_force(0)
            found = not names or any(map(silenced.matches, names))
        else:
            found = not names or any(fnmatchcase(name, what.series) for name in names)
        return "" if found else f"none of the {len(names):,} series that are known{_whom(what)} now"

    async def undoing(self, serial: int) -> What:
        """What takes a decision back: of a silence its end, of feedback, an acknowledgement and a comment that it counts no more.

        Raises TidewatchError for any other, and for one that was taken back.
        """
        known = [line.decision for line in await self.lines()]
        meant = next((d.what for d in known if d.serial == serial), None)
        if isinstance(meant, Silence):
            return Lift(serial)
        if not isinstance(meant, (Feedback, Acknowledge, Comment)):
            what = "is not there" if meant is None else f"is `{told(meant)}`, which cannot be taken back"
            msg = f"decision {serial} of stream {self.stream.name} {what}; silences, feedback, acknowledgements and comments can (`tidewatch decisions {self.stream.name}` lists them)"
            raise TidewatchError(msg)
        if (by := next((d.serial for d in known if d.what == Undo(serial)), 0)) > 0:
            msg = f"decision {serial} of stream {self.stream.name} was taken back by decision {by} already"
            raise TidewatchError(msg)
        return Undo(serial)

    async def changes(self) -> tuple[Decision, dict[str, tuple[Any, Any]]]:
        """The settings of the file as a decision, and what differs from the newest that were decided and not refused: name -> (then, now).

        Raises
        ------
        SettingsError, ModelError
            They cannot take over what was learnt; the model file is not there.
        """
        stream = create_stream(self.stream, load_model(self.stream.model))
        held = await self._in_force()
        require_same_shape(stream, await self._taken(), held)
        await self._listing.fill_up()
        decided = [d for d in await self._listing.after(0) if isinstance(d.what, SettingsOf)]
        newest = decided[-1].what if decided else None
        if decided and (refusing := [h for h in held.values() if refused(decided[-1], h)]):
            holds = refusing[0].shadow or refusing[0]
            newest = SettingsOf(holds.settings or {}, holds.model, {})
        decision = settings_decision(stream)
        if any(content_of(d) == decision.id for d in decided):  # it was replaced since: a new word is needed
            decision = settings_decision(stream, again=f"-{uuid4().hex[:8]}")
        assert isinstance(decision.what, SettingsOf)
        assert newest is None or isinstance(newest, SettingsOf)
        return decision, differences(newest, decision.what)

    async def apply(self, decision: Decision) -> int:
        """Add settings that `changes` made, also where their content was replaced before."""
        return await self._listing.propose(decision)

    async def wait(self, serial: int, *, timeout: float) -> dict[int, int]:
        """Partition -> the offset at which it took a decision, once all have.

        Raises
        ------
        TidewatchError
            After `timeout` s some have not.
        """
        end = time.monotonic() + timeout
        while True:
            taken = await self._taken()
            found = {
                p: next(line.offset for line in lines if line.serial >= serial)
                for p, lines in taken.items()
                if lines and lines[-1].serial >= serial
            }
            missing = [p for p in range(self._input.partitions) if p not in found]
            if not missing:
                return found
            if time.monotonic() >= end:
                msg = (
                    f"decision {serial} of stream {self.stream.name} is in the list, and partition{'s' if len(missing) > 1 else ''} "
                    f"{', '.join(map(str, missing))} did not take it within {timeout:.0f} s: start a worker, or see in its log what it waits for"
                )
                raise TidewatchError(msg)
            await asyncio.sleep(_POLL)

    async def _in_force(self) -> Mapping[int, InForce]:
        return {} if self._held is None else await self._held(self.stream.name)

    async def _taken(self) -> dict[int, list[Taken]]:
        return taken_by_partition(await self._journal.read(), self._input.topic_id)


@asynccontextmanager
async def at_desk(settings: Settings, stream: str) -> AsyncIterator[Desk]:
    """The desk of a stream; the store is closed at the end."""
    async with opened(settings) as store:
        yield Desk(settings, stream, store, partial(_held, store), partial(_names, store))


async def _held(store: RedisStore, stream: str) -> dict[int, InForce]:
    """What is in force in each partition, as of its last checkpoint."""
    return {p: unpacked(await store.field(stream, p, IN_FORCE)) for p in sorted(await store.partitions(stream))}


async def _names(store: RedisStore, stream: str) -> list[str]:
    """Series of all partitions, as of their last checkpoints."""
    return [name for p in await store.partitions(stream) for name in await store.series(stream, p)]


def _whom(what: Acknowledge | Silence | Close | Forget | Comment) -> str:
    if isinstance(what, Silence) and what.where:
        where = ",".join(f"{label}={glob}" for label, glob in what.where.items())
        return f" matches {what.series} where {where}"
    return f" {'is' if isinstance(what, Comment) else 'matches'} {what.series}"


def told(what: What, before: SettingsOf | None = None) -> str:
    """A decision in words; of settings what they change of those `before`.

    >>> told(Silence("host-*", 1_700_000_000_000, "maintenance"))
    'silence host-* until 2023-11-14T22:13:20.000Z: maintenance'
    """
    if isinstance(what, SettingsOf) and before is not None:
        return f"settings: {changed(before, what) or 'the same again'}"
    if isinstance(what, SettingsOf):
        return f"settings: model {what.model[:12] or 'unsaved'}, {_alarm(what.settings.get('threshold', {}))}"
    if isinstance(what, Lift):
        return f"lift silence {what.silence}"
    if isinstance(what, Undo):
        return f"take back {what.feedback}"
    if isinstance(what, Comment):
        return f"comment on {f'alert {what.alert[:8]} of ' if what.alert else ''}{what.series}: {what.text}"
    if isinstance(what, Partitions):
        return f"partitions: {what.count}"
    if isinstance(what, Feedback):
        return _said(what)
    when = when_silent(what) if isinstance(what, Silence) else ""
    return f"{type(what).__name__.lower()} {what.series}{when}{f': {what.why}' if what.why else ''}"


def plain(text: str) -> str:
    r"""What somebody wrote, on one line, without what a terminal would obey.

    >>> plain("new\n\x1b[31mdisk ")
    'new [31mdisk'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def fit(what: What) -> What:
    """A decision as it may stand in the list: its words plain. Raises TidewatchError where there are too many."""
    for name, most in (("series", MAX_SERIES), ("why", MAX_WHY), ("text", MAX_COMMENT)):
        if (length := len(getattr(what, name, ""))) > most:
            msg = f"{name} has {length:,} characters; {most:,} are the most"
            raise TidewatchError(msg)
    if getattr(what, "why", ""):
        return msgspec.structs.replace(what, why=plain(what.why))  # type: ignore[union-attr] # those that have one
    return what


def _same(one: What, other: What) -> bool:
    """Whether two decisions say the same; when a silence ends may follow from when it was asked for."""
    if isinstance(one, Silence) and isinstance(other, Silence):
        return msgspec.structs.replace(one, until=0) == msgspec.structs.replace(other, until=0)
    return one == other


def _said_before(what: Feedback, known: Sequence[Decision]) -> Decision | None:
    """The same word of the same alert that counts still: `noise` would count twice."""
    undone = {d.what.feedback for d in known if isinstance(d.what, Undo)}
    for d in known:
        of = d.what
        if not isinstance(of, Feedback) or not what.alert or d.serial in undone:
            continue
        if (of.alert, of.said, of.every) == (what.alert, what.said, what.every):
            return d
    return None


def comment_on(series: str, text: str, alert: str = "") -> Comment:
    """A comment as people write it, on one line. Raises TidewatchError where it says nothing, or too much."""
    words = plain(text)
    if not words or len(words) > MAX_COMMENT:
        msg = (
            "a comment without a word"
            if not words
            else f"a comment of {len(words):,} characters; {MAX_COMMENT:,} are the most"
        )
        raise TidewatchError(msg)
    return Comment(series, words, alert)


def when_silent(silence: Silence) -> str:
    """Which labels and which times a silence covers, each word with a space before it.

    >>> when_silent(Silence("*", 1_700_000_000_000, where={"env": "test"}, since=1_690_000_000_000))
    ' where env=test from 2023-07-22T04:26:40.000Z until 2023-11-14T22:13:20.000Z'
    """
    words = ["where " + ",".join(f"{label}={glob}" for label, glob in silence.where.items())] if silence.where else []
    if silence.calendar is not None:
        words.append(str(silence.calendar))
    if silence.since:
        words.append(f"from {rfc3339(silence.since)}")
    if silence.until or silence.calendar is None:
        words.append(f"until {rfc3339(silence.until)}")
    return "".join(f" {word}" for word in words)


def silence_asked(
    series: str,
    *,
    now: int,
    lasts: int = 0,
    since: str = "",
    until: str = "",
    where: Sequence[str] = (),
    weekly: Sequence[str] = (),
    zone: str = "",
    why: str = "",
) -> Silence:
    """A silence as people ask for it: `since` and `until` as they write times, `lasts` in ms from `since` or from `now` (ms).

    Raises
    ------
    TidewatchError
        It does not say of which series, or when, or says what cannot be.
    """
    labels = dict(_label(text) for text in where)
    begins, ends = (_typed(option, text) for option, text in (("--from", since), ("--until", until)))
    if not series and not labels:
        msg = "say of which series: a name or pattern (* for all), or --where LABEL=PATTERN"
    elif zone and not weekly:
        msg = '--time-zone says whose clock --weekly means: add --weekly "sat,sun 22:00-06:00", or leave it out'
    elif weekly and lasts:
        msg = "a weekly silence ends with --until TIME, or when it is lifted: leave --for out"
    elif not weekly and bool(lasts) == bool(until):
        msg = "say how long with --for 2h, or up to which time with --until 2026-11-22T14:00Z"
    else:
        ends = (begins or now) + lasts if lasts else ends
        if not ends or begins < ends:
            try:
                windows = calendar(weekly, zone or "UTC", now=now) if weekly else None
            except ValueError as error:
                raise TidewatchError(str(error)) from None
            return Silence(series or "*", ends, why, labels, begins, windows)
        msg = f"--until {until} is not after --from {since}"
    raise TidewatchError(msg)


def _label(text: str) -> tuple[str, str]:
    label, sign, glob = text.partition("=")
    if not sign or not label:
        msg = f"--where {text[:60]} is not of the form LABEL=PATTERN, as env=test or host=web-*"
        raise TidewatchError(msg)
    return label, glob


def _typed(option: str, text: str) -> int:
    try:
        return int(typed_time(text).timestamp() * 1000) if text else 0
    except ValueError as error:
        msg = f"{option} {text[:60]} {error}: write it as 2026-11-22T14:00Z"
        raise TidewatchError(msg) from None


def _said(what: Feedback) -> str:
    """Feedback in words.

    >>> told(Feedback("cpu", "missed", 1_700_000_000_000, 1_700_000_000_000, strength=-0.4, why="disk full"))
    'feedback missed: cpu at 2023-11-14T22:13:20.000Z, strength -0.40: disk full'
    """
    until = f" to {rfc3339(what.until)}" if what.until > what.since else ""
    alert = f", alert {what.alert[:8]}" if what.alert else ""
    every = f", every {what.every} at that time" if what.every else ""
    why = f": {what.why}" if what.why else ""
    return f"feedback {what.said}: {what.series} at {rfc3339(what.since)}{until}{alert}, strength {what.strength:.2f}{every}{why}"


def _alarm(threshold: Mapping[str, Any]) -> str:
    """When a stream's settings say that an observation is anomalous, in a few words."""
    level, method = threshold.get("level"), threshold.get("method")
    if method != "fixed":
        return f"threshold {method} {threshold.get('probability')}"
    return (
        f"threshold {level}" if level is not None else f"false alarms {threshold.get('false_alarms') or 'by default'}"
    )


def only_stream(settings: Settings) -> str:
    """The stream that is meant where none is named. Raises SettingsError where there is not exactly one."""
    if len(settings.streams) == 1:
        return settings.streams[0].name
    names = ", ".join(s.name for s in settings.streams) or "none"
    msg = f"name a stream (configured: {names})"
    raise SettingsError(msg)


def at_offsets(taken: Mapping[int, int], learning: Sequence[int] = (), refused: Sequence[int] = ()) -> Sequence[str]:
    """Where a decision was taken, `partition:offset` each, and where it learns yet, or was refused."""
    marks = dict.fromkeys(learning, " (learns)") | dict.fromkeys(refused, " (refused)")
    return [f"{p}:{offset}{marks.get(p, '')}" for p, offset in sorted(taken.items())]
