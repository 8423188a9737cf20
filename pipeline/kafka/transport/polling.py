"""What was fetched becomes batches: of lanes that are open and have room, while the worker holds little enough in memory.

Nobody asks for batches: they are handed on as they come, and the lanes' room bounds how many wait.
"""

# ruff: noqa: SLF001  what aiokafka has fetched lies in its fetcher, which is private

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException, KafkaError, OffsetOutOfRangeError
from faust.transport.drivers.aiokafka import ensure_aiokafka_TP
from faust.types import TP

from pipeline.errors import BrokerError
from pipeline.kafka.transport.fetching import Columns, begun, fetch_again, held, take
from pipeline.kafka.transport.lanes import Delivery, Lane, Lanes, Ticket
from pipeline.kafka.transport.positions import Positions
from pipeline.settings import WorkerSettings
from pipeline.steps.batches.binary import BinaryColumn
from pipeline.steps.batches.records import RecordBatch

log = structlog.get_logger(__name__)

_RECORD_OVERHEAD = 100  # bytes that a record costs beside its key and value: two objects and their places in lists
_PACE = 0.01  # s that a fetch waits at most for what the last one brought to be worked on
_WAITED = 0.0025  # s after which the answer to a fetch was waited for: no round trip to a broker that has records takes as long
_LOOK = 1.0  # s after which somebody may have asked for the end
_LARGE = 2_000  # records that are not few
_FETCHES = 5  # of a damaged batch: what was damaged on its way is whole the next time


class Poller:
    """Waits for records and takes them out of aiokafka's fetcher. Runs in Kafka's thread.

    Parameters
    ----------
    client
        Answers with the group's consumer.
    fail
        Told when reading cannot go on.

    Attributes
    ----------
    wants_room
        Whether records wait for some batch to be finished.
    """

    def __init__(
        self,
        client: Callable[[], AIOKafkaConsumer],
        lanes: Lanes,
        positions: Positions,
        worker: WorkerSettings,
        fail: Callable[[BaseException], None],
    ) -> None:
        self.wants_room = False
        self._client = client
        self._lanes = lanes
        self._positions = positions
        self._worker = worker
        self._fail = fail
        self._fetcher: Any = None
        self._used_up = False  # whether anything that was fetched was, since the last fetch was told to go
        self._since = 0  # records since then
        self._asked = 0.0  # when that was
        self._waited = False  # whether its answer took longer than a broker that has records needs
        self._look: asyncio.Future[None] | None = None  # ends a wait for records
        self._looks = False  # whether to look for some before the next wait
        self._fetch_timer: asyncio.TimerHandle | None = None
        self._resetting: set[asyncio.Task[None]] = set()

    @property
    def unpacked(self) -> int:
        """Bytes of batches that lie unpacked until there is room for their next records."""
        return sum(map(held, list(self._client()._fetcher._records.values())))

    async def open(self, lane: Lane, epoch: int) -> None:
        """Seek and let the records flow. Raises IllegalStateError where the partition is not assigned any more."""
        self._lanes.open(lane, epoch, self._seek)
        self._look_again()

    def finished(self) -> None:
        """A batch was worked on: the next fetch may go, and what found no room may have some."""
        if self._used_up and not self._lanes.busy:
            self._fetch_now(self._fetcher)
        if self.wants_room:
            self._look_again()

    async def run(self, hand_on: Callable[[list[Delivery]], object], stopping: Callable[[], bool]) -> None:
        """Hand on what comes for lanes with room, all that is there at a time; ends about `_LOOK` s after it is told to.

        Raises
        ------
        KafkaError
            What the client cannot mend itself.
        """
        consumer = self._client()
        fetcher = self._fetcher = consumer._fetcher
        while not stopping():
            consumer._coordinator.check_errors()
            self._looks = False
            batches = self._drain(fetcher)
            if self._used_up:
                self._fetch_on(fetcher)
            if batches:
                hand_on(batches)
                await asyncio.sleep(0)  # others have their turn, however much there is
            else:
                await self._wait(fetcher)

    async def _wait(self, fetcher: Any) -> None:
        """For the next fetch, or room for what lies here."""
        if self._looks:
            return
        fetched = fetcher._create_fetch_waiter()
        self._look = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait([fetched, self._look], timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
            if fetched.done():
                fetched.result()  # what the client cannot mend, while we waited
        finally:
            fetched.cancel()
            self._look = None

    def _look_again(self) -> None:
        self._looks = True
        if self._look is not None and not self._look.done():
            self._look.set_result(None)

    def _drain(self, fetcher: Any) -> list[Delivery]:
        batches: list[Delivery] = []
        self.wants_room, wants = True, False  # true first: whoever finishes a batch from here on says so
        held = self._lanes.held
        for tp in list(fetcher._records):
            lane = self._lanes.get(tp)
            if lane is None:
                continue
            if not self._has_room(fetcher, lane, held):
                wants = True
            elif (taken := self._take(fetcher, lane)) is not None:
                batches.append(_deliver(lane, taken))
                held += lane.held[-1][1]
        self.wants_room = wants
        return batches

    def _has_room(self, fetcher: Any, lane: Lane, held: int) -> bool:
        """Whether the next records of a lane may be unpacked: few of it wait, and memory, of which batches have `held`, has room; what lies unpacked is first."""
        if lane.records > self._worker.max_poll_records:
            return False
        most = self._worker.buffer_bytes // 2
        return held < most and (begun(fetcher, lane.tp) or held + self.unpacked < most)

    def _take(self, fetcher: Any, lane: Lane) -> Columns | None:
        """What the fetcher has of one partition, as columns; None where there is nothing (any more)."""
        taken: Columns | None = None
        try:
            taken = take(
                fetcher,
                ensure_aiokafka_TP(lane.tp),
                self._worker.max_poll_records,
                room=self._worker.buffer_bytes // 4,
                despite_damage=lane.damaged >= _FETCHES,
            )
            lane.damaged = 0
        except CorruptRecordException as error:
            # Once is no news: a broker may read what was appended after it looked where the log ends.
            if lane.damaged == 1:
                log.warning(
                    "damaged batch, fetching it again", topic=lane.tp.topic, partition=lane.tp.partition,
                    offset=lane.next_offset, reason=str(error),
                )  # fmt: skip
            lane.damaged += 1
        except OffsetOutOfRangeError:
            self._client().pause(ensure_aiokafka_TP(lane.tp))
            reset = asyncio.ensure_future(self._out_of_range(lane))
            self._resetting.add(reset)
            reset.add_done_callback(self._resetting.discard)
        finally:
            if not self._used_up:
                self._waited = time.monotonic() - self._asked >= _WAITED
            self._used_up = True
            self._since += _LARGE if taken is None else len(taken)
        return taken

    def _fetch_on(self, fetcher: Any) -> None:
        """The next fetch goes at once after many records, or after a wait for them; else when what came is worked on, or a little later.

        So few records are worked on as they come, more of them at a time where they come faster than that; fetching meanwhile would bring few, and
        hold up the work by the time that it takes: the threads share Python's lock. A fetch that waited brings what came first, of one partition
        mostly: what came to the others with it must not wait for that to be worked on.
        """
        if self._since >= _LARGE or self._waited or not self._lanes.busy:
            self._fetch_now(fetcher)
        elif self._fetch_timer is None:
            self._fetch_timer = asyncio.get_running_loop().call_later(_PACE, self._fetch_now, fetcher)

    def _fetch_now(self, fetcher: Any) -> None:
        if self._fetch_timer is not None:
            self._fetch_timer.cancel()
        self._fetch_timer = None
        self._used_up, self._since, self._asked = False, 0, time.monotonic()
        fetch_again(fetcher)

    async def _out_of_range(self, lane: Lane) -> None:
        """Retention was quicker than we: go on where the log starts now; the next batch says what was missed."""
        try:
            now = await self._positions.standing(lane.tp, lane.next_offset)
            if lane.next_offset > now.end:
                where = f"{lane.tp.topic}[{lane.tp.partition}]"
                msg = f"{where} ends at offset {now.end} and was read up to {lane.next_offset}: Kafka lost records"
                self._fail(BrokerError(msg))
            elif self._lanes.get(lane.tp) is lane:
                lane.next_offset = max(lane.next_offset, now.first)
                self._seek(lane.tp, lane.next_offset)
        except (KafkaError, BrokerError) as error:
            self._fail(error)

    def _seek(self, tp: TP, offset: int) -> None:
        consumer, tp = self._client(), ensure_aiokafka_TP(tp)
        consumer.seek(tp, offset)
        consumer._fetcher._records.pop(tp, None)  # fetched, or failed, for another position
        consumer.resume(tp)


def _deliver(lane: Lane, taken: Columns) -> Delivery:
    """The columns as a batch of the lane, which goes on behind it. Raises BrokerError where they are not its next ones."""
    if taken.start != lane.next_offset:
        msg = f"{lane.tp.topic}[{lane.tp.partition}] was read from offset {taken.start} instead of {lane.next_offset}"
        raise BrokerError(msg)
    ticket = Ticket(lane, lane.delivered)
    missed = lane.next_offset - lane.delivered
    lane.next_offset = lane.delivered = taken.next_offset
    batch = taken.batch(ensure_aiokafka_TP(lane.tp), missed)
    lane.held.append((len(taken), _size(batch)))
    return Delivery(ticket, batch)


def _size(batch: RecordBatch) -> int:
    """About how many bytes of memory the records take."""
    if isinstance(batch.values, BinaryColumn):
        held = len(batch.values.data)
    else:
        held = sum(map(len, filter(None, batch.keys))) + sum(map(len, filter(None, batch.values)))
    return held + _RECORD_OVERHEAD * len(batch)
