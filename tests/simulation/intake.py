"""The real intake (`pipeline.intake.run`) in a world without time: raw topics, a group of which one member has all, a stream's topic, and faults.

raw records ──▶ Reader here ──▶ Intake, killed, paused, in company ──▶ one producer a partition ──▶ what a stream makes of it: each once?
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry
from simulation.virtual import WORLD, Process, Stuck, VirtualLoop
from simulation.world import BEGUN, PER_SECOND, Broker, Network, Partition, PublisherClient, Record, Violation

from pipeline.errors import TidewatchError
from pipeline.intake.metrics import IntakeMetrics
from pipeline.intake.reading import Begin, beside
from pipeline.intake.run import Intake
from pipeline.kafka.topics import TopicFacts
from pipeline.settings import Settings
from pipeline.steps.batches.records import RecordBatch
from pipeline.steps.compact.positions import Positions
from pipeline.steps.decoding import Decoder
from producers.formats.naming import labels_of
from producers.partitioning import home

RAW, FED, HOSTS, RECORDS = 2, 3, 4, 40
ARRIVAL, END = 24.0, 30.0
"""Virtual seconds in which the records come, and after which no fault happens."""
SETTLED = 400.0
FAULTS = (
    "crash", "pause", "rebalance", "broker away", "publishing refused", "partition added", "topic created again", "settings changed",
    "settings changed in order", "stopped in order",
)  # fmt: skip
OUT_OF_ORDER = (
    "partition added",
    "topic created again",
    "broker away",
    "settings changed",
    "settings changed in order",
)
"""What may bring pieces of a series late: found late, or read when others had gone on."""
ABRUPT = ("crash", "pause", "publishing refused", "broker away", "topic created again")
MAPPINGS = ("", "{metric}@{host}")

Observation = tuple[str, str, int, float]  # metric, host, time, value


@dataclass
class Fault:
    """What happens, when, and to whom."""

    what: str
    at: float
    which: float
    long: float


@dataclass
class World:
    """All that outlives a process."""

    loop: VirtualLoop
    network: Network
    broker: RawBroker
    expected: set[Observation] = field(default_factory=set)
    gone: set[Observation] = field(default_factory=set)
    mapping: int = 0
    happened: Counter[str] = field(default_factory=Counter)


class RawBroker(Broker):
    """The raw topic with its id, and offsets with what stands beside them."""

    def __init__(self, network: Network, partitions: list[Partition]) -> None:
        super().__init__(network, "raw", partitions, shared=False)
        self.topic_id = "id0"
        self.tells_ids = True
        self.offsets: dict[int, tuple[int, str]] = {}

    async def commit_all(self, member: str, generation: int, offsets: Mapping[int, tuple[int, str]]) -> bool:
        """Offsets of the raw partitions; False where the group is another by now."""
        await self._reach()
        member_of_now = generation == self.generation and member in self._members
        if member_of_now:
            self.offsets |= offsets
        await asyncio.sleep(self.network.delay())
        return member_of_now

    @property
    def told_id(self) -> str:
        """What it says of the topic's id."""
        return self.topic_id if self.tells_ids else "id"

    def create_again(self) -> None:
        """Another topic of the same name; what was committed of the old one stays."""
        self.topic_id = f"id{int(self.topic_id[2:]) + 1}"
        self.partitions[:] = [Partition([], 0) for _ in range(RAW)]
        self.count = RAW
        self.network.tell(f"broker: topic created again as {self.topic_id}")


class SimulatedReader:
    """`pipeline.intake.reading.Reader` over the world."""

    def __init__(
        self, broker: RawBroker, member: str, *_: object, ids: Callable[[Collection[str]], Awaitable[Mapping[str, str]]],
        mapping: str, assigned: Callable[[Mapping[TopicPartition, Begin]], None], revoked: Callable[[], Awaitable[None]], **__: object,
    ) -> None:  # fmt: skip
        self._broker, self._member, self._ids, self._mapping = broker, member, ids, mapping
        self._assigned, self._revoked = assigned, revoked
        self._next: dict[int, int] = {}
        self._since: dict[int, int] = {}
        self._fetched: dict[int, RecordBatch] = {}
        self._answers: dict[int, tuple[int, int]] = {}
        self._generation = -1
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None

    async def start(self) -> None:
        self._tasks.append(asyncio.create_task(self._belong()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._broker.leave(self._member)

    async def _belong(self) -> None:
        try:
            while True:
                self._generation, partitions = await self._broker.join(self._member)
                await self._open(partitions)
                fetching = asyncio.create_task(self._fetch())
                self._tasks.append(fetching)
                while await self._broker.heartbeat(self._member, self._generation):
                    await asyncio.sleep(1.0)
                fetching.cancel()
                self._fetched.clear()
                await self._revoked()
        except TidewatchError as error:
            self._failure = error

    async def _open(self, partitions: Sequence[int]) -> None:
        topic_id = (await self._ids(["raw"])).get("raw", "")
        committed = dict(self._broker.offsets)
        held = {p: Begin.of(topic_id, self._mapping, 0, committed.get(p)) for p in partitions}
        self._next = {p: begin.offset for p, begin in held.items()}
        self._since = {p: begin.since for p, begin in held.items()}
        self._answers = {}
        self._assigned({TopicPartition("raw", p): begin for p, begin in held.items()})

    async def _fetch(self) -> None:
        while True:
            for p in self._next:
                if p in self._fetched or p >= len(self._broker.partitions):
                    continue
                end = self._broker.partitions[p].readable(self._broker.network.loop.time())
                if self._next[p] > end:  # out of range
                    self._next[p] = 0
                batch = await self._broker.fetch(p, self._next[p], 7)
                if p < len(self._broker.partitions):
                    asked = int(self._broker.network.loop.time() * 1000)
                    self._answers[p] = asked, await self._broker.end_of_log(p)
                if len(batch):
                    self._fetched[p] = batch
            await asyncio.sleep(0.1)

    async def wait(self, seconds: float) -> None:
        if self._failure is not None:
            raise self._failure
        await asyncio.sleep(seconds)

    def take(self, wanted: Collection[TopicPartition]) -> list[tuple[TopicPartition, RecordBatch]]:
        out = []
        for tp in sorted(wanted):
            if (batch := self._fetched.pop(tp.partition, None)) is not None:
                self._next[tp.partition] = batch.next_offset
                out.append((tp, batch))
        return out

    def answered(self, tp: TopicPartition) -> tuple[int, int] | None:
        return self._answers.get(tp.partition)

    async def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> bool:
        told = {
            tp.partition: (offset, beside(topic_id, self._mapping, self._since.get(tp.partition, offset)))
            for tp, (offset, topic_id) in offsets.items()
        }
        return await self._broker.commit_all(self._member, self._generation, told)


class Publishers:
    """A process's producer: in each partition in order, one partition ahead of another; none goes on after the first refusal."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self._of: dict[int, PublisherClient] = defaultdict(lambda: PublisherClient(broker, process))

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Any = (), *, partition: int = -1
    ) -> Any:
        """See `pipeline.kafka.publisher`."""
        if any(one._refused for one in self._of.values()):
            for one in self._of.values():
                one._refused = True
        return self._of[partition].send(f"{topic}/{partition}", key, value, headers)


@dataclass(frozen=True)
class Parts:
    """What may be planted."""

    intake: type[Intake] = Intake
    publishers: type[Publishers] = Publishers
    ids_are_told: bool = True


def simulate(seed: int, parts: Parts | None = None, only: Sequence[str] = FAULTS) -> tuple[str | None, World]:
    """What is wrong with a run, and its world."""
    parts, chance = Parts() if parts is None else parts, random.Random(seed)
    loop = VirtualLoop(seed, 600_000)
    network = Network(loop)
    world = World(loop, network, RawBroker(network, [Partition([], 0) for _ in range(RAW)]))
    faults = sorted(
        (Fault(chance.choice(only), chance.uniform(0.5, END), chance.random(), chance.uniform(2, 14)) for _ in range(chance.randrange(1, 6))),
        key=lambda fault: fault.at,
    )  # fmt: skip
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_run(world, parts, faults, chance))
        judge(world, {fault.what for fault in faults})
    except (Violation, Stuck) as error:
        return str(error), world
    finally:
        for (
            task
        ) in loop._tasks:  # here, where its `finally` may fail for want of a running loop, not when it is collected
            if (of := task.get_coro()) is not None:
                with suppress(RuntimeError):
                    of.close()
        loop.abandon()
        asyncio.set_event_loop(None)
    return None, world


async def _run(world: World, parts: Parts, faults: Sequence[Fault], chance: random.Random) -> None:
    loop, broker = world.loop, world.broker
    broker.tells_ids = parts.ids_are_told
    broker.start()
    for step in range(RECORDS):
        loop.call_at(step * ARRIVAL / RECORDS, _arrive, world, chance, step, context=WORLD)
    fleet = Fleet(world, parts)
    for _ in range(2):
        fleet.start()
    for fault in faults:
        await asyncio.sleep(max(fault.at - loop.time(), 0))
        fleet.suffer(fault)
    await asyncio.sleep(max(ARRIVAL - loop.time(), 0) + 0.1)
    while not _all_committed(broker):
        if loop.time() > SETTLED:
            raise Violation("it stands: not all is committed")
        await asyncio.sleep(1.0)


def _arrive(world: World, chance: random.Random, step: int) -> None:
    """Two values of each host, somewhere."""
    at = BEGUN + int(step * ARRIVAL / RECORDS * PER_SECOND)
    for host in range(HOSTS):
        log = world.broker.partitions[chance.randrange(world.broker.count)]
        values = {"a": float(step), "b": float(-step)}
        line = f"m,host=h{host} a={values['a']},b={values['b']} {at * 1_000_000}"
        log.records.append(Record(log.end, world.loop.time(), None, line.encode()))
        log.end += 1
        world.expected |= {(f"m_{name}", f"h{host}", at, value) for name, value in values.items()}


def _all_committed(broker: RawBroker) -> bool:
    return all(
        not log.end or (broker.offsets.get(p, (0, ""))[0] >= log.end and broker.offsets[p][1].startswith(broker.told_id + " "))
        for p, log in enumerate(broker.partitions)
    )  # fmt: skip


class Fleet:
    """Processes of one intake; whoever dies is started again."""

    def __init__(self, world: World, parts: Parts) -> None:
        self._world, self._parts = world, parts
        self._running: list[tuple[Process, asyncio.Event]] = []
        self._count = 0

    def start(self) -> None:
        self._count += 1
        process, stopping = Process(f"i{self._count}"), asyncio.Event()
        self._running.append((process, stopping))
        process.start(self._world.loop, self._main(process, stopping, self._world.mapping))

    async def _main(self, process: Process, stopping: asyncio.Event, mapping: int) -> None:
        world = self._world
        settings = Settings.model_validate({
            "streams": [{"name": "fed", "model": "none"}],
            "intake": [{"stream": "fed", "topics": ["raw"], "format": "influx", "series": MAPPINGS[mapping]}],
        })  # fmt: skip

        async def ask(_: Collection[str]) -> Mapping[str, TopicFacts]:
            await world.broker._reach()
            facts = {"raw": TopicFacts("raw", world.broker.told_id, world.broker.count)}
            await asyncio.sleep(world.network.delay())
            return facts | {"fed.observations": TopicFacts("fed.observations", "fed", FED)}

        intake = self._parts.intake(
            settings, settings.intake[0], settings.streams[0], cast("Any", self._parts.publishers(world.broker, process)), ask, FED,
            IntakeMetrics(CollectorRegistry()), stopping, clock=world.loop.time,
            open_reader=lambda *a, **k: cast("Any", SimulatedReader(world.broker, process.name, *a, **k)),
        )  # fmt: skip
        try:
            await intake.run()
        except TidewatchError as error:
            world.network.tell(f"{process.name}: ends, {error}")
            world.happened["ended by an error"] += 1
        world.loop.call_later(1.0, self._gone, process, context=WORLD)

    def _gone(self, process: Process) -> None:
        process.kill()
        self._running = [one for one in self._running if one[0] is not process]
        self.start()

    def suffer(self, fault: Fault) -> None:
        world, loop = self._world, self._world.loop
        world.happened[fault.what] += 1
        world.network.tell(f"fault: {fault.what}")
        process, _ = self._running[int(fault.which * len(self._running))]
        match fault.what:
            case "crash":
                process.kill()
                self._gone(process)
            case "pause":
                process.pause()
                loop.call_later(fault.long, process.go_on, loop, context=WORLD)
            case "rebalance":
                world.broker.rebalance()
            case "broker away" | "publishing refused":
                world.network.until[fault.what] = loop.time() + fault.long / 2
            case "partition added":
                world.broker.partitions.append(Partition([], 0))
                world.broker.count += 1
                loop.call_later(fault.long / 2, world.broker.rebalance, "a partition was added", context=WORLD)
            case "topic created again":
                world.gone |= world.expected
                world.broker.create_again()
                if fault.which > 0.5:  # as far as the old one was, at once
                    for step in range(20):
                        _arrive(world, random.Random(step), RECORDS + step + 100 * world.happened[fault.what])
                loop.call_later(fault.long / 2, world.broker.rebalance, "a topic was created", context=WORLD)
            case "settings changed" | "settings changed in order" | "stopped in order":
                if fault.what != "stopped in order":
                    world.mapping = 1 - world.mapping
                for one, event in list(self._running):
                    if fault.what == "settings changed":
                        one.kill()
                        self._gone(one)
                    else:
                        event.set()


def judge(world: World, faults: Collection[str]) -> None:
    """What a stream makes of its topic: each observation once, each series at home and in order."""
    decoder = Decoder("metric", 1)
    named: Counter[tuple[str, Observation]] = Counter()
    late = 0
    for partition in range(FED):
        messages = world.broker.out[f"fed.observations/{partition}"]
        n = len(messages)
        batch = RecordBatch(
            "fed", partition, np.arange(n), n, [None] * n, [m.value for m in messages], np.zeros(n, np.int64)
        )
        observations, rejected = decoder.decode(batch)
        if rejected:
            raise Violation(f"a message that cannot be read: {rejected[0].detail}")
        unseen = Positions().unseen(observations.stretches, observations.offsets)
        once = observations if unseen is None else observations.take(np.flatnonzero(unseen))
        world.happened["written twice"] += len(observations) - len(once)
        newest: dict[str, int] = {}
        for name, at, value in zip(once.series, once.timestamps.tolist(), once.values[:, 0].tolist(), strict=True):
            if home(name, FED) != partition:
                raise Violation(f"{name} lies in partition {partition}")
            late += at < newest.get(name, 0)
            newest[name] = max(newest.get(name, 0), at)
            named[name, _what(name, at, value)] += 1
    found = Counter(what for _, what in named)
    if twice := [one for one, times in named.items() if times > 1]:
        raise Violation(f"counted twice: {twice[0]}")
    if strange := found.keys() - world.expected:
        raise Violation(f"none of ours: {next(iter(strange))}")
    if lost := world.expected - world.gone - found.keys():
        raise Violation(f"lost: {len(lost)}, the first of them {min(lost)}")
    both = sum(times > 1 for times in found.values())
    world.happened["counted under both names"] += both
    if both and "settings changed" not in faults and not set(ABRUPT) & set(faults):
        raise Violation(f"counted under both names although all ended in order: {both}")
    if late and not set(OUT_OF_ORDER) & set(faults):
        raise Violation(f"out of order: {late}")


def _what(name: str, at: int, value: float) -> Observation:
    metric, labels = labels_of(name)
    host = labels.get("host")
    if host is None:
        metric, _, host = name.partition("@")
    return metric, host, at, value
