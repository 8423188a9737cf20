"""What people decide, as a partition takes it: which decision holds from which offset on, and why that is one answer for ever.

A *decision* (settings and model, a silence, an acknowledgement, a comment, an alert that is closed, feedback, partitions that were added) has an id and a serial; one script in the
store appends it to one list per stream (`pipeline.partition.stores.base.Register`), so there is one order. Each partition takes the
decisions in that order, each at an offset of its own: records before it know nothing of the decision, those from it on do.

    list in the store      1 ── 2 ── 3                                  what was decided
    topic of decisions     owner a · taken 1 at 0 · owner b · taken 2 at 740 · taken 3 at 741          where a partition took it
    state in the store     in_force: serial 3, since offset 741         folded in by the next checkpoint

The topic of decisions is the one place that says where a decision was taken; it has one partition, so all that is written there has an order:

- Whoever is assigned a partition writes a *mark* with its nonce there, waits until the broker has acknowledged it, and reads the topic up to it.
  What was taken before the mark holds: it is replayed, from the stored offset on with the old, from the decision's offset on with the new.
- Then the worker asks the group whether the partition is still its own (`PartitionLoop.begin` is followed by a commit), so a mark that is the
  last one stays the last one until the group has given the partition to another, whose mark comes later.
- An owner takes a decision by writing it with its offset and its nonce, waiting for the acknowledgement, and reading the topic up to there.
  *It counts only where the last mark before it is of the same nonce* (`valid`). Nothing that the decision leads to is published before that is seen.
- Whoever takes a partition over takes decisions not before the offset up to which an owner before may have published: the end of the log as
  it was then, and no more than two checkpoints' worth of records. What was published without a decision is said again as it was.

So a zombie takes nothing: its line stands behind another's mark, nobody believes it, and it sees so itself before anything goes out. An owner
that dies behind the write has taken the decision, one that dies before it has not. The store may be emptied or go back in time at any
moment: a state that is older than a decision meets it in the topic, at the offset where it was taken. A list that lost entries is filled up from the
topic (`Register.remember`), and the next serial is never one that the topic knows.

One thing the store's travels can do: make the nonce of a zombie valid again, which then stores a state that passed the offset of a decision
without it. Such a state is not trusted (`Decisions.trusts`): its owner writes over it, whoever starts reads the log back.

Where nothing comes any more the owner takes a *tick* in the same way: from its offset on the partition's event time is at least so late. It counts as
a decision counts, so a zombie's does not; nor does one that was written by a wrong clock, where the topic says when it came to the broker (`Tick.told_in_time`).
When one is taken, and how far it goes, is told in `pipeline.steps.clock.ticks`.

How many partitions the topic has is a decision as well: who hears of it from Kafka adds it to the list, with where the logs ended then, and from there on
what hashes elsewhere has moved (`pipeline.partition.deciding.growth`).

What a decision does to the state of a partition is told in `pipeline.partition.deciding.carrying`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from pipeline.alerts.records import Acknowledged
from pipeline.alerts.selecting.silences import Silenced
from pipeline.errors import Dropped
from pipeline.partition.deciding.growth import Grown, Growth
from pipeline.partition.deciding.what import Decision
from pipeline.steps.batches.records import RecordBatch

IN_FORCE = "in_force"
"""The state's field that is read before its rows."""


class Mark(msgspec.Struct, frozen=True, tag="owner"):
    """From here on only what this owner takes counts."""

    stream: str
    partition: int
    owner: str
    log: str = ""
    """Kafka's id of the input topic: what was taken in another log of that name counts for nothing."""
    records: int = 0
    """How many offsets its owner goes on at most before it makes a checkpoint; 0: not said (an older version)."""


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    """A partition took decisions, in order: they hold for the records from `offset` on. Of several settings the last hold."""

    stream: str
    partition: int
    owner: str
    offset: int
    decisions: tuple[Decision, ...]
    log: str = ""

    @property
    def serial(self) -> int:
        """Of the last of them."""
        return self.decisions[-1].serial

    def follows(self, in_force: InForce) -> bool:
        """Whether it is not in force yet."""
        return self.serial > in_force.serial


class Tick(msgspec.Struct, frozen=True, tag="tick"):
    """Nothing came any more: the partition's event time is at least this from `offset` on, ms. `number` counts a partition's ticks, from 1.

    `at` is the wall clock of who wrote it, ms; no result depends on it.
    """

    stream: str
    partition: int
    owner: str
    offset: int
    number: int
    event_time: int
    at: int
    log: str = ""

    def told_in_time(self, arrived: int | None) -> bool:
        """Whether the writer's clock was right, given when the line came to the broker by the broker's clock, ms; None: not known."""
        return arrived is None or abs(self.at - arrived) <= CLOCKS_APART

    def follows(self, in_force: InForce) -> bool:
        """Whether it is not in force yet."""
        return self.number > in_force.tick


class Reset(msgspec.Struct, frozen=True, tag="reset"):
    """The state of a partition was forgotten on purpose (`tidewatch state reset`): what it had taken counts no more."""

    stream: str
    partition: int


Entry = Mark | Taken | Tick | Reset
Line = Taken | Tick
"""What a partition took at an offset."""

CLOCKS_APART = 120_000
"""Milliseconds between a worker's clock and the broker's from which on its ticks count for nothing."""

_entries = msgspec.json.Decoder(Entry)
_decisions = msgspec.json.Decoder(Decision)


def decode_entry(body: bytes) -> Entry | None:
    """A line of the topic of decisions; None for what this version cannot read (anybody may have written it)."""
    try:
        entry: Entry = _entries.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return None if isinstance(entry, Taken) and not entry.decisions else entry


def decode_decision(body: bytes, serial: int) -> Decision:
    """A decision as the list holds it. Raises msgspec.MsgspecError."""
    return _decisions.decode(body).numbered(serial)


def valid(entries: Iterable[Entry], log: str) -> list[Line]:
    """What one partition of a log has taken, in order: of each serial, and each number of a tick, the first that its owner wrote behind its own mark."""
    owner, newest, ticks = "", 0, 0
    taken: list[Line] = []
    for entry in entries:
        if isinstance(entry, Reset):
            owner, newest, ticks, taken = "", 0, 0, []
        elif entry.log != log:
            continue
        elif isinstance(entry, Mark):
            owner = entry.owner
        elif entry.owner != owner:
            continue
        elif isinstance(entry, Tick):
            if entry.number > ticks:
                taken.append(entry)
                ticks = entry.number
        elif entry.decisions[0].serial > newest:
            taken.append(entry)
            newest = entry.serial
    return taken


def trusted(taken: Iterable[Line], offset: int, in_force: InForce) -> bool:
    """Whether a state of an offset knows of all that its partition took before it; one in which nothing is in force yet is asked nothing."""
    return not in_force.serial or all(t.offset >= offset or not t.follows(in_force) for t in taken)


def come_due(ahead: list[Line], in_force: InForce, position: int, *, empty: bool = False) -> Line | Grown | None:
    """What takes effect next at this position or before, in the order of offsets; what was taken is taken out of `ahead`. None: nothing does.

    Where the state is `empty`, decisions that are due come all in one.
    """
    due = [t for t in ahead if t.offset <= position]
    grown = in_force.growth.next
    if grown is not None and grown.offset <= (due[0].offset if due else position):
        return grown
    if not due:
        return None
    first, *later = together(due, empty=empty)
    ahead[: len(due)] = later
    return first


def together(taken: Sequence[Line], *, empty: bool) -> Sequence[Line]:
    """What was taken, as one where the state is `empty`: no series could tell which settings held when, nor what time it was.

    So nobody asks for the model of settings that came and went before a partition began.
    """
    decisions = [t for t in taken if isinstance(t, Taken)]
    if not empty or not decisions:
        return taken
    last = msgspec.structs.replace(decisions[-1], decisions=tuple(d for t in decisions for d in t.decisions))
    return [*(t for t in taken if isinstance(t, Tick)), last]


class Shadowed(msgspec.Struct, frozen=True):
    """Settings and model that learn beside those in force, and are in force when they are live: those of decision `serial`, from `offset` on."""

    serial: int
    offset: int
    settings: dict[str, Any]
    model: str
    path: str = ""


class InForce(msgspec.Struct, frozen=True):
    """What is in force in a partition: everything up to `serial`, the last of it since `offset`. Serial 0: nothing was decided yet."""

    serial: int = 0
    offset: int = 0
    settings: dict[str, Any] | None = None
    model: str = ""
    path: str = ""
    silences: tuple[Silenced, ...] = ()
    acknowledged: dict[str, tuple[Acknowledged, ...]] = {}
    tick: int = 0
    """Number of the last tick."""
    growth: Growth = Growth()

    @property
    def begun(self) -> bool:
        """Whether anything was decided for the partition, here or where its state was imported from."""
        return bool(self.serial) or self.settings is not None

    shadow: Shadowed | None = None
    """What was decided and must learn first (`pipeline.partition.shadows.shadow`)."""

    def taken_over(self) -> InForce:
        """The same where the shadow judges."""
        assert self.shadow is not None
        to = self.shadow
        return msgspec.structs.replace(self, settings=to.settings, model=to.model, path=to.path, shadow=None)

    def packed(self) -> bytes:
        """As the state's field."""
        return msgspec.json.encode(self, order="deterministic")


def unpacked(field: bytes | None) -> InForce:
    """From the state's field; None or empty: a state of a version without decisions. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(field, type=InForce) if field else InForce()


class Listed(Protocol):
    """The list of one stream, as the loop asks for it; kept fresh by somebody else (`pipeline.operations.deciding`)."""

    newest: int
    """Serial of its last decision, as far as is known; 0: nothing was decided yet."""

    async def after(self, serial: int) -> Sequence[Decision]:
        """Decisions behind a serial, in order. Raises StoreError."""
        ...

    async def add_partitions(self, count: int, ends: Callable[[], Awaitable[Sequence[int]]]) -> None:
        """Add that the input topic has so many partitions; nothing where it is in the list. `ends` asks where their logs end. Raises StoreError, BrokerError."""
        ...


class Journal(Protocol):
    """The topic of decisions, of one stream and partition."""

    async def write(self, entries: Sequence[Entry]) -> None:
        """Append, in order; ends when the broker has acknowledged all. Raises BrokerError."""
        ...

    async def read(self) -> Sequence[Entry]:
        """All that the topic held when this was called, at least, in its order. Raises BrokerError."""
        ...


class Decisions:
    """Decisions of one partition: those that were taken and are still ahead of it, and those that are to be taken.

    Parameters
    ----------
    log
        Kafka's id of the input topic.
    still_owner
        Whether the group counts this worker as the partition's owner.
    records
        See `Mark`.
    """

    def __init__(
        self,
        stream: str,
        partition: int,
        *,
        log: str,
        listed: Listed,
        journal: Journal,
        still_owner: Callable[[], Awaitable[bool]],
        records: int = 0,
    ) -> None:
        self.in_force = InForce()
        self._of = stream, partition
        self._log = log
        self._listed = listed
        self._journal = journal
        self._still_owner = still_owner
        self._owner = ""
        self._records = records
        self.most_records = records
        """Of all that ever owned the partition, the most that one went on before a checkpoint (`Mark`)."""
        self._taken: list[Line] = []
        self._ahead: list[Line] = []
        self.waits_at = 0
        """Newest serial that cannot be taken here, for its model is not at hand; asked for again when there is a newer one."""

    async def claim(self, owner: str) -> None:
        """Leave a mark, and read what was taken before it."""
        self._owner = owner
        await self._mark()
        entries = await self._journal.read()
        self._taken = valid(entries, self._log)
        self.most_records = max((e.records for e in entries if isinstance(e, Mark)), default=self._records)

    async def _mark(self) -> None:
        await self._journal.write([Mark(*self._of, self._owner, self._log, self._records)])

    @property
    def any_taken(self) -> bool:
        """Whether anything was ever taken in this partition, by whomever: nobody publishes anything before."""
        return bool(self._taken)

    def holds(self, in_force: InForce) -> None:
        """Take note of what is in force now; what was taken behind it is ahead."""
        self.in_force = in_force
        self._ahead = [t for t in self._taken if t.follows(in_force)]

    def trusts(self, offset: int, in_force: InForce) -> bool:
        """Whether a state of an offset knows of all that its partition took before it."""
        return trusted(self._taken, offset, in_force)

    # What was taken, by others or before a crash

    def due(self, position: int, *, empty: bool) -> Line | Grown | None:
        """What takes effect next at this position or before: decisions or a tick that were taken, or partitions that were told of."""
        return come_due(self._ahead, self.in_force, max(position, 0), empty=empty)

    def cut(self, records: RecordBatch, position: int) -> Iterator[RecordBatch]:
        """A batch, cut where something takes effect; later parts hold the earlier ones, and what is due is let take effect behind each."""
        while borders := [b for b in self._borders() if position < b < records.next_offset]:
            position = min(borders)
            yield records.before(position)
        yield records

    def _borders(self) -> Iterator[int]:
        yield from (t.offset for t in self._ahead)
        yield from (grown.offset for grown in self.in_force.growth.coming)

    # What is to be taken now

    @property
    def wanted(self) -> bool:
        """Whether the list holds what was not taken yet; one comparison, asked at each batch."""
        return not self._ahead and self._listed.newest > max(self.in_force.serial, self.waits_at)

    @property
    def none_yet(self) -> bool:
        """Whether nothing at all is in force or ahead: a partition begins with its settings, and these are a decision."""
        return not self.in_force.serial and not self._ahead and not self._listed.newest

    async def following(self) -> Sequence[Decision]:
        """The decisions of the list that come next."""
        return await self._listed.after(self.in_force.serial)

    async def tell_partitions(self, count: int, ends: Callable[[], Awaitable[Sequence[int]]]) -> None:
        """See to it that the list says how many partitions Kafka counts; `ends` asks where their logs end.

        Raises
        ------
        StoreError, BrokerError
            The store, or Kafka, does not answer.
        """
        if self.in_force.begun or await self.following():  # settings come first
            await self._listed.add_partitions(count, ends)

    async def take(self, decisions: Sequence[Decision], position: int) -> None:
        """Take decisions at a position; when this returns the first of them at least is taken for ever, here or by an owner before.

        Raises
        ------
        Dropped
            The partition is another worker's.
        """
        taken = Taken(*self._of, self._owner, max(position, 0), tuple(decisions), self._log)
        while True:
            await self._journal.write([taken])
            self._taken = valid(await self._journal.read(), self._log)
            if any(isinstance(t, Taken) and t.serial >= decisions[0].serial for t in self._taken):
                break
            # Another mark stands before it: a late one, or the next owner's. First the mark, then the question: who asked before could be given
            # away in between, and its mark would stand behind that of the next owner, who has read that nothing was taken.
            await self._mark()
            if not await self._still_owner():
                msg = f"{self._of[0]}[{self._of[1]}] belongs to another worker now"
                raise Dropped(msg)
        self._ahead = [t for t in self._taken if t.follows(self.in_force)]

    @property
    def settled(self) -> bool:
        """Whether all that was taken is in force, and nothing waits to be taken."""
        return bool(self.in_force.serial) and not self._ahead and not self.wanted

    async def tick(self, event_time: int, position: int, at: int) -> bool:
        """Take a tick at a position; whether it, or one of an owner before, is ahead now. False: the broker's clock says that `at` is wrong.

        Raises
        ------
        Dropped
            The partition is another worker's.
        """
        number = self.in_force.tick + 1
        await self._journal.write([Tick(*self._of, self._owner, position, number, event_time, at, self._log)])
        entries = await self._journal.read()
        self._taken = valid(entries, self._log)
        self._ahead = [t for t in self._taken if t.follows(self.in_force)]
        if self._ahead:
            return True
        marks = [e.owner for e in entries if isinstance(e, Mark) and e.log == self._log]
        if marks and marks[-1] == self._owner:
            return False
        if not await self._still_owner():
            msg = f"{self._of[0]}[{self._of[1]}] belongs to another worker now"
            raise Dropped(msg)
        await self._mark()
        return True
