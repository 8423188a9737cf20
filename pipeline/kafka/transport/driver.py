"""A Faust transport that delivers one event per partition and poll, holding all records of it.

    broker ──▶ aiokafka's fetcher ──▶ poll ──▶ one RecordBatch per open partition ──▶ Faust's conductor ──▶ agent
               (a thread of its own:            │
                heartbeats go on whatever       only if the partition is open and has room, and the worker
                the event loop does)            holds fewer than `worker.buffer_bytes`

A subclass of Faust's aiokafka driver under its own URL scheme. Faust keeps what it is good at: the consumer group, its
rebalances, topics, agents. What it would get wrong per record is replaced:

- *Flow.* A partition delivers nothing until `Consumer.open` gave it an offset, and nothing after `Consumer.close_all`. Faust's
  own seek to the committed offsets, which runs after a rebalance, does nothing here.
- *Acknowledgement.* Faust's books of acknowledged offsets and gaps are not kept. `Consumer.commit` commits what
  `committable` says: what the partitions' loops have in the store (faust-streaming issue 606 cannot happen).
- *Memory.* A partition holds what is being worked on and about `max_poll_records` that wait, all together `buffer_bytes`, counted
  as they are in memory; what is packed is unpacked batch by batch, each as far as `pipeline.kafka.unpacking.MOST`.

Faust 0.15.3 and aiokafka 0.12 to 0.14; methods of both that are private are used here and in `pipeline.kafka.transport.fetching` only.
"""

# ruff: noqa: SLF001  this module replaces parts of Faust and reads aiokafka's fetcher: that is its purpose

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import aiokafka
import numpy as np
import structlog
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    CorruptRecordException,
    IllegalStateError,
    KafkaError,
    OffsetOutOfRangeError,
)
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode.threads import WorkerThread

from pipeline.errors import BrokerError
from pipeline.kafka.clients import aiokafka_consumer, broker_error
from pipeline.kafka.transport.fetching import Columns, begun, fetch_again, held, take
from pipeline.kafka.transport.membership import FencedInstanceId, name_instance
from pipeline.settings import Settings
from pipeline.steps.batches import RecordBatch, Standing

log = structlog.get_logger(__name__)

SCHEME = "tidewatch"
_RECORD_OVERHEAD = 100  # bytes that a record costs beside its key and value: two objects and their places in lists
_FETCH_WAIT = 0.05  # s; a fetch in flight holds up what was emptied meanwhile: aiokafka has one per broker
_POLL_WAIT = 1.0
_PACE = (
    0.01  # s between fetches that bring few records each: at 10,000/s, a third of the CPU time that it takes without
)
_LARGE = 2_000  # records that are not few
_HOLD_UP = 0.02  # s that records which wait for their turn may hold up the fetches of their broker's other partitions
_ATTEMPTS = 5
_READ_WITHIN = 3.0
_FETCHES = 5  # of a damaged batch: what was damaged on its way is whole the next time
_NOTHING_YET = "nothing processed yet"
"""Note beside an offset that was committed only to confirm the membership: no state was ever stored of it."""
_SMALLEST_FETCH = 64 << 10
_LARGEST_FETCH = 1 << 20


@dataclass(slots=True, eq=False)
class Lane:
    """An open partition: where its next batch starts and what it holds. One for each time it is assigned."""

    tp: TP
    next_offset: int
    """Where the next fetch takes up."""
    delivered: int
    """Where the last batch ended; behind `next_offset` only where records expired in between."""
    held: deque[tuple[int, int]] = field(default_factory=deque)
    """Records and bytes of each batch in memory, oldest first. Kafka's thread appends, the app's takes off."""
    damaged: int = 0
    """How often what was fetched from `next_offset` on was not what was written."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """The key of an event: which lane it belongs to, and the offset up to which that one has delivered before."""

    lane: Lane
    follows: int


class _Thread(WorkerThread):
    """A thread that cannot keep a process alive whose stop went wrong, and does not print what the app tells."""

    def __init__(self, service: Any, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True

    def run(self) -> None:
        """Run; an error has reached the app by `crash`."""
        with suppress(Exception):
            super().run()


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The side of the consumer that lives in Kafka's thread."""

    Worker = _Thread
    logger = logging.getLogger("faust")  # where a crash is logged with its traceback by each service it passes

    def __post_init__(self) -> None:
        super().__post_init__()
        self.lanes: dict[TP, Lane] = {}
        self.epoch = 0
        self._gate = threading.Lock()
        self._room: asyncio.Event | None = None
        self._fetch_timer: asyncio.TimerHandle | None = None
        self._resetting: set[asyncio.Task[None]] = set()

    @property
    def held(self) -> int:
        """Bytes of the batches in memory."""
        return sum(size for lane in list(self.lanes.values()) for _, size in list(lane.held))

    @property
    def unpacked(self) -> int:
        """Bytes of batches that lie unpacked until there is room for their next records."""
        consumer = self._consumer
        return 0 if consumer is None else sum(map(held, list(consumer._fetcher._records.values())))

    @property
    def settings(self) -> Settings:
        """Of the worker that the app was made for."""
        return cast("Settings", self.app.settings)  # type: ignore[attr-defined]

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        worker, kafka = self.settings.worker, self.settings.kafka
        self._assignor = RoundRobinPartitionAssignor
        session = worker.session_timeout.total_seconds()
        return aiokafka_consumer(
            kafka,
            group_id=worker.group,
            group_instance_id=worker.instance_id or None,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="none",  # where to start is in the store, never guessed
            isolation_level="read_committed",  # what a producer took back was never observed
            max_partition_fetch_bytes=_LARGEST_FETCH,
            fetch_max_bytes=max(self.settings.worker.buffer_bytes // 2, _SMALLEST_FETCH),
            fetch_max_wait_ms=int(_FETCH_WAIT * 1000),
            request_timeout_ms=int(max(40.0, session) * 1000),
            session_timeout_ms=int(session * 1000),
            heartbeat_interval_ms=int(min(3.0, session / 4) * 1000),
            rebalance_timeout_ms=60_000,
            max_poll_interval_ms=2**31 - 1,  # a worker that waits for its store keeps its partitions
            metadata_max_age_ms=60_000,
        )

    async def on_start(self) -> None:
        """Start the client."""
        self._room = asyncio.Event()
        await super().on_start()
        consumer = self._ensure_consumer()
        consumer._fetcher._prefetch_backoff = _HOLD_UP
        if instance_id := self.settings.worker.instance_id:
            name_instance(consumer, instance_id, self._fenced)

    async def stop(self) -> None:
        """Also a thread that has only just been told to start must end; Mode would leave it running."""
        while self._thread is not None and self._thread.is_alive() and not self._started.is_set():
            await asyncio.sleep(0.01)
        await super().stop()

    def _fenced(self) -> None:
        worker = self.settings.worker
        msg = (
            f"another worker of group {worker.group} has started with the same worker.instance_id, {worker.instance_id}, and has taken "
            "this one's place: give each worker a name of its own (TIDEWATCH_WORKER__INSTANCE_ID), or none"
        )
        cast("Consumer", self.consumer).fail(BrokerError(msg))

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:
        """Mode prints a traceback here; the app tells the reason once."""

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Nothing is fetched until a lane is opened; how much at a time depends on how many there are."""
        consumer = self._ensure_consumer()
        with self._telling():
            consumer.pause(*map(driver.ensure_aiokafka_TP, assigned))
            share = self.settings.worker.buffer_bytes // 2 // max(len(assigned), 1)
            consumer._fetcher._max_partition_fetch_bytes = min(max(share, _SMALLEST_FETCH), _LARGEST_FETCH)
            await super().on_partitions_assigned(assigned, generation_id)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """The group waits until the agents have let go."""
        with self._telling():
            await super().on_partitions_revoked(revoked)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """An error in here would be swallowed by aiokafka, and the partitions would stand still."""
        try:
            yield
        except Exception as error:
            cast("Consumer", self.consumer).fail(error)

    # Called from the app's thread

    async def call(self, coroutine: Any) -> Any:
        """Run a coroutine in this thread and wait for it; cancelling the wait cancels it."""
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self.thread_loop)
        return await asyncio.wrap_future(future)

    def has_room(self) -> None:
        """Tell a waiting poll that a batch was finished or a lane opened."""
        if self._room is not None:
            self.thread_loop.call_soon_threadsafe(self._room.set)

    # Run in this thread

    async def poll(self, timeout: float) -> dict[TP, tuple[Ticket, RecordBatch]]:
        """All records that are there for lanes with room; waits up to `timeout` s for the first."""
        assert self._room is not None
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher
        end = time.monotonic() + timeout
        while not self.should_stop:
            consumer._coordinator.check_errors()  # what it cannot mend itself
            self._room.clear()
            if batches := self._drain(fetcher):
                return batches
            left = end - time.monotonic()
            if left <= 0:
                break
            fetched = fetcher._create_fetch_waiter()
            room = asyncio.ensure_future(self._room.wait())
            try:
                await asyncio.wait([fetched, room], timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if fetched.done():
                    fetched.result()  # the same, while we waited
            finally:
                room.cancel()
                fetched.cancel()
        return {}

    def _drain(self, fetcher: Any) -> dict[TP, tuple[Ticket, RecordBatch]]:
        worker = self.settings.worker
        batches: dict[TP, tuple[Ticket, RecordBatch]] = {}
        for tp in list(fetcher._records):
            lane = self.lanes.get(tp)
            if lane is None or sum(n for n, _ in list(lane.held)) > worker.max_poll_records:
                continue
            most = worker.buffer_bytes // 2
            if self.held >= most:
                break
            if self.held + self.unpacked >= most and not begun(fetcher, tp):  # what lies unpacked goes on first
                continue
            if (batch := self._take(fetcher, lane)) is not None:
                batches[tp] = batch
        return batches

    def _take(self, fetcher: Any, lane: Lane) -> tuple[Ticket, RecordBatch] | None:
        """What the fetcher has of one partition, as columns; None where there is nothing (any more)."""
        taken: Columns | None = None
        try:
            taken = take(
                fetcher,
                driver.ensure_aiokafka_TP(lane.tp),
                self.settings.worker.max_poll_records,
                room=self.settings.worker.buffer_bytes // 4,
                despite_damage=lane.damaged >= _FETCHES,
            )
            lane.damaged = 0
        except CorruptRecordException as error:
            if not lane.damaged:
                log.warning(
                    "damaged batch, fetching it again", topic=lane.tp.topic, partition=lane.tp.partition,
                    offset=lane.next_offset, reason=str(error),
                )  # fmt: skip
            lane.damaged += 1
            return None
        except OffsetOutOfRangeError:
            self._ensure_consumer().pause(driver.ensure_aiokafka_TP(lane.tp))
            reset = asyncio.ensure_future(self._out_of_range(lane))
            self._resetting.add(reset)
            reset.add_done_callback(self._resetting.discard)
            return None
        finally:
            self._fetch_again(fetcher, at_once=taken is None or len(taken) >= _LARGE)
        if taken is None:
            return None
        if taken.start != lane.next_offset:
            msg = (
                f"{lane.tp.topic}[{lane.tp.partition}] was read from offset {taken.start} instead of {lane.next_offset}"
            )
            raise BrokerError(msg)
        ticket = Ticket(lane, lane.delivered)
        missed = lane.next_offset - lane.delivered
        lane.next_offset = lane.delivered = taken.next_offset
        lane.held.append((len(taken), _size(taken)))
        return ticket, RecordBatch(
            lane.tp.topic,
            lane.tp.partition,
            np.array(taken.offsets, np.int64),
            taken.next_offset,
            taken.keys,
            taken.values,
            np.array(taken.timestamps, np.int64),
            missed,
            taken.refused,
        )

    def _fetch_again(self, fetcher: Any, *, at_once: bool) -> None:
        """The next fetch goes at once after many records, else a little later: then it brings more of them."""
        if at_once:
            fetch_again(fetcher)
        elif self._fetch_timer is None:
            self._fetch_timer = self.thread_loop.call_later(_PACE, self._fetch_later, fetcher)

    def _fetch_later(self, fetcher: Any) -> None:
        self._fetch_timer = None
        fetch_again(fetcher)

    async def _out_of_range(self, lane: Lane) -> None:
        """Retention was quicker than we: go on where the log starts now; the next batch says what was missed."""
        try:
            now = await self.standing(lane.tp, lane.next_offset)
            if lane.next_offset > now.end:
                where = f"{lane.tp.topic}[{lane.tp.partition}]"
                msg = f"{where} ends at offset {now.end} and was read up to {lane.next_offset}: Kafka lost records"
                cast("Consumer", self.consumer).fail(BrokerError(msg))
            elif self.lanes.get(lane.tp) is lane:
                lane.next_offset = max(lane.next_offset, now.first)
                self._seek(lane.tp, lane.next_offset)
        except (KafkaError, BrokerError) as error:
            cast("Consumer", self.consumer).fail(error)

    async def open(self, lane: Lane, epoch: int) -> None:
        """Seek and let the records flow. Raises IllegalStateError where the partition is not assigned any more."""
        with self._gate:
            if epoch != self.epoch:
                msg = f"{lane.tp.topic}[{lane.tp.partition}] was taken away before it was opened"
                raise IllegalStateError(msg)
            self._seek(lane.tp, lane.next_offset)
            self.lanes[lane.tp] = lane

    def close_all(self) -> None:
        """Close all lanes, and for good: whoever is about to open one comes too late. Called from the app's thread."""
        with self._gate:
            self.epoch += 1
            self.lanes.clear()

    def _seek(self, tp: TP, offset: int) -> None:
        consumer, tp = self._ensure_consumer(), driver.ensure_aiokafka_TP(tp)
        consumer.seek(tp, offset)
        consumer._fetcher._records.pop(tp, None)  # fetched, or failed, for another position
        consumer.resume(tp)

    async def bounds(self, tp: TP) -> tuple[int, int]:
        """First offset of the log and the one behind its last record."""
        consumer, tp = self._ensure_consumer(), driver.ensure_aiokafka_TP(tp)
        first, end = await consumer.beginning_offsets([tp]), await consumer.end_offsets([tp])
        return int(first[tp]), int(end[tp])

    async def standing(self, tp: TP, offset: int | None) -> Standing:
        """What Kafka says of a partition; a new leader may need a moment until it knows that its log reaches to `offset`."""
        for _ in range(_ATTEMPTS):
            first, end = await self.bounds(tp)
            if offset is None or offset <= end:
                break
            if await self._readable(tp, offset - 1):  # a broker that does not tell where its logs end, such as Tansu
                end = offset
                break
            await asyncio.sleep(1.0)
        client = self._ensure_consumer()._client
        await client.force_metadata_update()  # a follower of the group may not have heard of new partitions
        partitions = len(client.cluster.partitions_for_topic(tp.topic) or ())
        committed, note = await self._committed(tp)
        if committed > end and await self._readable(tp, committed - 1):
            end = committed
        # Whoever confirmed its membership only began there; it has to matter if what it began with is gone meanwhile.
        fresh = committed < 0 or (note == _NOTHING_YET and committed >= first)
        return Standing(first, end, None if fresh else committed, partitions)

    async def _readable(self, tp: TP, offset: int) -> bool:
        """Whether the log holds a record at the offset or behind it: a reader of its own tries."""
        wanted = driver.ensure_aiokafka_TP(tp)
        reader = aiokafka_consumer(self.settings.kafka, group_id=None, auto_offset_reset="none")
        await reader.start()
        try:
            reader.assign([wanted])
            reader.seek(wanted, offset)
            async with asyncio.timeout(_READ_WITHIN):
                return bool((await reader.getone(wanted)).offset >= offset)
        except (OffsetOutOfRangeError, TimeoutError):
            return False
        finally:
            await reader.stop()

    def highwater(self, tp: TP) -> int:
        """The end of a partition's log as the last fetch told it; 0 where none has yet."""
        assigned = self._ensure_consumer()._subscription.subscription.assignment
        state = None if assigned is None else assigned.state_value(tp)
        return 0 if state is None else state.highwater or 0

    async def confirm(self, offsets: Mapping[TP, int | None]) -> bool:
        """Commit offsets (None: what is committed already, else the log's start with a note that nothing was processed yet).

        False where Kafka says `not a member`.

        Without a member id aiokafka would commit as a stranger, which Kafka allows while the group is empty: that confirms
        nothing, so it is answered with False.
        """
        consumer = self._ensure_consumer()
        coordinator = consumer._coordinator
        generation = coordinator.generation
        try:
            given = {tp: await self._known(tp) if offset is None else (offset, "") for tp, offset in offsets.items()}
            if generation < 0 or coordinator.generation != generation:
                return False
            await consumer.commit({driver.ensure_aiokafka_TP(tp): offset for tp, offset in given.items()})
        except (CommitFailedError, IllegalStateError, FencedInstanceId):
            return False
        return bool(coordinator.generation == generation)

    async def _known(self, tp: TP) -> tuple[int, str]:
        committed, note = await self._committed(tp)
        return (committed, note) if committed >= 0 else ((await self.bounds(tp))[0], _NOTHING_YET)

    async def _committed(self, tp: TP) -> tuple[int, str]:
        """The group's offset and the note beside it; -1: none."""
        asked = driver.ensure_aiokafka_TP(tp)
        answer = (await self._ensure_consumer()._coordinator.fetch_committed_offsets([asked])).get(asked)
        return (-1, "") if answer is None else (int(answer.offset), str(answer.metadata or ""))


class Consumer(driver.Consumer):
    """The side of the consumer that lives in the app's thread; what agents and app call."""

    logger = logging.getLogger("faust")
    _thread: ConsumerThread

    committable: Callable[[], Mapping[TP, int]]
    """Answers with the offsets to commit: everything before them is in the store. Set by the agents."""

    on_failure: Callable[[BaseException], None]
    """Told once, when the transport cannot go on. Set by the agents."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._committed: dict[TP, int] = {}
        self.committable = dict
        self.on_failure = lambda error: None

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # For the agents

    @property
    def epoch(self) -> int:
        """Counts the times that all partitions were taken away."""
        return self._thread.epoch

    async def open(self, tp: TP, offset: int, epoch: int) -> Lane:
        """Let a partition's records flow from an offset on.

        Raises
        ------
        IllegalStateError
            It was taken away since `epoch`.
        """
        lane = Lane(tp, offset, offset)
        await self._thread.call(self._thread.open(lane, epoch))
        self._thread.has_room()
        return lane

    def close_all(self) -> None:
        """No partition delivers anything any more."""
        self._thread.close_all()
        self._committed.clear()

    def finished(self, lane: Lane, batches: int = 1) -> None:
        """The oldest batches of a lane were worked on."""
        for _ in range(batches):
            lane.held.popleft()
        self._thread.has_room()

    async def standing(self, tp: TP, offset: int | None) -> Standing:
        """What Kafka says of a partition whose stored offset is `offset` (None: nothing is stored)."""
        try:
            now: Standing = await self._thread.call(self._thread.standing(tp, offset))
        except KafkaError as error:
            raise broker_error(f"ask for the offsets of {tp.topic}[{tp.partition}]", error) from error
        return now

    async def confirm(self, offsets: Mapping[TP, int | None]) -> bool:
        """Commit offsets; False where the group does not count us as their owner."""
        try:
            done: bool = await self._thread.call(self._thread.confirm(offsets))
        except KafkaError as error:
            raise broker_error("commit offsets", error) from error
        if done:
            self._committed.update({tp: offset for tp, offset in offsets.items() if offset is not None})
        return done

    @property
    def held_bytes(self) -> int:
        """Bytes of records in memory, all partitions together, without what aiokafka has prefetched and not unpacked."""
        return self._thread.held + self._thread.unpacked

    def fail(self, error: BaseException) -> None:
        """Report from any thread that the transport cannot go on."""
        self.app.loop.call_soon_threadsafe(self.on_failure, error)

    # For Faust

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """One message per open partition that has records; its key is a Ticket, its value a RecordBatch."""
        batches = await self._thread.call(self._thread.poll(timeout))
        for tp, (ticket, batch) in batches.items():
            yield tp, self._to_message(tp, (ticket, batch))

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        ticket, batch = record
        return ConsumerMessage(
            tp.topic, tp.partition, ticket.follows, 0.0, 0, [], ticket, batch, None, 0, 0, tp,
            generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    async def _drain_messages(self, fetcher: Any) -> None:
        """Faust's fetcher service runs this: poll and hand on, until either is to stop."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                async for _, message in self.getmany(_POLL_WAIT):
                    await self.callback(message)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not self.app.should_stop:
                self.on_failure(error)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what is checkpointed. Faust calls this every `broker_commit_interval`."""
        new = {tp: offset for tp, offset in self.committable().items() if self._committed.get(tp) != offset}
        try:
            return bool(new) and await self.confirm(new)
        except BrokerError as error:
            self.on_failure(error)
            return False

    async def perform_seek(self) -> None:
        """Faust would seek to the committed offsets after each rebalance; lanes are opened at the stored ones."""

    def on_buffer_full(self, tp: TP) -> None:
        """Back-pressure is the lanes' business."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Back-pressure is the lanes' business."""

    def close(self) -> None:
        """Faust closes the client from the wrong thread when a rebalance meets a shutdown; the thread does it itself."""

    async def verify_all_partitions_active(self) -> None:
        """Faust's live-lock detector knows nothing of lanes; liveness is that checkpoints advance."""


class Transport(driver.Transport):
    """The driver: `tidewatch://` in Faust's `broker` setting."""

    Consumer: ClassVar[type[Consumer]] = Consumer
    driver_version = f"tidewatch over aiokafka={aiokafka.__version__}"


def register() -> None:
    """Make the URL scheme known to Faust."""
    TRANSPORTS.aliases[SCHEME] = f"{Transport.__module__}:{Transport.__qualname__}"


def _size(taken: Columns) -> int:
    """About how many bytes of memory the records take."""
    held = sum(map(len, filter(None, taken.values))) + sum(map(len, filter(None, taken.keys)))
    return held + _RECORD_OVERHEAD * len(taken)
