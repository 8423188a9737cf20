"""Dead letters sent: their records to the input topic, or back to where they came from, in order, each acknowledged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.kafka.clients import broker_error, librdkafka_config
from pipeline.operations.dead_letters.letters import Letter
from pipeline.settings import KafkaSettings
from producers.batches import anew

_REPORTED_WITHIN = 0.5  # s
_LARGEST = 64 << 20  # bytes of one record; the topic's own limit is to decide

_quiet = logging.getLogger("librdkafka")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


def send(kafka: KafkaSettings, to: str | None, letters: Sequence[Letter]) -> None:
    """Send records in order, and wait until the broker has acknowledged all.

    Parameters
    ----------
    to
        The input topic. None: each goes back to its own topic and partition, whatever its key: who knows by which hash its producers put it there.

    Raises
    ------
    BrokerError
        Kafka does not answer or refuses one; none that follows it is sent.
    """
    failed: list[tuple[str, KafkaError]] = []
    producer = _producer(kafka)

    def reported(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append((message.topic() or "", error))
            producer.purge(
                in_queue=True, in_flight=True, blocking=False
            )  # what follows waits for its turn in a later run

    try:
        for letter in letters:
            # Where it goes is its key's business, as for every producer; without a key it stays in its partition.
            topic = letter.topic if to is None else to
            stays = to is None or (letter.key is None and letter.topic == to)
            where: dict[str, Any] = {"partition": letter.source_partition} if stays else {}
            headers: list[Any] = letter.sent_headers
            value = letter.value if letter.value is None else anew(letter.value)
            producer.produce(topic, value, letter.key, headers=headers, on_delivery=reported, **where)
            producer.poll(0)
        while len(producer) and not failed:  # not flush: with a fatal error it calls back with an exception under way
            producer.poll(_REPORTED_WITHIN)
    except KafkaException as error:  # fatal after a refusal; the report of that one says more
        with suppress(KafkaException):
            producer.poll(_REPORTED_WITHIN)
        failed.append((to or "the raw topics", error.args[0]))
    if failed:
        producer.purge(in_queue=True, in_flight=True, blocking=False)  # what follows waits for a later run
        topic, refused = failed[0]
        raise broker_error(f"publish to {topic}", KafkaException(refused))


def _producer(kafka: KafkaSettings) -> Producer:
    return Producer(
        librdkafka_config(kafka)
        | {
            "enable.idempotence": True,
            "enable.gapless.guarantee": True,  # after a refused record none that follows it, or it would come too late
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,
            "message.max.bytes": _LARGEST,
            "message.timeout.ms": 60_000,
            "logger": _quiet,
        }
    )
