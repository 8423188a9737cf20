"""The servers of the simulation: a broker with a consumer group, a Redis, and the network between them and the workers.

All is driven by the loop's seed. The store is the real `MemoryStore`; here are only what happens on the way to it and what an
operator or a disk does to it.
"""

from __future__ import annotations

import asyncio
import copy
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import numpy as np
from simulation.virtual import WORLD, Process, VirtualLoop

from pipeline.alerts.records import Message
from pipeline.errors import BrokerError, StoreError
from pipeline.partition.deciding.decisions import Entry, Tick, decode_entry
from pipeline.partition.stores.base import Checkpoint, Claim, Identity, Snapshot
from pipeline.partition.stores.memory import MemoryStore
from pipeline.steps.batches.records import RecordBatch, Standing

T = TypeVar("T")

DECISIONS = "decisions"
BEGUN = 1_000_000 * 60_000
"""The wall clock, ms, when the world begins, and..."""
PER_SECOND = 60_000
"""...by how much it goes on in a virtual second: as fast as the event time of the records."""
STORE_TIMEOUT = 2.0
SESSION_TIMEOUT = 6.0
REBALANCE_TIMEOUT = 5.0


class Violation(AssertionError):
    """A promise was broken."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the input topic; it can be read from `at` on."""

    offset: int
    at: float
    key: bytes | None
    value: bytes | None

    @property
    def written(self) -> int:
        """Kafka's time stamp, ms."""
        return wall_at(self.at)


def wall_at(virtual: float) -> int:
    """The right time, ms, so many virtual seconds after the world began."""
    return BEGUN + int(virtual * PER_SECOND)


@dataclass
class Partition:
    """One partition's log; offsets have holes, `end` may lie behind the last record (a transaction marker).

    What lies before `first` expired.
    """

    records: list[Record]
    end: int
    first: int = 0

    def count_before(self, offset: int) -> int:
        """Records before an offset."""
        return sum(r.offset < offset for r in self.records)

    def readable(self, now: float) -> int:
        """The offset behind what can be read."""
        offsets = [r.offset + 1 for r in self.records if r.at <= now]
        return self.end if len(offsets) == len(self.records) else max(offsets, default=0)

    def copied(self) -> Partition:
        """As it is; the copy may go another way."""
        return Partition(list(self.records), self.end, self.first)


def at_once(operation: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits (the memory store's)."""
    try:
        operation.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the store waited")


class Network:
    """Whatever lies between: delays, and windows of time in which the store or the broker is away."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.until: dict[str, float] = defaultdict(float)
        self.trace: list[str] = []

    def tell(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.loop.time():9.3f}  {text}")

    def during(self, what: str) -> bool:
        """Whether a disturbance is under way."""
        return self.loop.time() < self.until[what]

    def delay(self) -> float:
        """Of one message: mostly short, at times long."""
        return self.loop.random.choice((0.001, 0.002, 0.005, 0.02, 0.1))


@dataclass
class Redis:
    """The server with its states, and copies of older ones."""

    network: Network
    on_save: Callable[[Claim, int, Mapping[str, bytes]], None]
    store: Any = None
    backups: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        nonces = iter(range(10**9))
        self.store = MemoryStore(lambda: f"n{next(nonces)}")

    def back_up(self) -> None:
        """Keep a copy, as a snapshot file or a lagging replica does."""
        self.backups.append(copy.deepcopy((self.store._hashes, self.store._lists)))

    def restore(self, which: float) -> None:
        """Go back in time, to the start for 0 and to the newest copy for nearly 1."""
        if self.backups:
            self.restore_copy(int(which * len(self.backups)))

    def restore_copy(self, at: int) -> None:
        """Go to one of the copies."""
        self.store._hashes, self.store._lists = copy.deepcopy(self.backups[at])
        self.network.tell(f"redis: restored to copy {at + 1} of {len(self.backups)}")

    def empty(self) -> None:
        """Come up with nothing."""
        self.store._hashes.clear()
        self.store._lists.clear()
        self.network.tell("redis: restarted empty")

    def claim_by_a_ghost(self, stream: str, partition: int) -> None:
        """A worker that was paused just before its claim claims, and is never heard of again."""
        at_once(self.store.claim(stream, partition))
        self.network.tell(f"redis: stale claim of partition {partition}")

    def save(self, claim: Claim, offset: int, *arguments: Any, **options: Any) -> Claim:
        """One script, at one moment; then look whether what is stored now is right."""
        after: Claim = at_once(self.store.save(claim, offset, *arguments, **options))
        self.network.tell(f"redis: partition {claim.partition} saved at {offset}, sequence {after.sequence}")
        stored = self.store._hashes[claim.stream, claim.partition]
        self.on_save(claim, stored.offset, stored.fields)
        return after


class StoreClient:
    """A process's connection to Redis: `pipeline.partition.stores.base.Store` over the network."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._network = redis.network

    async def claim(self, stream: str, partition: int, *, generation: int = -1) -> Claim:
        return await self._call(lambda: at_once(self._redis.store.claim(stream, partition, generation=generation)))

    async def load(self, claim: Claim) -> Checkpoint | None:
        return await self._call(lambda: at_once(self._redis.store.load(claim)))

    async def save(
        self,
        claim: Claim,
        offset: int,
        identity: Identity,
        changed: Mapping[str, bytes],
        *,
        removed: tuple[str, ...] = (),
        write_id: str,
        replace: bool = False,
        snapshot: int | None = None,
    ) -> Claim:
        options = {"removed": removed, "write_id": write_id, "replace": replace, "snapshot": snapshot}
        if self._network.during("store full") and self._network.loop.random.random() < 0.8:
            await asyncio.sleep(self._network.delay())
            raise StoreError("out of memory")
        return await self._call(lambda: self._redis.save(claim, offset, identity, dict(changed), **options))

    async def delete(self, stream: str, partition: int) -> bool:
        return await self._call(lambda: at_once(self._redis.store.delete(stream, partition)))

    async def snapshots(self, stream: str, partition: int) -> list[Snapshot]:
        return await self._call(lambda: at_once(self._redis.store.snapshots(stream, partition)))

    async def snapshot(self, stream: str, partition: int, number: int) -> Checkpoint | None:
        return await self._call(lambda: at_once(self._redis.store.snapshot(stream, partition, number)))

    async def keep(self, stream: str, partition: int, newest: int) -> int:
        return await self._call(lambda: at_once(self._redis.store.keep(stream, partition, newest)))

    async def pack(self, claim: Claim) -> bool:
        return await self._call(lambda: at_once(self._redis.store.pack(claim)))

    async def decide(self, stream: str, id: str, body: bytes, *, known: int = 0) -> int:  # noqa: A002
        return await self._call(lambda: at_once(self._redis.store.decide(stream, id, body, known=known)))

    async def newest_decision(self, stream: str) -> int:
        return await self._call(lambda: at_once(self._redis.store.newest_decision(stream)))

    async def decisions(self, stream: str, after: int = 0) -> dict[int, bytes]:
        return await self._call(lambda: at_once(self._redis.store.decisions(stream, after)))

    async def remember(self, stream: str, decisions: Mapping[int, tuple[str, bytes]]) -> None:
        return await self._call(lambda: at_once(self._redis.store.remember(stream, decisions)))

    async def close(self) -> None:
        """Nothing to close."""

    async def _call(self, operation: Callable[[], T]) -> T:
        """There and back, each way with its own fate; what was sent is done even when the sender is gone."""
        network, loop = self._network, self._network.loop
        answer: asyncio.Future[T] = loop.create_future()
        there, back = network.delay(), network.delay()
        if network.during("store slow"):
            there += loop.random.choice((0.2, 1.0, 3.0))
            back += loop.random.choice((0.2, 1.0, 3.0))
        lost_there = network.during("store away") and loop.random.random() < 0.7
        lost_back = network.during("store away") or (network.during("answers lost") and loop.random.random() < 0.5)

        def execute() -> None:
            try:
                result = operation()
            except Exception as error:
                if not lost_back:
                    loop.call_later(back, fail, error, context=WORLD)
            else:
                if not lost_back:
                    loop.call_later(back, succeed, result, context=WORLD)

        def succeed(result: T) -> None:
            if not answer.done():
                answer.set_result(result)

        def fail(error: Exception) -> None:
            if not answer.done():
                answer.set_exception(error)
                answer.exception()  # whoever asked may be dead

        if not lost_there:
            loop.call_later(there, execute, context=WORLD)
        elif loop.random.random() < 0.5:
            loop.call_later(back, fail, StoreError("connection refused"), context=WORLD)
        try:
            async with asyncio.timeout(STORE_TIMEOUT):
                return await answer
        except TimeoutError:
            raise StoreError("did not answer in time") from None


class Broker:
    """The input log, the output topics, and a consumer group with eager rebalances."""

    def __init__(self, network: Network, topic: str, partitions: list[Partition], *, shared: bool = True) -> None:
        self.network = network
        self.shared = shared  # whether members share the partitions; else one has them all
        self.topic = topic
        self.partitions = partitions
        self.out: dict[str, list[Message]] = defaultdict(list)
        self.on_message: Callable[[Message], None] = lambda _: None
        self.generation = 0
        self.arrived: list[int] = []  # when each line of the topic of decisions came
        self.count = len(partitions)
        self.committed: dict[int, int] = {}
        self.confirmed: dict[int, int] = {}  # where a first start began, as long as nothing is committed
        self._members: dict[str, float] = {}  # -> last sign of life
        self._joining: dict[str, asyncio.Future[tuple[int, list[int]]]] = {}
        self._assignment: dict[str, list[int]] = {}
        self._rebalance_until: float | None = None

    # What clients call

    async def join(self, member: str) -> tuple[int, list[int]]:
        """Join or rejoin the group; returns generation and partitions when the rebalance is over."""
        await self._reach()
        answer: asyncio.Future[tuple[int, list[int]]] = self.network.loop.create_future()
        self._members[member] = self.network.loop.time()
        self._joining[member] = answer
        self._begin(f"{member} joins")
        return await answer

    async def leave(self, member: str) -> None:
        """Leave the group in order."""
        await self._reach()
        self._remove(member, "left")

    async def heartbeat(self, member: str, generation: int) -> bool:
        """Whether the member may go on; False: it has to rejoin."""
        await self._reach()
        if member not in self._members or generation != self.generation:
            return False
        self._members[member] = self.network.loop.time()
        return self._rebalance_until is None

    async def commit(self, member: str, generation: int, partition: int, offset: int | None) -> bool:
        """Commit an offset (None or -1: only confirm); False where the member does not own the partition any more."""
        await self._reach()
        owner = generation == self.generation and partition in self._assignment.get(member, ())
        if owner and member in self._members:
            if offset is None or offset < 0:
                self.confirmed.setdefault(partition, self.partitions[partition].first)
            else:
                self.committed[partition] = offset
        await asyncio.sleep(self.network.delay())
        return owner and member in self._members

    async def standing(self, partition: int) -> Standing:
        """What the log and the group say of a partition."""
        await self._reach()
        log = self.partitions[partition]
        confirmed = self.confirmed.get(partition, log.first)
        committed = self.committed.get(partition, confirmed if confirmed < log.first else None)
        return Standing(log.first, max(log.readable(self.network.loop.time()), log.first), committed, self.count)

    async def end_of_log(self, partition: int) -> int:
        """The offset behind the last record, or marker."""
        await self._reach()
        return self.partitions[partition].readable(self.network.loop.time())

    async def log_ends(self) -> list[int]:
        """Where the log of each partition ends."""
        await self._reach()
        now = self.network.loop.time()
        return [log.readable(now) for log in self.partitions]

    async def fetch(self, partition: int, position: int, limit: int) -> RecordBatch:
        """Up to `limit` records from a position on; at times some before it come again."""
        await self._reach()
        loop, log = self.network.loop, self.partitions[partition]
        missed = max(log.first - position, 0)
        position = max(position, log.first)
        if not missed and loop.random.random() < 0.1:
            position = max(position - loop.random.randrange(4), log.first)
        ready = [r for r in log.records if r.offset >= position and r.at <= loop.time()][:limit]
        if ready:
            following = [r.offset for r in log.records if r.offset > ready[-1].offset]
            last = ready[-1].offset + 1
            next_offset = last if following or loop.random.random() < 0.5 else log.end
        else:
            readable = all(r.at <= loop.time() for r in log.records)
            next_offset = max(position, log.end) if readable else position
        return RecordBatch(
            self.topic,
            partition,
            np.array([r.offset for r in ready], np.int64),
            next_offset,
            [r.key for r in ready],
            [r.value for r in ready],
            np.array([r.written for r in ready], np.int64),
            missed,
        )

    # The group

    def start(self) -> None:
        """Look after the members."""
        self.network.loop.call_later(0.5, self._look, context=WORLD)

    def rebalance(self, why: str = "for no reason") -> None:
        """Somebody changed the subscription."""
        self._begin(why)

    def expire(self, partition: int, which: float) -> None:
        """Retention: what can be read of a partition expires, but for its last record."""
        log, now = self.partitions[partition], self.network.loop.time()
        readable = [r.offset for r in log.records if r.at <= now]
        if readable:
            log.first = max(log.first, readable[int(which * len(readable))])
            self.network.tell(f"broker: partition {partition} begins at offset {log.first}")

    def add_partition(self) -> None:
        """The topic grows; the group hears of it."""
        self.partitions.append(Partition([], 0))
        self.count = len(self.partitions)
        self.network.tell(f"broker: {self.count} partitions")
        self.rebalance("a partition was added")

    def _look(self) -> None:
        now = self.network.loop.time()
        if not self.network.during("broker away"):
            for member, seen in list(self._members.items()):
                if now - seen > SESSION_TIMEOUT and member not in self._joining:
                    self._remove(member, "is silent")
            if self._rebalance_until is not None and now >= self._rebalance_until:
                for member in [m for m in self._members if m not in self._joining]:
                    self._members.pop(member)
                    self.network.tell(f"group: {member} did not rejoin in time")
                self._complete()
        else:  # a broker that comes back gives everybody a new session
            self._members = dict.fromkeys(self._members, now)
        self.start()

    def _begin(self, why: str) -> None:
        if self._rebalance_until is None:
            self._rebalance_until = self.network.loop.time() + REBALANCE_TIMEOUT
            self.network.tell(f"group: rebalance, {why}")
        self._complete_if_all()

    def _remove(self, member: str, why: str) -> None:
        if self._members.pop(member, None) is not None:
            self._assignment.pop(member, None)
            self.network.tell(f"group: {member} {why}")
            self._begin(f"{member} {why}")

    def _complete_if_all(self) -> None:
        if self._members and all(m in self._joining for m in self._members):
            self._complete()

    def _complete(self) -> None:
        self._rebalance_until = None
        self.generation += 1
        members = sorted(m for m in self._members if m in self._joining)
        self.network.loop.random.shuffle(members)
        self._assignment = {m: [] for m in members}
        if members:
            for partition in range(self.count):
                self._assignment[members[partition % len(members) if self.shared else 0]].append(partition)
        self.network.tell(f"group: generation {self.generation}: {self._assignment}")
        joining, self._joining = self._joining, {}
        for member, answer in joining.items():
            if not answer.done() and member in self._assignment:
                delay = self.network.delay()
                result = (self.generation, self._assignment[member])
                self.network.loop.call_later(delay, _set, answer, result, context=WORLD)

    async def _reach(self) -> None:
        """One way to the broker; waits while it is away."""
        await asyncio.sleep(self.network.delay())
        while self.network.during("broker away"):
            await asyncio.sleep(0.5)


class JournalClient:
    """A process's view of the topic of decisions: `pipeline.partition.deciding.decisions.Journal` of one partition, or of all (None)."""

    def __init__(self, broker: Broker, publisher: PublisherClient, partition: int | None = None) -> None:
        self._broker = broker
        self._publisher = publisher
        self._partition = partition

    async def write(self, entries: Sequence[Entry]) -> None:
        for sent in [self._publisher.send(DECISIONS, None, msgspec.json.encode(entry)) for entry in entries]:
            await sent

    async def read(self) -> Sequence[Entry]:
        await self._broker._reach()
        lines = zip(self._broker.out[DECISIONS], self._broker.arrived, strict=True)
        entries = [(decode_entry(m.value or b""), at) for m, at in lines]
        await asyncio.sleep(self._broker.network.delay())
        return [e for e, at in entries if e is not None and self._partition in (None, e.partition) and in_time(e, at)]


def in_time(entry: Entry, arrived: int) -> bool:
    """Whether a line counts, as far as clocks say."""
    return not isinstance(entry, Tick) or entry.told_in_time(arrived)


class PublisherClient:
    """A process's producer: in order, acknowledged later, cut off at any point when the process dies."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker = broker
        self._network = broker.network
        self._queue: deque[tuple[asyncio.Future[None], Message]] = deque()
        self._last = 0.0
        self._refused = False
        self._cut = float("inf")
        process.on_exit.append(self._die)

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> Awaitable[None]:
        """See `pipeline.partition.outbox.Publisher`."""
        loop = self._network.loop
        sent: asyncio.Future[None] = loop.create_future()
        sent.add_done_callback(_seen)
        self._queue.append((sent, Message(topic, key, value, tuple(headers))))
        self._last = max(self._last, loop.time()) + loop.random.choice((0.0, 0.001, 0.05))
        loop.call_at(self._last, self._arrive, context=WORLD)
        return sent

    def _die(self) -> None:
        self._cut = self._network.loop.time() + self._network.delay()

    def _arrive(self) -> None:
        """The next message reaches the broker, or is lost with its sender."""
        loop = self._network.loop
        if loop.time() > self._cut:
            return
        if self._network.during("broker away"):
            loop.call_at(self._network.until["broker away"], self._arrive, context=WORLD)
            return
        sent, message = self._queue.popleft()
        if self._refused or self._network.during("publishing refused"):
            self._refused = True  # a producer that gave up on a message sends none after it
            _fail(sent, BrokerError("publish: refused"))
        elif not sent.cancelled() or loop.random.random() < 0.5:
            self._broker.out[message.topic].append(message)
            if message.topic == DECISIONS:
                self._broker.arrived.append(wall_at(loop.time()))
            self._broker.on_message(message)
            loop.call_later(self._network.delay(), _set, sent, None, context=WORLD)


def _set(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _seen(sent: asyncio.Future[None]) -> None:
    if not sent.cancelled():
        sent.exception()
