"""A loop's world in a test's hands."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Sequence
from typing import Any

import numpy as np
from simulation.scenarios import Scenario, scenario
from simulation.worker import IDENTITY

from pipeline.alerts.records import Alert
from pipeline.partition.loop import PartitionLoop
from pipeline.partition.stores.memory import MemoryStore
from pipeline.steps.batches.records import RecordBatch, Standing
from pipeline.steps.scoring import Scorer
from pipeline.steps.stored.pieces import folded


class World:
    """A store, a clock and a broker's acknowledgements in the test's hands."""

    def __init__(self) -> None:
        self.scenario: Scenario = scenario(0)
        self.store: Any = MemoryStore()
        self.now = 0.0
        self.slept: list[float] = []
        self.owner = True
        self.acknowledges = True
        self.asked = 0
        self.sent: list[tuple[bytes | None, asyncio.Future[None]]] = []
        self.topics: list[str] = []
        self.told: dict[str, Alert] = {}
        self.details: list[bytes] = []

    def loop(self, kind: type[PartitionLoop] = PartitionLoop, **options: Any) -> PartitionLoop:
        stream = self.scenario.stream
        options = {"checkpoint_every": 1000.0, "checkpoint_records": 10**9, "identity": IDENTITY} | options
        return kind(
            dataclasses.replace(stream, scorer=Scorer(stream.model)),
            0,
            store=self.store,
            publisher=self,
            still_owner=self.still_owner,
            clock=lambda: self.now,
            sleep=self.sleep,
            open_alerts=self.open_alerts,
            **options,
        )

    async def open_alerts(self) -> dict[str, Alert]:
        return self.told

    def standing(self, committed: int | None = None, *, first: int = 0, partitions: int = 2) -> Standing:
        return Standing(first, self.scenario.partitions[0].end, committed, partitions)

    def offset_after(self, n: int) -> int:
        """Where the next record begins after the first n."""
        return self.records(0, n).next_offset

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> Awaitable[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.acknowledges:
            future.set_result(None)
        self.sent.append((value, future))
        self.topics.append(topic)
        self.details += [text for name, text in headers if name == "tidewatch.error.detail"]
        return future

    async def still_owner(self) -> bool:
        self.asked += 1
        return self.owner

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def idle(self, loop: PartitionLoop) -> None:
        """A second without records, until the store has answered what that led to."""
        await loop.idle()
        while loop.checkpoints.under_way and not loop.checkpoints.has_come_back:
            await asyncio.sleep(0)
        await loop.idle()

    def records(self, first: int, last: int) -> RecordBatch:
        """Records first..last of the log."""
        some = self.scenario.partitions[0].records[first:last]
        return RecordBatch(
            "in",
            0,
            np.array([r.offset for r in some], np.int64),
            some[-1].offset + 1,
            [r.key for r in some],
            [r.value for r in some],
            np.array([r.written for r in some], np.int64),
        )

    def state_after(self, n: int) -> dict[str, bytes]:
        return self.scenario.oracle[0].states[n]

    async def stored(self) -> tuple[int, dict[str, bytes]]:
        held = self.store._hashes["sim", 0]
        return held.offset, folded(held.fields)

    async def is_stored(self, n: int) -> bool:
        offset, fields = await self.stored()
        return self.scenario.partitions[0].count_before(offset) == n and fields == self.state_after(n)
