"""Workers under faults, driven by one seed, held against the oracle.

A seed chooses a scenario, the order of everything and a list of faults. The workers run the real `pipeline.partition.loop` with the
real windows, state, alerts and memory store. While they run, each message and each checkpoint is looked at; when the faults are over,
the workers must come to the end of the log, and what was published and what is stored must be the oracle's.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from msgspec import UNSET
from simulation.naive_oracle import Branch, Oracle, identity_of, undisturbed
from simulation.scenarios import ARRIVAL, PARTITIONS, SCENARIOS, Scenario, name, scenario
from simulation.virtual import PROCESS, WORLD, Process, Stuck, VirtualLoop
from simulation.worker import Worker
from simulation.world import (
    DECISIONS,
    Broker,
    JournalClient,
    Network,
    PublisherClient,
    Redis,
    StoreClient,
    Violation,
    in_time,
    wall_at,
)

from pipeline.alerts.open_alerts import keep_newest
from pipeline.alerts.records import Alert, Message, decode_alert, rfc3339
from pipeline.alerts.selecting.feedback import Feedback
from pipeline.errors import BrokerError, StoreError
from pipeline.partition.core import PartitionCore
from pipeline.partition.deciding.decisions import (
    CLOCKS_APART,
    IN_FORCE,
    Decisions,
    Entry,
    InForce,
    Line,
    Mark,
    Taken,
    Tick,
    decode_entry,
    unpacked,
)
from pipeline.partition.deciding.listing import Listing
from pipeline.partition.deciding.what import Acknowledge, Close, Decision, Forget, Silence, Undo, What
from pipeline.partition.loop import PartitionLoop
from pipeline.partition.stores.base import Claim
from pipeline.partition.stream import Stream, create_stream
from pipeline.partition.streams import Streams
from pipeline.steps.batches.records import Standing
from pipeline.steps.clock.absence import TOGETHER
from pipeline.steps.clock.ticks import LIVE
from pipeline.steps.stored.pieces import folded

WORKERS = 3
FAULTS_UNTIL = ARRIVAL + 10.0
QUIET_UNTIL = ARRIVAL + 45.0
"""Virtual seconds for which a run lasts at least: time goes on when the records have ended."""
SETTLED = 4
"""Seconds for which nothing is left to do, after which a run is over."""
DEADLINE = 300.0
"""Virtual seconds by which all must be done; the faults end at about 60."""
PROCESS_FAULTS = ("crash", "pause", "stop in order")
SERVER_FAULTS = (
    "store away",
    "store slow",
    "answers lost",
    "store full",
    "device slow",
    "broker away",
    "publishing refused",
)
MOMENTS = (
    "store restored",
    "store fails over and back",
    "store emptied",
    "stale claim",
    "rebalance",
    "records expire",
    "partition added",
    "settings file changed",
    "somebody decides",
    "clock set",
)
ALL_DEAD = "all dead, store emptied"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    at: float
    kind: str
    target: int
    length: float
    which: float

    def __str__(self) -> str:
        whom = f" worker {self.target}" if self.kind in PROCESS_FAULTS else ""
        lasting = f" for {self.length:.1f} s" if self.kind not in MOMENTS else ""
        return f"at {self.at:.3f} {self.kind}{whom}{lasting}"


@dataclass(frozen=True)
class Run:
    """All that decides a run."""

    seed: int
    faults: tuple[Fault, ...]
    records: int | None = None
    """Only the first so many records of each partition (a shorter trace); None: all."""
    partitions: int = PARTITIONS


@dataclass
class Outcome:
    """What became of a run."""

    problem: str | None
    trace: list[str]
    seconds: float
    happened: Counter[str] = field(default_factory=Counter)
    in_force: dict[int, InForce] = field(default_factory=dict)
    """What is in the store in the end, by partition."""


@dataclass(frozen=True)
class Parts:
    """What a test replaces in order to see the simulation say no."""

    loop: type[PartitionLoop] = PartitionLoop
    store: type[StoreClient] = StoreClient
    decisions: type[Decisions] = Decisions
    prepare: Callable[[Redis], None] = lambda _: None


def watched(kind: type[PartitionLoop], simulation: Simulation) -> type[PartitionLoop]:
    """The same loop; the simulation hears of every hole before the loop does anything about it."""

    class Watched(kind):  # type: ignore[misc, valid-type]
        out_until = -1

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.outbox.send = partial(self._watch, self.outbox.send)

        async def begin(self, now: Standing) -> int:
            self.out_until = simulation.begins(self, now)
            offset: int = await super().begin(now)
            if self.checkpoints.claimed and self.checkpointed < self.out_until:
                simulation.fail(
                    f"partition {self.partition}: {self.checkpointed} may be committed, {self.out_until} was"
                )
            return offset

        async def _missed(self, records: int) -> None:
            simulation.misses(self, records)
            await super()._missed(records)

        def _watch(self, send: Callable[[Message], None], message: Message) -> None:
            if self.position < self.out_until:
                simulation.fail(f"partition {self.partition}: published again while history was read back: {message}")
            send(message)

    return Watched


def run_of(seed: int, only: Sequence[str] = ()) -> Run:
    """The run that a seed stands for; with faults of `only` these kinds another one."""
    chance = random.Random(f"faults {seed}")
    # Few kinds in one run, often: what takes three of the same kind would hardly ever meet among all of them.
    every = (*PROCESS_FAULTS, *SERVER_FAULTS, *MOMENTS, ALL_DEAD)
    kinds = only or chance.sample(every, chance.choice((1, 2, 3, 4, len(every))))
    count = chance.choice((0, 1, 2, 3, 5, 8, 12, 16))
    faults = [
        Fault(
            at=round(chance.uniform(0.5, FAULTS_UNTIL), 3),
            kind=chance.choice(kinds),
            target=chance.randrange(WORKERS),
            length=round(chance.choice((0.1, 1.0, 4.0, 9.0, 15.0)) * chance.uniform(0.5, 1.5), 3),
            which=chance.random(),
        )
        for _ in range(count)
    ]
    return Run(seed, tuple(sorted(faults, key=lambda f: f.at)))


def simulate(run: Run, parts: Parts = Parts()) -> Outcome:
    """Run it; `Outcome.problem` is None where every promise held."""
    loop = VirtualLoop(run.seed, 200_000 * run.partitions)
    asyncio.set_event_loop(loop)
    simulation = Simulation(loop, run, parts)
    problem: str | None = None
    try:
        with structlog.testing.capture_logs(processors=[simulation.note]):
            loop.run_until_complete(loop.create_task(simulation.play(), context=WORLD))
    except (Violation, Stuck) as error:
        problem = str(error)
    finally:
        asyncio.set_event_loop(None)
        loop.abandon()
    return Outcome(problem, simulation.network.trace, loop.time(), simulation.happened, simulation.in_force())


class Simulation:
    """One run: the world, its workers, and the eye on both."""

    def __init__(self, loop: VirtualLoop, run: Run, parts: Parts) -> None:
        self.loop = loop
        self.run = run
        self.parts = parts
        self.happened: Counter[str] = Counter()
        self.scenario: Scenario = scenario(run.seed % SCENARIOS, run.records, run.partitions)
        self.network = Network(loop)
        self.redis = Redis(self.network, self._saved)
        parts.prepare(self.redis)
        self.logs = [log.copied() for log in self.scenario.partitions]
        self.broker = Broker(self.network, self.scenario.stream.settings.input_topic, self.logs)
        self.broker.on_message = self._published
        self.kind = watched(parts.loop, self)
        self.rebuild_records = random.Random(f"settings {run.seed}").choice((15, 10**9))
        self.oracles: list[list[tuple[Branch | None, Oracle]]] = [[(None, o)] for o in self.scenario.oracle]
        self.pending: dict[tuple[int, int], Branch] = {}
        self.processes: list[Process | None] = [None] * WORKERS
        self.stopping: set[int] = set()
        self.failure: Violation | None = None
        self._allowed: dict[tuple[str, ...], list[tuple[Message, Branch | None]]] = {}
        self.entries: dict[int, list[Entry]] = defaultdict(list)
        self.taken: dict[int, list[Line]] = defaultdict(list)
        self.wrong = [0.0] * WORKERS  # seconds by which each worker's clock is
        self.own = self._streams(self.scenario.stream)
        self.files = [self.own] * WORKERS
        self._allow()
        self._seen: dict[tuple[str, ...], Message] = {}

    async def play(self) -> None:
        """Start, let the faults come, wait for the end, judge."""
        chance = random.Random(f"starts {self.run.seed}")
        self.broker.start()
        for worker in range(WORKERS):
            self._later(chance.choice((0.0, 0.0, 5.0, 20.0)), lambda w=worker: self._start(w))
        for fault in self.run.faults:
            self._later(fault.at, lambda f=fault: self._befall(f))
        self._back_up()
        still = 0  # a worker that has just started may propose its settings yet
        while (still := still + 1 if self._finished() else 0) < SETTLED:
            if self.failure is not None:
                raise self.failure
            if self.loop.time() > DEADLINE:
                raise Violation(f"no progress: {self._standing()}")
            await asyncio.sleep(1.0)
        for worker in range(WORKERS):
            await self._stop_in_order(worker)
        if self.failure is not None:
            raise self.failure
        self._judge()

    def note(self, _logger: Any, _method: str, event: Any) -> Any:
        """The loop's own log lines belong to the trace."""
        process = PROCESS.get()
        facts = ", ".join(f"{k}={v}" for k, v in event.items() if k not in ("event", "log_level", "stream"))
        self.network.tell(f"{process.name if process else '-'}: {event['event']} ({facts})")
        self.happened[event["event"]] += 1
        return event

    # Faults

    def _later(self, delay: float, what: Callable[[], Any]) -> None:
        self.loop.call_later(delay, what, context=WORLD)

    def _befall(self, fault: Fault) -> None:
        self.network.tell(f"fault: {fault}")
        self.happened[fault.kind] += 1
        process = self.processes[fault.target]
        if fault.kind == "crash" and process is not None:
            process.kill()
            self.processes[fault.target] = None
            self._later(fault.length, lambda: self._start(fault.target))
        elif fault.kind == "pause" and process is not None:
            process.pause()
            self._later(fault.length, lambda: process.go_on(self.loop))
        elif fault.kind == "stop in order":
            operator = Process("operator")
            operator.start(self.loop, self._restart_in_order(fault.target, fault.length))
        elif fault.kind in SERVER_FAULTS:
            self.network.until[fault.kind] = max(self.network.until[fault.kind], self.loop.time() + fault.length)
            self.loop.slow_until = self.network.until["device slow"]
        elif fault.kind == "store restored":
            self.redis.restore(fault.which)
        elif fault.kind == "store fails over and back":
            self.redis.back_up()
            self.redis.restore(fault.which)
            newest = len(self.redis.backups) - 1
            self._later(fault.length, lambda: self.redis.restore_copy(newest))
        elif fault.kind == "store emptied":
            self.redis.empty()
        elif fault.kind == "stale claim":
            self.redis.claim_by_a_ghost("sim", fault.target % self.run.partitions)
        elif fault.kind == "rebalance":
            self.broker.rebalance()
        elif fault.kind == "records expire":
            self.broker.expire(fault.target % self.run.partitions, fault.which)
        elif fault.kind == "partition added" and self.broker.count == self.run.partitions:
            self.broker.add_partition()
            self.oracles.append([(None, self._undisturbed(self.broker.count - 1, None))])
        elif fault.kind == "settings file changed":
            self.files[fault.target] = self._changed(fault.which)
            operator = Process("operator")
            operator.start(self.loop, self._restart_in_order(fault.target, fault.length))
        elif fault.kind == "clock set":
            self.wrong[fault.target] = (fault.which - 0.5) * 86_400
            self._later(fault.length, lambda: self.wrong.__setitem__(fault.target, 0.0))
        elif fault.kind == "somebody decides":
            Process("somebody").start(self.loop, self._decide(fault))
        elif fault.kind == ALL_DEAD:
            for worker, one in enumerate(self.processes):
                if one is not None:
                    one.kill()
                    self.processes[worker] = None
                self._later(fault.length * (1.0 + 0.1 * worker), lambda w=worker: self._start(w))
            self._later(0.3, self.redis.empty)  # what the dead had sent is there by then

    def _changed(self, which: float) -> Streams:
        """A worker's settings as somebody wrote them anew."""
        settings = self.scenario.stream.settings
        threshold = settings.threshold.model_copy(
            update={"level": round(1.0 + 2 * which, 1), "hysteresis": round(2 * which, 1)}
        )
        method = "fixed" if int(which * 100) % 2 else "quantile"
        threshold = threshold.model_copy(update={"method": method})
        alerts = settings.alerts.model_copy(update={"resolve_count": 1 + int(4 * which)})
        # Every third brings another model, which learns first: another window, of a table other detectors.
        stream = self.scenario.stream if int(which * 10_000) % 3 else self.scenario.other
        late = timedelta(minutes=3 * (int(which * 1000) % 2)) if stream.model.kind == "metric" else timedelta(0)
        update = {"threshold": threshold, "alerts": alerts, "probation": int(20 * which), "lateness": late}
        changed = settings.model_copy(update=update)
        return self._streams(create_stream(changed, stream.model, stream.scorer))

    def _streams(self, own: Stream) -> Streams:
        """With the models of old and new settings files at hand."""
        both = {of.model.hash: of for of in (self.scenario.stream, self.scenario.other)}
        return Streams(own, find_model=lambda name, _: both[name].model, scorer=lambda model: both[model.hash].scorer)

    async def _decide(self, fault: Fault) -> None:
        """Somebody at a command line; tries until the store answers."""
        series = name(f"s{int(fault.which * 3)}", fault.target % self.run.partitions)
        kinds: list[What] = [
            Silence("s[0-2]*", 1_000_000 * 60_000 + int(fault.which * 6e6)),
            Acknowledge("*"),
            Close("s*"),
            Forget("s[01]*"),
            Feedback(series, "noise", 0, 0),
            Feedback(series, "normal", 0, 0, strength=fault.which, every="day"),
            Feedback(series, "missed", 0, 0, strength=-fault.which),
            Undo(1 + int(fault.which * 4)),
        ]
        what = kinds[int(fault.which * 1000) % len(kinds)]
        process = PROCESS.get()
        assert process is not None
        journal = JournalClient(self.broker, PublisherClient(self.broker, process))
        listing = Listing("sim", StoreClient(self.redis), journal.read, of_log="t")
        for _ in range(20):
            try:
                serial = await listing.propose(Decision(f"{fault.at}", what, "somebody", ""))
            except StoreError:
                await asyncio.sleep(1.0)
            else:
                self.network.tell(f"somebody decided {serial}: {what}")
                return

    def _back_up(self) -> None:
        if self.loop.time() < FAULTS_UNTIL:
            self.redis.back_up()
            self._later(self.loop.random.uniform(0.5, 5.0), self._back_up)

    # Workers

    def _start(self, number: int) -> None:
        if self.processes[number] is not None:
            return
        process = Process(f"worker {number}")
        self.processes[number] = process
        self.network.tell(f"{process.name} starts")
        worker = Worker(
            number,
            stream=self.scenario.stream,
            broker=self.broker,
            store=self.parts.store(self.redis),
            publisher=PublisherClient(self.broker, process),
            kind=self.kind,
            asked_to_stop=lambda: number in self.stopping,
            open_alerts=partial(self._told, number),
            rebuild_records=self.rebuild_records,
            streams=self.files[number],
            decisions=self.parts.decisions,
            wall=lambda: wall_at(self.loop.time()) / 1000 + self.wrong[number],
        )
        task = process.start(self.loop, worker.main())

        def ended(task: asyncio.Task[None]) -> None:
            """A process that ends by an error is started again; by which errors it may is known."""
            if self.processes[number] is process:
                self.processes[number] = None
            process.kill()
            error = None if task.cancelled() else task.exception()
            if isinstance(error, BrokerError):
                self.happened["producer gave up"] += 1
                self.network.tell(f"{process.name} ends: {error}")
                self._later(1.0, lambda: self._start(number))
            elif error is not None and self.failure is None:
                self.failure = error if isinstance(error, Violation) else Violation(f"{process.name} raised {error!r}")
                self.failure.__cause__ = error

        task.add_done_callback(ended, context=WORLD)

    async def _restart_in_order(self, number: int, after: float) -> None:
        await self._stop_in_order(number)
        await asyncio.sleep(after)
        self._start(number)

    async def _stop_in_order(self, number: int) -> None:
        """SIGTERM, and wait for the end; kill it where that takes too long."""
        process = self.processes[number]
        if process is None:
            return
        self.stopping.add(number)
        until = self.loop.time() + 20.0
        while self.processes[number] is process and self.loop.time() < until:
            await asyncio.sleep(0.2)
        if self.processes[number] is process:
            self.network.tell(f"{process.name} did not stop in time: killed")
            process.kill()
            self.processes[number] = None
        self.stopping.discard(number)

    # Holes

    def begins(self, loop: PartitionLoop, now: Standing) -> int:
        """A partition was assigned: whether it has a hole behind it, and which run there is from here on, is worked out here too.

        Returns the offset before which nothing may be published again.
        """
        stored, core = loop.position, self._copy_of(loop)
        if stored >= now.first:
            return -1
        if stored < 0 and now.committed is None:
            if now.first:
                fresh = core.state.snapshot(everything=True)
                self._branch(
                    loop.partition,
                    Branch(fresh, now.first, now.first, now.first),
                )
            return -1
        until = max(min(now.committed or 0, now.end), now.first)
        start = now.first if stored >= 0 else max(now.first, until - self.rebuild_records)
        if stored >= 0 or start:
            self.happened["history gone"] += 1
            core.miss(start - max(stored, 0))
            self._await_told(loop, Branch(core.state.snapshot(everything=True), start, until, now.end))
        return until or -1

    def misses(self, loop: PartitionLoop, records: int) -> None:
        """Records expired before a loop that runs had read them."""
        core, rebuild = self._copy_of(loop), loop._rebuild
        if loop.position < 0:
            fresh, first = core.state.snapshot(everything=True), self.logs[loop.partition].first
            self._branch(loop.partition, Branch(fresh, first, first, first))
            return
        core.miss(records)
        state, start = core.state.snapshot(everything=True), loop.position + records
        if rebuild is None:
            self._branch(loop.partition, Branch(state, start, start, start))
        elif rebuild.told is None:
            self._await_told(loop, Branch(state, start, rebuild.until, 1 << 62))
        else:
            held = next(b.held for b, _ in self.oracles[loop.partition] if b is not None and b.told == rebuild.told)
            self._branch(loop.partition, Branch(state, start, rebuild.until, rebuild.end, rebuild.told, held))

    def _copy_of(self, loop: PartitionLoop) -> PartitionCore:
        core = self.own.core(unpacked(loop.core.state.in_force), loop.partition)
        core.state.restore(loop.core.state.snapshot(everything=True))
        return core

    def _await_told(self, loop: PartitionLoop, branch: Branch) -> None:
        process = PROCESS.get()
        assert process is not None
        self.pending[self.processes.index(process), loop.partition] = branch

    async def _told(self, worker: int, partition: int) -> dict[str, Alert]:
        """What the alert topic says of a partition; from this moment on there is a branch of the log."""
        await asyncio.sleep(self.network.delay())
        told: dict[str, Alert] = {}
        messages = self.broker.out[self.scenario.stream.settings.alert_topic]
        for message in messages:
            alert = decode_alert(message.value or b"")
            if alert.evidence.partition == partition:
                keep_newest(told, alert)
        branch = self.pending.pop((worker, partition), None)
        if branch is not None:
            ends = (a.evidence.offset + 1 for a in told.values() if a.evidence.offset < branch.end)
            end = max([branch.until, *ends])
            self._branch(partition, replace(branch, end=end, told=told, held=frozenset(map(identity_of, messages))))
        await asyncio.sleep(self.network.delay())
        return told

    def _branch(self, partition: int, branch: Branch) -> None:
        self.network.tell(
            f"branch of partition {partition}: from {branch.start}, until {branch.until}, end {branch.end}"
        )
        oracle = self._undisturbed(partition, branch)
        self.oracles[partition].append((branch, oracle))
        self._allow()

    def _undisturbed(self, partition: int, branch: Branch | None, known: tuple[Oracle, int] | None = None) -> Oracle:
        stream, log = self.scenario.stream, self.logs[partition]
        return undisturbed(stream, partition, log, branch, known, self.taken[partition], self.own)

    def _told_of(self, entry: Entry | None) -> None:
        """A line of the topic of decisions: what counts is what the last owner took. From there on the partition's run is another."""
        assert isinstance(entry, (Mark, Taken, Tick))
        p = entry.partition
        if not in_time(entry, self.broker.arrived[-1]):
            self.happened["a tick of a wrong clock"] += 1
            return
        self.entries[p].append(entry)
        if isinstance(entry, Mark):
            return
        marks = [e.owner for e in self.entries[p] if isinstance(e, Mark)]
        if isinstance(entry, Tick):
            what, known = f"tick {entry.number}", [t.number for t in self.taken[p] if isinstance(t, Tick)]
            number = entry.number
        else:
            what, known = f"up to {entry.serial}", [t.serial for t in self.taken[p] if isinstance(t, Taken)]
            number = entry.decisions[0].serial
        if not marks or marks[-1] != entry.owner or number <= max(known, default=0):
            self.network.tell(f"taken by a zombie: {what} at {entry.offset} of partition {p}")
            self.happened["taken by a zombie"] += 1
            return
        self.network.tell(f"partition {p} takes {what} at {entry.offset}")
        self.happened["ticks"] += isinstance(entry, Tick)
        if isinstance(entry, Tick) and entry.event_time > self.broker.arrived[-1] + LIVE + CLOCKS_APART:
            self.fail(f"partition {p}: event time was carried ahead of the wall clock, to {entry.event_time}")
        self.taken[p].append(entry)
        same = self.logs[p].count_before(entry.offset)
        said = {
            i
            for _, o in self.oracles[p]
            for m in o.messages[o.published[same] :]
            if (i := identity_of(m)) in self._seen
        }
        self.oracles[p] = [(b, self._undisturbed(p, b, (o, same))) for b, o in self.oracles[p]]
        self._allow()
        for identity in said:
            if self._seen[identity] not in [one for one, _ in self._allowed.get(identity, ())]:
                self.fail(
                    f"partition {p}: what was published already is another from {entry.offset} on, where it takes {what}"
                )

    def _allow(self) -> None:
        self._allowed = defaultdict(list)
        for oracles in self.oracles:
            for branch, oracle in oracles:
                for message in oracle.messages:
                    self._allowed[identity_of(message)].append((message, branch))

    # The eye

    def _published(self, message: Message) -> None:
        if message.topic == DECISIONS:
            self._told_of(decode_entry(message.value or b""))
            return
        identity = identity_of(message)
        self._seen.setdefault(identity, message)
        allowed = [branch for one, branch in self._allowed.get(identity, ()) if one == message]
        if not allowed:
            expected = [one for one, _ in self._allowed.get(identity, ())]
            self.fail(f"a message of no undisturbed run was published: {message} instead of {expected}")
        elif all(branch is not None and identity in branch.held for branch in allowed):
            self.fail(f"what the alert topic held already was published again, otherwise: {message}")

    def _saved(self, claim: Claim, offset: int, fields: Mapping[str, bytes]) -> None:
        p = claim.partition
        n = self.logs[p].count_before(offset)
        of = self._oracles_of(p, offset, fields)
        if not of:
            self.fail(f"partition {p}: what is stored at offset {offset} is not the state of {n} records")
            return
        missing = min((self._missing(oracle, n) for _, oracle in of), key=len)
        if missing:
            self.fail(f"partition {p}: offset {offset} is stored, but {missing[0]} is not published")

    def _oracles_of(
        self, partition: int, offset: int, fields: Mapping[str, bytes]
    ) -> list[tuple[Branch | None, Oracle]]:
        """Those that have this state at this offset, the last branch first."""
        n, fields = self.logs[partition].count_before(offset), folded(fields)
        return [(b, o) for b, o in reversed(self.oracles[partition]) if fields in (o.states[n], *o.taken.get(n, ()))]

    def _missing(self, oracle: Oracle, n: int) -> list[tuple[str, ...]]:
        """What the first n records lead to and nobody has published."""
        return [i for m in oracle.messages[: oracle.published[n]] if (i := identity_of(m)) not in self._seen]

    def fail(self, text: str) -> None:
        """A promise was broken; the run ends soon."""
        if self.failure is None:
            self.network.tell(f"VIOLATION: {text}")
            self.failure = Violation(text)

    def _stored(self) -> list[int]:
        hashes = self.redis.store._hashes
        return [hashes["sim", p].offset if ("sim", p) in hashes else -1 for p in range(self.run.partitions)]

    def in_force(self) -> dict[int, InForce]:
        """What is in force in each partition, as the store has it."""
        hashes = self.redis.store._hashes
        return {
            p: unpacked(hashes["sim", p].fields.get(IN_FORCE))
            for p in range(self.run.partitions)
            if ("sim", p) in hashes
        }

    def _finished(self) -> bool:
        if self.loop.time() < 1.0 + max((f.at + f.length for f in self.run.faults), default=0.0):
            return False
        if self.loop.time() < QUIET_UNTIL:
            return False
        ends = [log.records[-1].offset + 1 for log in self.logs[: self.run.partitions]]
        newest = self.redis.store._lists["sim"].last if "sim" in self.redis.store._lists else 1 << 62
        newest = max(
            [newest, *(t.serial for taken in self.taken.values() for t in taken if isinstance(t, Taken))]
        )  # the list may have gone back in time
        if any(h.serial < newest or h.growth.count != self.broker.count for h in self.in_force().values()):
            return False
        return all(stored >= end for stored, end in zip(self._stored(), ends, strict=True))

    def _standing(self) -> str:
        ends = [log.end for log in self.logs]
        told = [held.growth for held in self.in_force().values()]
        return (
            f"stored offsets {self._stored()}, the logs end at {ends}; {self.broker.count} partitions, told were {told}"
        )

    def _judge(self) -> None:
        """What the undisturbed run leads to was published, in its order, and the state is its state."""
        self._judge_decisions()
        for p in range(self.run.partitions):
            stored = self.redis.store._hashes["sim", p]
            n = self.logs[p].count_before(stored.offset)
            found = self._oracles_of(p, stored.offset, stored.fields)
            if not found:
                raise Violation(f"partition {p}: the final state is another")
            branch, oracle = found[0]
            if missing := self._missing(oracle, n):
                raise Violation(f"partition {p}: never published: {missing[0]} and {len(missing) - 1} more")
            if len(self.oracles[p]) == 1:
                self._judge_order(p, oracle.messages[: oracle.published[n]])
                self._judge_sequence(p)
            else:
                self._judge_open(p, branch, oracle, stored.fields)

    def _judge_decisions(self) -> None:
        """All partitions stand at the newest settings that any of them took."""
        newest = max((t.serial for of in self.taken.values() for t in of if isinstance(t, Taken)), default=0)
        for p, held in self.in_force().items():
            if held.serial < newest:
                raise Violation(f"partition {p} stands at decision {held.serial}, another one took {newest}")

    def _judge_order(self, partition: int, messages: list[Message]) -> None:
        wanted = [identity_of(m) for m in messages]
        for topic in {i[0] for i in wanted}:
            mine = {i for i in wanted if i[0] == topic}
            if [i for i in self._seen if i in mine] != [i for i in wanted if i[0] == topic]:
                raise Violation(f"partition {partition}: messages of {topic} first appeared in another order")

    def _judge_sequence(self, partition: int) -> None:
        """Whoever reads the topic and drops repetitions sees each alert's records in the order of their sequence."""
        seen: set[tuple[str, ...]] = set()
        next_of: Counter[str] = Counter()
        for message in self.broker.out[self.scenario.stream.settings.alert_topic]:
            alert, identity = decode_alert(message.value or b""), identity_of(message)
            if alert.evidence.partition != partition or identity in seen:
                continue
            seen.add(identity)
            if alert.sequence != next_of[alert.id]:
                raise Violation(
                    f"partition {partition}: a record out of its turn, {next_of[alert.id]} is next: {alert}"
                )
            next_of[alert.id] += 1

    def _judge_open(self, partition: int, branch: Branch | None, oracle: Oracle, fields: Mapping[str, bytes]) -> None:
        """Whatever the topic says is open is open; but for what a worker that had lost the partition said behind its owner's back."""
        core = self.own.core(unpacked(fields.get(IN_FORCE)), partition)
        core.state.restore(fields)
        newest: dict[str, Alert] = {}
        for message in self.broker.out[self.scenario.stream.settings.alert_topic]:
            alert = decode_alert(message.value or b"")
            known = message in oracle.messages or (branch is not None and identity_of(message) in branch.held)
            if alert.evidence.partition == partition and known:
                keep_newest(newest, alert)
        for series, alert in newest.items():
            row = core.state.row_of(series)
            is_open = row is not None and core.life.active(core.state, row)
            if alert.together is not UNSET:  # of the partition: no series has it
                is_open = rfc3339(core.state.scalars.get(TOGETHER, 0)) == alert.starts_at
            if alert.status != "resolved" and not is_open:
                raise Violation(f"partition {partition}: an alert of {series} stays open for ever: {alert}")


def shortest(run: Run, parts: Parts = Parts(), outcome: Outcome | None = None) -> tuple[Run, Outcome]:
    """The smallest failing run found: faults and records are left out while it still fails. `outcome` is how it failed, if that is known."""
    outcome = simulate(run, parts) if outcome is None else outcome
    assert outcome.problem is not None
    smaller = True
    while smaller:
        smaller = False
        for at in range(len(run.faults)):
            fewer = replace(run, faults=run.faults[:at] + run.faults[at + 1 :])
            tried = simulate(fewer, parts)
            if tried.problem is not None:
                run, outcome, smaller = fewer, tried, True
                break
    for records in (5, 10, 20, 30, 40):
        tried = simulate(replace(run, records=records), parts)
        if tried.problem is not None:
            return replace(run, records=records), tried
    return run, outcome


def report(run: Run, outcome: Outcome) -> str:
    """What to print of a failing run."""
    faults = "\n".join(f"  {f}" for f in run.faults) or "  none"
    some = f", the first {run.records} records of each partition" if run.records is not None else ""
    trace = "\n".join(outcome.trace[-200:])
    return f"seed {run.seed}{some}: {outcome.problem}\nfaults:\n{faults}\ntrace:\n{trace}"
