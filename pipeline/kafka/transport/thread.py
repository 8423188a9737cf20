"""The thread in which the Kafka client lives: how it is made, starts, hears of rebalances, and ends.

Heartbeats go on in it whatever the app's event loop does. What the client is asked for is in `positions`, what it fetches in `polling`.
"""

# ruff: noqa: SLF001  aiokafka has no other place for what is set here

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, cast

import aiokafka
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.threads import WorkerThread

from pipeline.errors import BrokerError
from pipeline.kafka.clients import aiokafka_consumer
from pipeline.kafka.transport.lanes import Lanes
from pipeline.kafka.transport.membership import name_instance
from pipeline.kafka.transport.polling import Poller
from pipeline.kafka.transport.positions import Positions
from pipeline.settings import Settings

FETCH_WAIT = 0.05  # s; a fetch in flight holds up what was emptied meanwhile: aiokafka has one per broker
_HOLD_UP = 0.02  # s that records which wait for their turn may hold up the fetches of their broker's other partitions
_SMALLEST_FETCH = 64 << 10
_LARGEST_FETCH = 1 << 20

REBALANCE_TIMEOUT = 60.0
"""Seconds that the group waits in a rebalance for members that do not say that they are ready."""


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
    """The side of the consumer that lives in Kafka's thread.

    Parameters
    ----------
    fail
        Told, in this thread, when the transport cannot go on.
    """

    Worker = _Thread
    logger = logging.getLogger("faust")  # where a crash is logged with its traceback by each service it passes

    def __init__(self, consumer: Any, *, fail: Callable[[BaseException], None], **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        settings = self.settings
        self.lanes = Lanes()
        self.positions = Positions(self._ensure_consumer, settings.kafka)
        self.poller = Poller(self._ensure_consumer, self.lanes, self.positions, settings.worker, fail)
        self._fail = fail

    @property
    def held(self) -> int:
        """Bytes of records in memory: of batches, and of what lies unpacked."""
        return self.lanes.held + (0 if self._consumer is None else self.poller.unpacked)

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
            fetch_max_wait_ms=int(FETCH_WAIT * 1000),
            request_timeout_ms=int(max(40.0, session) * 1000),
            session_timeout_ms=int(session * 1000),
            heartbeat_interval_ms=int(min(3.0, session / 4) * 1000),
            rebalance_timeout_ms=int(REBALANCE_TIMEOUT * 1000),
            max_poll_interval_ms=2**31 - 1,  # a worker that waits for its store keeps its partitions
            metadata_max_age_ms=60_000,
        )

    async def on_start(self) -> None:
        """Start the client."""
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
        self._fail(BrokerError(msg))

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
            self._fail(error)

    def highwater(self, tp: TP) -> int:
        """The end of a partition's log as the last fetch told it; 0 where none has yet."""
        return self.positions.highwater(tp)

    # Called from the app's thread

    async def call(self, coroutine: Any) -> Any:
        """Run a coroutine in this thread and wait for it; cancelling the wait cancels it."""
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self.thread_loop)
        return await asyncio.wrap_future(future)

    def finished(self) -> None:
        """Tell the poller that a batch was worked on."""
        self.thread_loop.call_soon_threadsafe(self.poller.finished)
