"""A Faust transport that delivers one event per topic and poll, holding all records of it.

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

Here is what Faust and the agents call, in the app's thread; `thread` and its neighbours do the work. Faust 0.15.3 and aiokafka
0.12 to 0.14: this folder and `pipeline.kafka.record_batches` use private methods of both.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import aiokafka
from aiokafka.errors import KafkaError
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from pipeline.errors import BrokerError
from pipeline.kafka.clients import broker_error
from pipeline.kafka.transport.lanes import Delivery, Lane
from pipeline.kafka.transport.thread import ConsumerThread
from pipeline.steps.batches.records import Standing

SCHEME = "tidewatch"


def steady() -> float:
    """Seconds of a clock that nobody sets; where it can be had, of one that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Consumer(driver.Consumer):
    """The side of the consumer that lives in the app's thread; what agents and app call."""

    logger = logging.getLogger("faust")
    _thread: ConsumerThread

    committable: Callable[[], Mapping[TP, int]]
    """Answers with the offsets to commit: everything before them is in the store. Set by the agents."""

    on_failure: Callable[[BaseException], None]
    """Told once, when the transport cannot go on. Set by the agents."""

    confirmed_at: float
    """When the last commit was asked for that the group took, by `steady`: this worker was a member then."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._committed: dict[TP, int] = {}
        self._came: deque[list[Delivery]] = deque()  # and not handed on; also where Faust's fetcher begins anew
        self._news = asyncio.Event()
        self.committable = dict
        self.on_failure = lambda error: None
        self.confirmed_at = -math.inf

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, fail=self.fail, loop=self.loop, beacon=self.beacon)

    # For the agents

    @property
    def epoch(self) -> int:
        """Counts the times that all partitions were taken away."""
        return self._thread.lanes.epoch

    async def open(self, tp: TP, offset: int, epoch: int) -> Lane:
        """Let a partition's records flow from an offset on.

        Raises
        ------
        IllegalStateError
            It was taken away since `epoch`.
        """
        lane = Lane(tp, offset, offset)
        await self._thread.call(self._thread.poller.open(lane, epoch))
        return lane

    def close_all(self) -> None:
        """No partition delivers anything any more."""
        self._thread.lanes.close_all()
        self._committed.clear()

    def finished(self, lane: Lane, batches: int = 1) -> None:
        """The oldest batches of a lane were worked on."""
        for _ in range(batches):
            lane.held.popleft()
        if self._thread.poller.wants_room or not self._thread.lanes.busy:
            self._thread.finished()

    async def standing(self, tp: TP, offset: int | None) -> Standing:
        """What Kafka says of a partition whose stored offset is `offset` (None: nothing is stored)."""
        try:
            now: Standing = await self._thread.call(self._thread.positions.standing(tp, offset))
        except KafkaError as error:
            raise broker_error(f"ask for the offsets of {tp.topic}[{tp.partition}]", error) from error
        return now

    async def end_of_log(self, tp: TP) -> int:
        """The offset behind the last record, asked anew. Raises BrokerError."""
        try:
            _, end = await self._thread.call(self._thread.positions.bounds(tp))
        except KafkaError as error:
            raise broker_error(f"ask where {tp.topic}[{tp.partition}] ends", error) from error
        return int(end)

    async def confirm(self, offsets: Mapping[TP, int | None]) -> bool:
        """Commit offsets; False where the group does not count us as their owner."""
        began = steady()
        try:
            done: bool = await self._thread.call(self._thread.positions.confirm(offsets))
        except KafkaError as error:
            raise broker_error("commit offsets", error) from error
        if done:
            self.confirmed_at = began
            self._committed.update({tp: offset for tp, offset in offsets.items() if offset is not None})
        return done

    @property
    def held_bytes(self) -> int:
        """Bytes of records in memory, all partitions together, without what aiokafka has prefetched and not unpacked."""
        return self._thread.held

    def fail(self, error: BaseException) -> None:
        """Report from any thread that the transport cannot go on."""
        self.app.loop.call_soon_threadsafe(self.on_failure, error)

    # For Faust

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic, tp.partition, 0, 0.0, 0, [], None, record, None, 0, 0, tp,
            generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    async def _drain_messages(self, fetcher: Any) -> None:
        """Faust's fetcher service runs this: until either is to stop, one message per topic with the batches of all its partitions that have records."""
        thread = self._thread
        polling = asyncio.ensure_future(
            thread.call(thread.poller.run(self._come, lambda: thread.should_stop or fetcher.should_stop))
        )
        polling.add_done_callback(lambda _: self._news.set())
        try:
            while not polling.done():
                self._news.clear()
                while self._came:
                    for message in self._messages(self._came.popleft()):
                        await self.callback(message)
                await self._news.wait()
            polling.result()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not self.app.should_stop:
                self.on_failure(error)
        finally:
            polling.cancel()

    def _come(self, deliveries: list[Delivery]) -> None:
        """Called in Kafka's thread."""
        self._came.append(deliveries)
        self.app.loop.call_soon_threadsafe(self._news.set)

    def _messages(self, deliveries: list[Delivery]) -> Iterator[ConsumerMessage]:
        by_topic: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            by_topic.setdefault(delivery.ticket.lane.tp.topic, []).append(delivery)
        for of_one in by_topic.values():
            yield self._to_message(of_one[0].ticket.lane.tp, of_one)

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
