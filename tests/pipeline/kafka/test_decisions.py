"""Who reads the topic of decisions is told all that it held, whoever else reads at the time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from unittest.mock import patch

import pytest

from pipeline.errors import BrokerError
from pipeline.kafka.decisions import DecisionTopic, Line
from pipeline.kafka.publisher import KafkaPublisher
from pipeline.settings import KafkaSettings


class Topic(DecisionTopic):
    """One whose second reading fails; each other one finds what was written until it began."""

    def __init__(self) -> None:
        super().__init__(KafkaSettings(), "decisions")
        self.written: list[Line] = []
        self.readings = 0

    async def _read(self) -> None:
        self.readings += 1
        reading, found = self.readings, self.written[len(self._lines) :]
        await asyncio.sleep(0.02)
        if reading == 2:
            raise TimeoutError
        self._lines += found


def test_who_waits_for_a_reading_that_fails_reads_for_themselves() -> None:
    async def run() -> None:
        topic = Topic()
        first = asyncio.create_task(topic.read())
        await asyncio.sleep(0)
        topic.written.append(Line(b"decision", None))  # the first reading began before it, and cannot know it
        second, third = asyncio.create_task(topic.read()), asyncio.create_task(topic.read())
        await first
        with pytest.raises(BrokerError):
            await second
        assert list(await third) == [Line(b"decision", None)]

    asyncio.run(run())


def test_several_who_ask_at_a_time_are_served_by_one_reading() -> None:
    async def run() -> None:
        topic = Topic()
        topic.written.append(Line(b"decision", None))
        topic.readings = 2  # none fails
        many = await asyncio.gather(*(topic.read() for _ in range(5)))
        assert [list(one) for one in many] == [[Line(b"decision", None)]] * 5
        assert topic.readings == 4  # one for who asked first, one for all who asked while that was going on

    asyncio.run(run())


@pytest.mark.kafka
@pytest.mark.parametrize("stays", [False, True])
async def test_each_reading_finds_what_was_written_before_it(
    kafka: str, new_topic: Callable[..., str], *, stays: bool
) -> None:
    settings = KafkaSettings(brokers=kafka)
    publisher = KafkaPublisher(settings)
    topic = DecisionTopic(settings, new_topic(), stays=stays)
    await publisher.send(topic.name, None, b"first")  # waits until the broker knows the new topic
    told = [b"first"]
    assert [line.body for line in await topic.read()] == told
    for n in range(6):
        if n == 3 and stays:
            kept = topic._consumer
            assert kept is not None
            with patch.object(kept, "topics", side_effect=TimeoutError), pytest.raises(BrokerError):
                await topic.read()  # a connection that is gone is an error once, and another is made
        await asyncio.gather(*(publisher.send(topic.name, None, b"%d %d" % (n, i)) for i in range(n)))
        told += [b"%d %d" % (n, i) for i in range(n)]
        assert [line.body for line in await topic.read()] == told
        assert (topic._consumer is not None) == stays
    await topic.close()
    await publisher.close()
    assert topic._consumer is None
