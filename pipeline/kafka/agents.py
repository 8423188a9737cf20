"""Faust's side of the stream: an app whose agents hand each partition's batches to that partition's task.

    assigned ──▶ a task for each partition:   claim and load ──▶ first commit ──▶ open at the stored offset
                                              batch ──▶ batch ──▶ (idle) ──▶ batch ...   one in flight, others not held up
    every second ──▶ commit what the loops have checkpointed, nothing else ever
    revoked  ──▶ finish the batch in flight ──▶ last checkpoint ──▶ last commit ──▶ the group may go on

The work itself is a `PartitionLife`, in production `pipeline.partition.loop.PartitionLoop`, which knows no Faust.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, cast

import faust
import numpy as np
import structlog
from aiokafka.errors import IllegalStateError, KafkaError
from faust.app.base import BootStrategy
from faust.tables.manager import TableManager
from faust.types import TP, Message

from pipeline.errors import Dropped, TidewatchError
from pipeline.kafka.clients import broker_error
from pipeline.kafka.transport.driver import SCHEME, Consumer, register, steady
from pipeline.kafka.transport.lanes import Delivery, Lane
from pipeline.kafka.transport.thread import REBALANCE_TIMEOUT
from pipeline.settings import Settings
from pipeline.steps.batches.binary import concatenated
from pipeline.steps.batches.records import RecordBatch, Standing

log = structlog.get_logger(__name__)

IDLE = 1.0
"""Seconds without records after which a loop may look whether a checkpoint is due."""

COMMIT_EVERY = 1.0
"""Seconds between commits of what is checkpointed, for lag tools."""

BATCH_GRACE = 2.0
"""Seconds that a batch in flight has to finish when its partition is taken away; then it is cut short and done again."""

HANDOVER_GRACE = 2.0
"""Seconds that a last checkpoint and the last commit have, each."""


class PartitionLife(Protocol):
    """What is done with a partition's records; see `pipeline.partition.loop.PartitionLoop`."""

    position: int
    checkpointed: int

    async def assigned(self) -> int | None:
        """Claim and load; the offset that is stored, None where nothing is."""
        ...

    async def begin(self, now: Standing) -> int:
        """Decide where to read on; `checkpointed` is then what may be committed at once, -1: nothing."""
        ...

    async def batch(self, records: RecordBatch) -> None:
        """Process all records of one poll."""
        ...

    async def idle(self) -> None:
        """Nothing came for a while."""
        ...

    async def revoked(self) -> None:
        """Hand over in order."""
        ...


class MakeLife(Protocol):
    """Makes the loop of a partition that was assigned."""

    def __call__(
        self,
        topic: str,
        partition: int,
        *,
        still_owner: Callable[[], Awaitable[bool]],
        surely_owner: Callable[[], bool],
        end_of_log: Callable[[], Awaitable[int]],
        generation: int,
    ) -> PartitionLife:
        """`still_owner` and `end_of_log` ask Kafka: whether the partition is ours, and where its log ends.

        `surely_owner` asks nobody: Kafka said so a short while ago. `generation` is the group's, for information.
        """
        ...


class _Partition:
    """One assigned partition: its task, its lane and the batches that wait for it."""

    def __init__(
        self, tp: TP, consumer: Consumer, fail: Callable[[BaseException], None], most: int, sure_for: float = math.inf
    ) -> None:
        self.tp = tp
        self.lane: Lane | None = None
        self.opened = -1
        self._committed_before = -1
        self.life: PartitionLife
        self._consumer = consumer
        self._epoch = consumer.epoch
        self._fail = fail
        self._most = most
        self._sure_for = sure_for
        self._waiting: deque[Delivery] = deque()
        self._woken: asyncio.Future[bool] | None = None  # whether anything came; while the task waits
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._log = log.bind(topic=tp.topic, partition=tp.partition)

    def start(self, life: PartitionLife) -> None:
        self.life = life
        self._task = asyncio.create_task(self._run(), name=f"{self.tp.topic}[{self.tp.partition}]")

    async def still_owner(self) -> bool:
        """Whether the group takes a commit of ours for this partition: of what is in the store, never less than before."""
        return await self._consumer.confirm({self.tp: self.committable})

    def surely_owner(self) -> bool:
        """Whether the group took a commit of ours so lately that it cannot have given the partition away since."""
        return steady() - self._consumer.confirmed_at <= self._sure_for

    async def end_of_log(self) -> int:
        """The offset behind the last record, asked anew. Raises BrokerError."""
        return await self._consumer.end_of_log(self.tp)

    @property
    def committable(self) -> int | None:
        """What may be committed: everything before it is in the store, or was when somebody committed it; None: nothing is.

        It never falls. Behind a store that went back in time it would say that nobody has published what was published, and decisions would be taken there.
        """
        return max(self.life.checkpointed, self._committed_before) if self.life.checkpointed >= 0 else None

    @property
    def position(self) -> int:
        """The next offset to process; where nothing was processed yet, that at which it was opened."""
        return max(self.life.position, self.opened)

    def end(self) -> int:
        """The end of the log as last heard; the position where nothing was heard yet."""
        return self._consumer.highwater(self.tp) or self.position

    def deliver(self, delivery: Delivery) -> None:
        self._waiting.append(delivery)
        self._wake(True)

    def _wake(self, news: bool) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(news)

    async def stop(self) -> None:
        """End the task, let the loop hand over. Takes at most `BATCH_GRACE + HANDOVER_GRACE` s."""
        assert self._task is not None
        self._stopping = True
        self._wake(True)
        if self.lane is None:  # still claiming, loading or joining: nothing is in flight
            self._task.cancel()
        await asyncio.wait([self._task], timeout=BATCH_GRACE)
        if not self._task.done():
            self._log.warning("batch in flight cut short, the next owner does it again")
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1.0)
        try:
            async with asyncio.timeout(HANDOVER_GRACE):
                await self.life.revoked()
        except TimeoutError:
            self._log.warning("no checkpoint at revocation", reason="the state store does not answer")

    async def _run(self) -> None:
        try:
            if (offset := await self._open()) is not None:
                await self._work(offset)
        except Dropped as dropped:
            self.lane = None  # nothing of it is committed any more; the next rebalance decides
            self._log.warning("partition let go", reason=str(dropped))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # a bug or an error that a restart may mend: nothing may go on as if it were not
            self._fail(error)

    async def _open(self) -> int | None:
        stored = await self.life.assigned()
        standing = await self._consumer.standing(self.tp, stored)
        offset = await self.life.begin(standing)
        self._committed_before = min(-1 if standing.committed is None else standing.committed, standing.end)
        if not await self.still_owner():
            self._log.info("assigned, but not a member any more: waiting for the next rebalance")
            return None
        self.opened = offset
        try:
            self.lane = await self._consumer.open(self.tp, offset, self._epoch)
        except IllegalStateError:
            return None
        self._log.info("partition opened", offset=offset, stored=stored)
        return offset

    async def _work(self, expected: int) -> None:
        assert self.lane is not None
        while not self._stopping:
            if not self._waiting:
                await self._wait()
                continue
            batches = []
            for ticket, batch in self._next():
                if ticket.lane is not self.lane:  # of an assignment before; it was read again since
                    continue
                if ticket.follows != expected:
                    where = f"{batch.topic}[{batch.partition}]"
                    msg = f"{where}: a batch follows offset {ticket.follows}, expected was {expected}"
                    raise RuntimeError(msg)
                expected = batch.next_offset
                batches.append(batch)
            if batches:
                await self.life.batch(joined(batches))
                self._consumer.finished(self.lane, len(batches))

    async def _wait(self) -> None:
        """For the next batch; every `IDLE` s without one the loop has its turn."""
        loop = asyncio.get_running_loop()
        self._woken = loop.create_future()
        idle = loop.call_later(IDLE, self._wake, False)
        try:
            news = await self._woken
        finally:
            idle.cancel()
            self._woken = None
        if not news:
            await self.life.idle()

    def _next(self) -> Iterator[Delivery]:
        """The batch that waits, and what came behind it up to a full one: a loop that falls behind takes larger steps."""
        records = 0
        while self._waiting and (not records or records + len(self._waiting[0].batch) <= self._most):
            if records and self._waiting[0].batch.missed:  # what comes before the hole is a batch of its own
                return
            item = self._waiting.popleft()
            records += len(item.batch)
            yield item


class Partitions:
    """All partitions that are assigned to this worker.

    Parameters
    ----------
    most
        Records that are worked on at a time, about.
    sure_for
        Seconds after a commit that the group took for which it has surely given no partition away: less than its session's time, and a rebalance's.
    """

    def __init__(
        self, make: MakeLife, fail: Callable[[BaseException], None], most: int, sure_for: float = math.inf
    ) -> None:
        self._make = make
        self._fail = fail
        self._most = most
        self._sure_for = sure_for
        self._held: dict[TP, _Partition] = {}
        self._consumer: Consumer | None = None
        self._closed = False
        self._revoking = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def standing(self) -> dict[TP, tuple[int, int]]:
        """Of each open partition: the next offset to process, and the end of its log as last heard."""
        return {tp: (p.position, p.end()) for tp, p in self._held.items() if p.lane is not None}

    def assigned(self, tps: Iterable[TP], consumer: Consumer, generation: int) -> None:
        """Start a task for each; returns at once, and each opens its partition when its state is there."""
        if self._closed:  # a rebalance that ends while the worker does: its consumer is about to go
            return
        self._consumer = consumer
        consumer.committable = self.committable
        consumer.on_failure = self._fail
        for tp in sorted(tps):
            partition = _Partition(tp, consumer, self._fail, self._most, self._sure_for)
            life = self._make(
                tp.topic,
                tp.partition,
                still_owner=partition.still_owner,
                surely_owner=partition.surely_owner,
                end_of_log=partition.end_of_log,
                generation=generation,
            )
            self._held[tp] = partition
            partition.start(life)

    async def revoked(self) -> None:
        """Let go of all: finish, checkpoint, commit. Rebalances are eager, so it is always all of them."""
        async with self._revoking:  # a shutdown may meet a rebalance, and waits for it
            if self._consumer is not None and self._held:
                await self._let_go(self._consumer)

    async def close(self) -> None:
        """Let go of all for good: what is assigned from now on is left to the next owner."""
        self._closed = True
        await self.revoked()

    async def _let_go(self, consumer: Consumer) -> None:
        consumer.close_all()
        held, self._held = self._held, {}
        await asyncio.gather(*(p.stop() for p in held.values()))
        last = {tp: offset for tp, p in held.items() if (offset := p.committable) is not None}
        try:
            async with asyncio.timeout(HANDOVER_GRACE):
                if last:
                    await consumer.confirm(last)
        except (TimeoutError, TidewatchError) as error:  # the offsets that count are in the store
            log.warning("no commit at revocation", reason=str(error) or "Kafka does not answer")

    def deliver(self, delivery: Delivery) -> None:
        """Hand a batch to its partition's task."""
        if (partition := self._held.get(delivery.ticket.lane.tp)) is not None:
            partition.deliver(delivery)

    def committable(self) -> dict[TP, int]:
        """The offsets that may be committed: everything before them is in the store."""
        return {
            tp: offset for tp, p in self._held.items() if p.lane is not None and (offset := p.committable) is not None
        }


def joined(batches: Sequence[RecordBatch]) -> RecordBatch:
    """Batches of one partition that follow each other, as one."""
    first, last = batches[0], batches[-1]
    if first is last:
        return first
    return RecordBatch(
        first.topic,
        first.partition,
        np.concatenate([b.offsets for b in batches]),
        last.next_offset,
        *concatenated([(b.keys, b.values) for b in batches]),
        timestamps=np.concatenate([b.timestamps for b in batches]),
        missed=first.missed,
        refused={offset: refused for b in batches for offset, refused in b.refused.items()},
    )


class PollSchema(faust.Schema[None, Sequence[Delivery]]):
    """Hands an event's value on as it is; Faust's raw codec insists on bytes."""

    def loads_key(self, app: Any, message: Message, **_: Any) -> Any:
        """None: it is of several partitions."""
        return message.key

    def loads_value(self, app: Any, message: Message, **_: Any) -> Any:
        """What was polled, by partition."""
        return message.value


class _Boot(BootStrategy):
    enable_kafka_producer = False  # what goes out goes through `pipeline.kafka.publisher`
    enable_web = False  # Faust's own views serve data to anyone who asks


class _NoTables(TableManager):
    """Faust's waits a second for tables that may be declared yet, before the worker joins its group."""

    async def on_start(self) -> None:
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


class App(faust.App):
    """Faust's app; `create` makes one with an agent for each input topic."""

    BootStrategy = _Boot
    logger = logging.getLogger("faust")
    settings: Settings
    partitions: Partitions
    ended: asyncio.Event
    """Set it to make `serve` stop."""
    failure: BaseException | None = None
    """What ended the app; None where it was asked to."""

    @classmethod
    def create(cls, settings: Settings, topics: Iterable[str], make: MakeLife) -> App:
        """Put an app together; call it on the event loop that it is to run on."""
        register()
        worker = settings.worker
        session = worker.session_timeout.total_seconds()
        app = cls(
            worker.group,
            broker=f"{SCHEME}://",
            autodiscover=False,
            topic_disable_leader=True,  # it would read an idle topic, for which the busy ones' fetches would wait
            topic_allow_declare=False,
            TableManager=_NoTables,
            stream_buffer_maxsize=16,  # counts events; what they hold is bounded by the transport
            stream_wait_empty=False,
            stream_recovery_delay=0.0,
            broker_session_timeout=session,
            broker_request_timeout=max(40.0, session),
            broker_commit_interval=COMMIT_EVERY,
            broker_commit_livelock_soft_timeout=3600.0,
        )
        app.settings = settings
        app.ended = asyncio.Event()
        sure_for = min(session, REBALANCE_TIMEOUT) / 2
        app.partitions = Partitions(make, app.fail, worker.max_poll_records, sure_for)
        for topic in topics:
            app.agent(app.topic(topic, schema=PollSchema()), name=topic)(app.hand_on)
        app.on_partitions_assigned.connect(app.on_assigned, weak=False)
        app.on_partitions_revoked.connect(app.on_revoked, weak=False)
        return app

    async def hand_on(self, stream: Any) -> None:
        """The agent: each event goes to its partition's task; acknowledging is not Faust's business."""
        events: AsyncIterable[Any] = stream.noack().events()
        async for event in events:
            for delivery in event.value:  # in one go: what is to be scored of all partitions is scored together
                self.partitions.deliver(delivery)

    async def on_assigned(self, *args: Any, **_: Any) -> None:
        """Faust's signal, in the order of the rebalances."""
        self.partitions.assigned(args[1], cast("Consumer", self.consumer), self.consumer_generation_id)

    async def on_revoked(self, *_args: Any, **_: Any) -> None:
        """Faust's signal; the group waits until this is done."""
        await self.partitions.revoked()

    def fail(self, error: BaseException) -> None:
        """End the app; the first error told is the one that counts."""
        if self.failure is None:
            self.failure = broker_error("read", error) if isinstance(error, KafkaError) else error
        self.ended.set()

    async def serve(self, *, limit: float = 8.0) -> None:
        """Run until `ended` is set, then stop in order within `limit` s. Raises what made it end, if anything did."""
        running = asyncio.create_task(self._run())
        ended = asyncio.create_task(self.ended.wait())
        try:
            await asyncio.wait([running, ended], return_when=asyncio.FIRST_COMPLETED)
            async with asyncio.timeout(limit):
                await self.stop()
        except TimeoutError:
            log.warning("worker did not stop in order", limit=limit)
        finally:
            for task in (running, ended):
                task.cancel()
            await asyncio.wait([running, ended], timeout=1.0)
        if self.failure is not None:
            raise self.failure

    async def _run(self) -> None:
        try:
            await self.start()
            await self.wait_until_stopped()
        except Exception as error:
            self.fail(error)
        if self.crash_reason is not None and not self.ended.is_set():
            self.fail(self.crash_reason)

    def _create_directories(self) -> None:
        """No tables, no folders."""

    async def on_stop(self) -> None:
        """Checkpoint and commit while the consumer still lives."""
        await self.partitions.close()
        await super().on_stop()
