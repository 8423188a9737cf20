"""Send records to Kafka, keyed by series: idempotent, every delivery report counted, back-pressure when the queue is full."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers.errors import ConnectionFailed, DeliveryError

log = structlog.get_logger(__name__)

_ANY = -1  # the partitioner decides

_SERVE_S = 0.2  # delivery reports are served at least this often while waiting
_FULL_S = 0.005  # pause while the queue is full, or is being flushed


class Publisher:
    """A producer of one topic; a context manager that flushes.

    Parameters
    ----------
    options
        librdkafka's options: `bootstrap.servers`, and TLS or SASL where needed. They win over the ones set here.
    delivery_timeout
        Seconds after which a record that the broker did not take counts as failed.

    Attributes
    ----------
    sent, delivered, failed
        Records handed over; acknowledged by all in-sync replicas; given up.

    Notes
    -----
    The partitioner is `murmur2_random`: the same as the Java clients' and aiokafka's, so that a series lands on one partition
    whoever produces it. librdkafka's own default is another.
    """

    def __init__(self, topic: str, options: Mapping[str, Any], *, delivery_timeout: float = 30.0) -> None:
        self.topic = topic
        self.sent = 0
        self.delivered = 0
        self.failed = 0
        self._first_failure = ""
        self._last_trouble = ""
        self._producer = Producer(
            {
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": "murmur2_random",
                "allow.auto.create.topics": False,
                "linger.ms": 5,
                "batch.size": 1_000_000,
                "queue.buffering.max.messages": 200_000,
                "queue.buffering.max.kbytes": 256 * 1024,
                "compression.type": "lz4",
                "delivery.timeout.ms": int(delivery_timeout * 1000),
                "error_cb": self._on_trouble,
                "logger": _quiet,  # what matters reaches error_cb and the delivery reports
                **options,
            }
        )
        self._brokers = str(options.get("bootstrap.servers", ""))

    def connect(self, timeout: float = 10.0) -> int:
        """The topic's partitions: shows that the broker answers and the topic is there.

        Raises
        ------
        ConnectionFailed
            No broker answers in time, or there is no such topic.
        """
        try:
            known = self._producer.list_topics(self.topic, timeout=timeout).topics[self.topic]
        except KafkaException as error:
            msg = f"no Kafka broker answers at {self._brokers} ({self._last_trouble or _reason(error.args[0])}); is it running?"
            raise ConnectionFailed(msg) from error
        if known.error is not None or not known.partitions:
            why = known.error.str() if known.error is not None else "it has no partitions"
            msg = f"topic {self.topic} at {self._brokers} cannot be used: {why}"
            raise ConnectionFailed(msg)
        return len(known.partitions)

    def send(
        self, keys: Sequence[bytes | None], values: Sequence[bytes], partitions: Sequence[int] | None = None
    ) -> None:
        """Hand records over, in order; waits while the queue is full. Whether they arrive is `flush`'s to say.

        Parameters
        ----------
        partitions
            Where each goes; None: where its key says.

        Raises
        ------
        DeliveryError
            The producer is beyond repair (a fatal error), or a record is larger than allowed.
        """
        produce, report, topic = self._producer.produce, self._on_delivery, self.topic
        if partitions is None:
            partitions = [_ANY] * len(values)
        for key, value, partition in zip(keys, values, partitions, strict=True):
            while True:
                try:
                    produce(topic, value, key, partition, report)
                    break
                except BufferError:
                    self.wait(_FULL_S)
                except KafkaException as error:
                    raise DeliveryError(self._summary(_reason(error.args[0]))) from error
            self.sent += 1
        self._producer.poll(0)

    def wait(self, seconds: float) -> None:
        """Sleep, serving delivery reports meanwhile (a `Clock`'s sleep)."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            # Not poll(left): a Ctrl-C that arrives within it becomes a SystemError (confluent-kafka 2.16).
            time.sleep(min(left, _SERVE_S))
            self._producer.poll(0)

    @property
    def waiting(self) -> int:
        """Records handed over whose fate is not known yet."""
        return max(self.sent - self.delivered - self.failed, 0)  # a Ctrl-C within `send` leaves a record uncounted

    def flush(self, timeout: float = 60.0) -> int:
        """Wait until the fate of every record is known; returns how many were delivered.

        Raises
        ------
        DeliveryError
            Records failed, or are still waiting after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        self._producer.poll(0)
        while len(self._producer) and time.monotonic() < deadline:
            self.wait(_FULL_S)
        if self.failed or self.waiting:
            raise DeliveryError(self._summary(self._first_failure or self._last_trouble or "no answer in time"))
        return self.delivered

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush()
        else:
            self._producer.purge()  # an error is on its way out; what is queued would only hold it up
            self._producer.poll(0)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.delivered += 1
            return
        self.failed += 1
        if not self._first_failure:
            self._first_failure = _reason(error)
            log.warning("not delivered", topic=self.topic, reason=self._first_failure)

    def _on_trouble(self, error: KafkaError) -> None:
        """Connections that fail are tried again by librdkafka; the reason is kept for the error that may follow."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN or not self._last_trouble:  # noqa: SLF001 (its only name)
            self._last_trouble = _reason(error)

    def _summary(self, reason: str) -> str:
        lost = self.failed + self.waiting
        return (
            f"{lost:,} of {self.sent:,} records were not delivered to topic {self.topic} at {self._brokers}: {reason}; "
            "check the broker and replay again"
        )


def _reason(error: KafkaError) -> str:
    """The part of librdkafka's message that is for people."""
    text = str(error.str()).splitlines()[0]
    return text.partition("]: ")[2] or text


_quiet = logging.getLogger("tidewatch.librdkafka")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False
