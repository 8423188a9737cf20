"""What Kafka says of a partition: where its log begins and ends, what the group has committed, and whether it is still ours."""

# ruff: noqa: SLF001  aiokafka tells the note beside an offset, the generation and the end of a log in private places only

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, IllegalStateError, OffsetOutOfRangeError
from faust.transport.drivers.aiokafka import ensure_aiokafka_TP
from faust.types import TP

from pipeline.kafka.clients import aiokafka_consumer
from pipeline.kafka.transport.membership import FencedInstanceId
from pipeline.settings import KafkaSettings
from pipeline.steps.batches.records import Standing

_ATTEMPTS = 5
_READ_WITHIN = 3.0
_NOTHING_YET = "nothing processed yet"
"""Note beside an offset that was committed only to confirm the membership: no state was ever stored of it."""


class Positions:
    """Asks, and commits, as the group's member. Runs in Kafka's thread.

    Parameters
    ----------
    client
        Answers with the group's consumer.
    """

    def __init__(self, client: Callable[[], AIOKafkaConsumer], kafka: KafkaSettings) -> None:
        self._client = client
        self._kafka = kafka

    async def bounds(self, tp: TP) -> tuple[int, int]:
        """First offset of the log and the one behind its last record."""
        consumer, tp = self._client(), ensure_aiokafka_TP(tp)
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
        client = self._client()._client
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
        wanted = ensure_aiokafka_TP(tp)
        reader = aiokafka_consumer(self._kafka, group_id=None, auto_offset_reset="none")
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
        assigned = self._client()._subscription.subscription.assignment
        state = None if assigned is None else assigned.state_value(tp)
        return 0 if state is None else state.highwater or 0

    async def confirm(self, offsets: Mapping[TP, int | None]) -> bool:
        """Commit offsets (None: what is committed already, else the log's start with a note that nothing was processed yet).

        False where Kafka says `not a member`.

        Without a member id aiokafka would commit as a stranger, which Kafka allows while the group is empty: that confirms
        nothing, so it is answered with False.
        """
        consumer = self._client()
        coordinator = consumer._coordinator
        generation = coordinator.generation
        try:
            given = {tp: await self._known(tp) if offset is None else (offset, "") for tp, offset in offsets.items()}
            if generation < 0 or coordinator.generation != generation:
                return False
            await consumer.commit({ensure_aiokafka_TP(tp): offset for tp, offset in given.items()})
        except (CommitFailedError, IllegalStateError, FencedInstanceId):
            return False
        return bool(coordinator.generation == generation)

    async def _known(self, tp: TP) -> tuple[int, str]:
        committed, note = await self._committed(tp)
        return (committed, note) if committed >= 0 else ((await self.bounds(tp))[0], _NOTHING_YET)

    async def _committed(self, tp: TP) -> tuple[int, str]:
        """The group's offset and the note beside it; -1: none."""
        asked = ensure_aiokafka_TP(tp)
        answer = (await self._client()._coordinator.fetch_committed_offsets([asked])).get(asked)
        return (-1, "") if answer is None else (int(answer.offset), str(answer.metadata or ""))
