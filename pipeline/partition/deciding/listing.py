"""A stream's list of decisions, as a worker keeps an eye on it: what is newest, what was lost of it, what is added.

The list lies in the store, which may be emptied or go back in time. What partitions have taken stands in the topic of decisions as well, and what
this worker has seen it remembers: with both the list is filled up, so a serial never means two things. A decision that was lost before
any partition took it and any worker saw it is lost; who made it sees that nobody takes it (`--wait`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from pipeline.partition.deciding.decisions import Entry, Taken, decode_decision
from pipeline.partition.deciding.what import Decision, Partitions
from pipeline.partition.stores.base import Register

log = structlog.get_logger(__name__)


class Listing:
    """`pipeline.partition.deciding.decisions.Listed` over a `Register`.

    Parameters
    ----------
    read
        All lines of the stream in the topic of decisions, of whichever partition.
    of_log
        Kafka's id of the input topic. Another deployment on the same cluster may have a stream of this name, whose decisions are not ours.
    stamp
        Who it is that adds what nobody decided, and what time it is, for people.
    """

    def __init__(
        self,
        stream: str,
        register: Register,
        read: Callable[[], Awaitable[Sequence[Entry]]],
        *,
        of_log: str,
        stamp: Callable[[], tuple[str, str]] = lambda: ("", ""),
    ) -> None:
        self._log = of_log
        self._stamp = stamp
        self.newest = 0
        self._stream = stream
        self._register = register
        self._read = read
        self._known: dict[int, Decision] = {}
        self._adding = asyncio.Lock()

    async def look(self) -> None:
        """Ask for the newest serial; called about once a second. Raises StoreError, BrokerError."""
        newest = await self._register.newest_decision(self._stream)
        if newest < self.newest:
            log.warning(
                "the list of decisions went back in time, filled up", stream=self._stream, had=self.newest, has=newest
            )
            await self.fill_up()
        else:
            self.newest = newest

    async def fill_up(self) -> None:
        """Give the list back what it lost. Raises StoreError, BrokerError."""
        known = self._known | await self._told()
        if known:
            bodies = {serial: (d.id, msgspec.json.encode(d)) for serial, d in known.items()}
            await self._register.remember(self._stream, bodies)
        self.newest = await self._register.newest_decision(self._stream)

    async def after(self, serial: int) -> Sequence[Decision]:
        """Decisions behind a serial, in order. Raises StoreError."""
        found = []
        for number, body in sorted((await self._register.decisions(self._stream, serial)).items()):
            try:
                decision = decode_decision(body, number)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                log.warning("a decision of a newer version waits", stream=self._stream, serial=number)
                break
            found.append(decision)
            self._known[number] = decision
        return found

    async def propose(self, decision: Decision) -> int:
        """Add a decision; returns its serial, the one that it has where its id is in the list already. Raises StoreError, BrokerError."""
        while True:
            told = await self._told()
            known = max([0, *told, *self._known])
            serial = await self._register.decide(self._stream, decision.id, msgspec.json.encode(decision), known=known)
            other = (self._known | await self._told()).get(serial)
            if other is None or other.id == decision.id:
                self.newest = max(self.newest, serial)
                return serial
            # The list lost its end meanwhile, and its next serial was one that a partition knows as something else.
            await self.fill_up()
            decision = msgspec.structs.replace(decision, id=f"{decision.id}~")

    async def add_partitions(self, count: int, ends: Callable[[], Awaitable[Sequence[int]]]) -> None:
        """Add that the input topic has so many partitions; nothing where it is in the list.

        Parameters
        ----------
        ends
            Asks where their logs end. Kafka need not know all of them yet; of the others nothing is written so far.

        Raises
        ------
        StoreError, BrokerError
            The store, or Kafka, does not answer.
        """
        async with self._adding:  # a stream's partitions hear of it all at once
            await self.fill_up()
            told = [d.what for d in await self.after(0) if isinstance(d.what, Partitions) and d.what.log == self._log]
            if any(what.count >= count for what in told):
                return
            known = await ends()
            what = Partitions(max(count, len(known)), (*known, *[0] * (count - len(known))), self._log)
            by, at = self._stamp()
            serial = await self.propose(Decision(f"partitions-{self._log}-{what.count}", what, by, at))
            log.info("partitions counted", stream=self._stream, partitions=what.count, serial=serial)

    async def _told(self) -> dict[int, Decision]:
        """What partitions have taken, by serial."""
        return {
            d.serial: d
            for entry in await self._read()
            if isinstance(entry, Taken) and entry.log == self._log
            for d in entry.decisions
        }
