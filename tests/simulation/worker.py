"""A worker in its smallest form: a member of the group with one task per partition, as the Faust side has around the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from simulation.world import REBALANCE_TIMEOUT, SESSION_TIMEOUT, Broker, JournalClient, PublisherClient, StoreClient

from pipeline.alerts.records import Alert
from pipeline.errors import Dropped, StoreError
from pipeline.partition.deciding.carrying import shape_of
from pipeline.partition.deciding.decisions import Decisions
from pipeline.partition.deciding.listing import Listing
from pipeline.partition.deciding.what import Decision, SettingsOf
from pipeline.partition.loop import PartitionLoop
from pipeline.partition.stores.base import Identity
from pipeline.partition.stream import Stream
from pipeline.partition.streams import Streams, content_id, decided
from pipeline.steps.state import FORMAT

IDENTITY = Identity(cluster_id="c", topic_id="t", stream="sim", numerics="virtual", format=FORMAT)

SURE_FOR = min(SESSION_TIMEOUT, REBALANCE_TIMEOUT) / 2
"""Virtual seconds after a commit that the group took for which it has given no partition away."""


class Worker:
    """What the Faust side does around `PartitionLoop`, in the smallest form: a member of the group, a task per partition."""

    def __init__(
        self,
        number: int,
        *,
        stream: Stream,
        broker: Broker,
        store: StoreClient,
        publisher: PublisherClient,
        kind: type[PartitionLoop],
        asked_to_stop: Callable[[], bool],
        open_alerts: Callable[[int], Awaitable[Mapping[str, Alert]]],
        rebuild_records: int,
        streams: Streams,
        decisions: type[Decisions],
        wall: Callable[[], float],
    ) -> None:
        self._name = f"w{number}"
        self._stream = stream
        self._broker = broker
        self._loop = broker.network.loop
        self._store = store
        self._publisher = publisher
        self._kind = kind
        self._asked_to_stop = asked_to_stop
        self._open_alerts = open_alerts
        self._rebuild_records = rebuild_records
        self._streams = streams
        self._decisions = decisions
        self._wall = wall
        self._listing = Listing("sim", store, JournalClient(broker, publisher).read, of_log="t")
        self._ending = False
        self._confirmed_at = -SURE_FOR

    async def main(self) -> None:
        """Propose the settings, join, work, hand over, rejoin; until asked to stop."""
        self._loop.create_task(self._watch_decisions())
        while not self._asked_to_stop():
            generation, partitions = await self._broker.join(self._name)
            loops = [self._partition(p, generation) for p in partitions]
            tasks = [self._loop.create_task(self._work(p, generation)) for p in loops]
            await self._member(generation, tasks)
            await self._hand_over(loops, tasks)
        await self._broker.leave(self._name)

    async def _watch_decisions(self) -> None:
        """Propose what the settings file says, and look what others decide."""
        own = self._streams.own
        settings = decided(own.settings)
        what = SettingsOf(settings, own.model.hash, shape_of(own))
        proposed = False
        while True:
            try:
                if not proposed:
                    await self._listing.fill_up()
                    await self._listing.propose(Decision(content_id(settings, own.model.hash), what, self._name, ""))
                    proposed = True
                await self._listing.look()
            except StoreError:
                pass  # it is away: asked again, until it is back
            await asyncio.sleep(1.0)

    def _partition(self, partition: int, generation: int) -> PartitionLoop:
        async def still_owner() -> bool:
            return await self._commit(generation, partition, None)

        records = self._loop.random.choice((5, 20, 200))
        return self._kind(
            self._stream,
            partition,
            store=self._store,
            publisher=self._publisher,
            still_owner=still_owner,
            surely_owner=lambda: self._loop.time() - self._confirmed_at < SURE_FOR,
            identity=IDENTITY,
            clock=self._loop.time,
            wall=self._wall,
            sleep=asyncio.sleep,
            checkpoint_every=2.0,
            checkpoint_records=records,
            generation=generation,
            open_alerts=partial(self._open_alerts, partition),
            log_ends=self._broker.log_ends,
            end_of_log=partial(self._broker.end_of_log, partition),
            rebuild_records=self._rebuild_records,
            decisions=self._decisions(
                "sim",
                partition,
                log="t",
                listed=self._listing,
                journal=JournalClient(self._broker, self._publisher, partition),
                still_owner=still_owner,
                records=records,
            ),
            streams=self._streams,
        )

    async def _member(self, generation: int, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Heartbeats, until the group or a partition says otherwise."""
        while not self._asked_to_stop():
            if not await self._broker.heartbeat(self._name, generation):
                return
            await asyncio.sleep(1.0)
            if any(t.done() for t in tasks):
                return

    async def _work(self, partition: PartitionLoop, generation: int) -> None:
        await partition.assigned()
        standing = await self._broker.standing(partition.partition)
        offset = await partition.begin(standing)
        committed = max(partition.checkpointed, -1 if standing.committed is None else standing.committed)
        if not await self._commit(generation, partition.partition, committed):
            return
        while not self._ending:
            limit = self._loop.random.choice((1, 2, 7, 30))
            records = await self._broker.fetch(partition.partition, max(partition.position, offset), limit)
            if len(records) or records.next_offset > partition.position:
                await partition.batch(records)
            else:
                await asyncio.sleep(0.5)
                await partition.idle()
            if partition.checkpointed > committed:
                committed = partition.checkpointed
                await self._commit(generation, partition.partition, committed)

    async def _commit(self, generation: int, partition: int, offset: int | None) -> bool:
        began = self._loop.time()
        taken = await self._broker.commit(self._name, generation, partition, offset)
        if taken:
            self._confirmed_at = began
        return taken

    async def _hand_over(self, loops: Sequence[PartitionLoop], tasks: Sequence[asyncio.Task[None]]) -> None:
        """End the partitions' tasks after some patience, then let each be handed over in a limited time."""
        self._ending = True
        chance = self._loop.random
        await asyncio.wait(tasks or [self._loop.create_task(asyncio.sleep(0))], timeout=chance.choice((0.0, 0.05, 2.0)))
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(self._revoke(p, chance.choice((0.005, 0.1, 2.0, 10.0))) for p in loops))
        self._ending = False
        for error in ended:
            if isinstance(error, BaseException) and not isinstance(error, (asyncio.CancelledError, Dropped)):
                raise error

    async def _revoke(self, partition: PartitionLoop, limit: float) -> None:
        try:
            async with asyncio.timeout(limit):
                await partition.revoked()
        except TimeoutError:
            pass  # the group does not wait for ever: it goes on without this worker's last checkpoint
