"""Messages out: alerts, dead letters and scores, in order, acknowledged by all in-sync replicas, none twice by a retry.

One idempotent producer of librdkafka serves all partitions of a worker. `send` never waits: what librdkafka's queue has no
room for stays here, in order. Deliveries are reported by a thread of its own and handed to the event loop in one go.
The loop bounds what is outstanding (`pipeline.partition.outbox.MAX_UNACKNOWLEDGED`), so a broker that is away becomes back-pressure.

A message that is refused (too large for its topic, no right to write) ends the publisher for good: nothing that was sent after
it to the same partition is ever delivered, also where five requests were on their way when it was refused. So a partition of the
alert topic always holds a prefix of what was sent to it, and what a worker sends again after its restart appears in the same order.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.errors import BrokerError
from pipeline.kafka.clients import broker_error, librdkafka_config
from pipeline.settings import KafkaSettings

_POLL = 0.1
_RETRY = 0.01
_LARGEST = 64 << 20  # bytes of one message; the topic's own limit is to decide, and that one is lower
_UNSAID = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)  # noqa: SLF001  public names of librdkafka

# What goes wrong comes back as an error; a fatal one librdkafka would print all the same.
_quiet = logging.getLogger("librdkafka")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False

Headers = Sequence[tuple[str, bytes]]
_Waiting = tuple["asyncio.Future[None]", str, bytes | None, bytes | None, Headers, int]
_ANY = -1  # the partitioner decides


class KafkaPublisher:
    """`pipeline.partition.outbox.Publisher` over a real producer. Made and used on one event loop; `close` it.

    Parameters
    ----------
    linger
        Seconds that a message may wait for company on its way to the broker.
    queue
        Messages that librdkafka may hold; more of them wait here.
    """

    def __init__(self, kafka: KafkaSettings, *, linger: float = 0.0, queue: int = 200_000) -> None:
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(
            librdkafka_config(kafka)
            | {
                "enable.idempotence": True,  # implies acks=all, order kept over retries
                # After a refused message nothing that follows it in its partition is taken. Without this, librdkafka renumbers
                # what is in flight behind it, and delivers that.
                "enable.gapless.guarantee": True,
                "partitioner": "murmur2_random",  # as the Java client and aiokafka hash
                "linger.ms": linger * 1000,
                "compression.type": "lz4",
                "message.timeout.ms": 0,  # a broker that is away is waited for, however long; the loop's bound stops the intake
                "message.max.bytes": _LARGEST,
                "queue.buffering.max.messages": queue,
                "logger": _quiet,
                "error_cb": self._on_error,
            }
        )
        self._waiting: deque[_Waiting] = deque()
        self._reported: deque[tuple[asyncio.Future[None], bool]] = deque()
        self._fatal: BrokerError | None = None
        self._stopping = threading.Lock()  # nothing may slip in between the first refusal and the purge
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self._poller.start()

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = (), *, partition: int = _ANY
    ) -> asyncio.Future[None]:
        """Hand a message over, in order; the future ends when the broker has acknowledged it, or raises BrokerError.

        After the first message that was refused all others end with that one's error, and are not delivered.
        """
        sent = self._loop.create_future()
        sent.add_done_callback(_seen)  # whoever does not await it (a dropped partition) does not care
        waiting = (sent, topic, key, value, headers, partition)
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
        with suppress(KafkaException):  # fatal, and told already; flush would call back with the exception under way
            while self._producer.poll(0):
                pass
        self._deliver()

    def _produce(self, waiting: _Waiting) -> bool:
        """Give one message to librdkafka; False where its queue has no room now."""
        sent, topic, key, value, headers, partition = waiting

        def reported(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._stop(topic, len(message.key() or b"") + len(message), error)
            self._reported.append((sent, error is None))

        with self._stopping:
            try:
                if self._fatal is None:
                    self._producer.produce(topic, value, key, partition, reported, headers=list(headers))
                    return True
            except BufferError:
                return False
            except KafkaException as error:
                refused: KafkaError = error.args[0]
                if refused.fatal() or refused.code() == KafkaError._FATAL:  # noqa: SLF001  its cause is about to be reported
                    return False
        if self._fatal is None:
            self._stop(topic, len(key or b"") + len(value or b""), refused)
        sent.set_exception(self._error())
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
            try:
                served = self._producer.poll(_POLL)
            except (
                KafkaException
            ) as error:  # fatal; the report of the message that it is about comes next, and says more
                with suppress(KafkaException):
                    self._producer.poll(_POLL)
                served = 1
                self._on_error(error.args[0])
            if served:
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        while self._reported:
            sent, delivered = self._reported.popleft()
            if sent.done():
                continue
            if delivered:
                sent.set_result(None)
            else:
                sent.set_exception(self._error())

    def _stop(self, topic: str, size: int, error: KafkaError) -> None:
        """The first refusal is the last word: whatever is queued or in flight fails with it."""
        with self._stopping:
            if self._fatal is None and error.code() not in _UNSAID:
                self._fatal = _refused(topic, size, error)
                self._producer.purge(in_queue=True, in_flight=True, blocking=False)

    def _error(self) -> BrokerError:
        return self._fatal or BrokerError(
            "Kafka: the publisher was closed before the broker had acknowledged everything"
        )

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            with self._stopping:
                self._fatal = self._fatal or broker_error("publish", KafkaException(error))


def _refused(topic: str, size: int, error: KafkaError) -> BrokerError:
    told = broker_error(f"publish to {topic}", KafkaException(error))
    mends = {
        KafkaError.MSG_SIZE_TOO_LARGE: f"a message of {size:,} bytes, or the batch that it was in; raise max.message.bytes of that topic and start again",
        KafkaError.TOPIC_AUTHORIZATION_FAILED: "give the user the right to write it (docs/operations.md)",
        KafkaError.UNKNOWN_TOPIC_OR_PART: "create it (`tidewatch topics create`) and start again",
        KafkaError._UNKNOWN_TOPIC: "create it (`tidewatch topics create`) and start again",  # noqa: SLF001  a public name
    }
    mend = mends.get(error.code())
    return BrokerError(f"{told}: {mend}") if mend else told


def _seen(sent: asyncio.Future[None]) -> None:
    if not sent.cancelled():
        sent.exception()
