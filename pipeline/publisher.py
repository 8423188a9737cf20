"""Messages out: alerts, dead letters and scores, in order, acknowledged by all in-sync replicas, none twice by a retry.

One idempotent producer of librdkafka serves all partitions of a worker. `send` never waits: what librdkafka's queue has no
room for stays here, in order. Deliveries are reported by a thread of its own and handed to the event loop in one go.
The loop bounds what is outstanding (`pipeline.loop.MAX_UNACKNOWLEDGED`), so a broker that is away becomes back-pressure.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.errors import BrokerError
from pipeline.kafka_clients import broker_error, librdkafka_config
from pipeline.settings import KafkaSettings

_POLL = 0.1
_RETRY = 0.01

Headers = Sequence[tuple[str, bytes]]
_Waiting = tuple["asyncio.Future[None]", str, bytes | None, bytes | None, Headers]


class KafkaPublisher:
    """`pipeline.loop.Publisher` over a real producer. Made and used on one event loop; `close` it.

    Parameters
    ----------
    linger
        Seconds that a message may wait for company on its way to the broker.
    queue
        Messages that librdkafka may hold; more of them wait here.
    """

    def __init__(self, kafka: KafkaSettings, *, linger: float = 0.005, queue: int = 200_000) -> None:
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(
            librdkafka_config(kafka)
            | {
                "enable.idempotence": True,  # implies acks=all, order kept over retries
                "partitioner": "murmur2_random",  # as the Java client and aiokafka hash
                "linger.ms": linger * 1000,
                "compression.type": "lz4",
                "message.timeout.ms": 0,  # a broker that is away is waited for, however long; the loop's bound stops the intake
                "queue.buffering.max.messages": queue,
                "error_cb": self._on_error,
            }
        )
        self._waiting: deque[_Waiting] = deque()
        self._reported: deque[tuple[asyncio.Future[None], BrokerError | None]] = deque()
        self._fatal: BrokerError | None = None
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self._poller.start()

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()) -> Awaitable[None]:
        """Hand a message over, in order; the awaitable ends when the broker has acknowledged it, or raises BrokerError."""
        sent = self._loop.create_future()
        sent.add_done_callback(_seen)  # whoever does not await it (a dropped partition) does not care
        waiting = (sent, topic, key, value, headers)
        if self._waiting or not self._produce(waiting):
            self._waiting.append(waiting)
            if len(self._waiting) == 1:
                self._loop.call_later(_RETRY, self._drain)
        return sent

    async def close(self, *, timeout: float = 5.0) -> None:
        """Wait up to `timeout` s until all is acknowledged, then give the connection back."""
        end = self._loop.time() + timeout
        while (self._waiting or len(self._producer)) and self._loop.time() < end and self._fatal is None:
            await asyncio.sleep(_RETRY)
        self._closing.set()
        await asyncio.to_thread(self._poller.join)
        self._producer.purge()
        self._producer.flush(0)
        self._deliver()

    def _produce(self, waiting: _Waiting) -> bool:
        """Give one message to librdkafka; False where its queue has no room now."""
        sent, topic, key, value, headers = waiting

        def reported(error: KafkaError | None, _: Message) -> None:
            self._reported.append(
                (sent, None if error is None else broker_error(f"publish to {topic}", KafkaException(error)))
            )

        try:
            self._producer.produce(topic, value, key, headers=list(headers), on_delivery=reported)
        except BufferError:
            return False
        except KafkaException as error:  # too large, or the producer is dead for good
            sent.set_exception(self._fatal or broker_error(f"publish to {topic}", error))
        return True

    def _drain(self) -> None:
        while self._waiting:
            if not self._waiting[0][0].cancelled() and not self._produce(self._waiting[0]):
                self._loop.call_later(_RETRY, self._drain)
                return
            self._waiting.popleft()

    def _poll(self) -> None:
        """The thread: serve delivery reports as they come."""
        while not self._closing.is_set():
            if self._producer.poll(_POLL):
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        while self._reported:
            sent, error = self._reported.popleft()
            if sent.done():
                continue
            if error is None:
                sent.set_result(None)
            else:
                sent.set_exception(error)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = broker_error("publish", KafkaException(error))


def _seen(sent: asyncio.Future[None]) -> None:
    if not sent.cancelled():
        sent.exception()
