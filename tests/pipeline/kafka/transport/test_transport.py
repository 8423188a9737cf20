"""The batch transport against real Apache Kafka: what is delivered, what is committed, what happens when something breaks."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from aiokafka.errors import IllegalStateError
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from faust.types import TP
from recording_life import Book, Life, committed, settings_of, until, worker

from pipeline.errors import Dropped
from pipeline.kafka.agents import App
from pipeline.kafka.transport.driver import Consumer
from pipeline.steps.batches.records import RecordBatch, Standing

pytestmark = pytest.mark.kafka
NewTopic = Callable[..., str]


@pytest.fixture
def produce(kafka: str) -> Callable[..., None]:
    """`produce(topic, values, partition=0, keys=None)`, acknowledged on return."""
    producer = Producer({"bootstrap.servers": kafka, "log_level": 0, "enable.idempotence": True, "linger.ms": 5})

    def produce(
        topic: str, values: list[bytes | None], *, partition: int = 0, keys: list[bytes | None] | None = None
    ) -> None:
        for i, value in enumerate(values):
            producer.produce(topic, value, None if keys is None else keys[i], partition=partition)
            producer.poll(0)
        assert producer.flush(30) == 0

    return produce


def numbered(start: int, stop: int) -> list[bytes | None]:
    return [str(i).encode() for i in range(start, stop)]


async def test_all_records_arrive_once_in_order_and_as_few_events(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic(partitions=3)
    for partition in range(3):
        produce(topic, numbered(0, 4000), partition=partition)
    book = Book()
    async with worker(settings_of(kafka, group, max_poll_records=1500), topic, book):
        await until(lambda: book.total() == 12_000, "all records")
    for partition in range(3):
        seen = book.of(topic, partition)
        assert seen.offsets == list(range(4000))
        assert seen.values == numbered(0, 4000)
        assert committed(kafka, group, topic, partition) == 4000


async def test_a_batch_holds_at_most_the_records_that_are_set(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic()
    produce(topic, numbered(0, 3000))
    book = Book(checkpoints=False)
    async with worker(settings_of(kafka, group, max_poll_records=700), topic, book):
        await until(lambda: book.lives and book.lives[0].position == 3000, "all records")
        sizes = [len(batch) for batch in book.lives[0].batches]
    assert max(sizes) <= 700
    assert len(sizes) < 30


async def test_what_is_not_checkpointed_is_never_committed(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    """faust-streaming issue 606: with 10 in flight and 11 to 13 done, Faust's own books can commit 14."""
    topic = new_topic()
    produce(topic, numbered(0, 10))
    book = Book(checkpoints=False)
    async with worker(settings_of(kafka, group), topic, book):
        await until(lambda: book.lives and book.lives[0].position == 10, "the first ten")
        life = book.lives[0]
        life.checkpoint()
        await until(lambda: committed(kafka, group, topic) == 10, "the first commit")
        for n in range(10, 40, 3):  # delivered and processed, poll after poll, but not in the store
            produce(topic, numbered(n, n + 3))
            await until(lambda n=n: life.position == n + 3, "the next three")  # type: ignore[misc]
        await asyncio.sleep(2.5)  # two rounds of commits
        assert committed(kafka, group, topic) == 10
        life.checkpoint()
        await until(lambda: committed(kafka, group, topic) == 40, "the last commit")


async def test_a_batch_that_raises_ends_the_worker_and_is_done_again(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic()
    produce(topic, numbered(0, 500))
    book = Book()

    async def break_at_300(life: Life, records: RecordBatch) -> None:
        if b"300" in records.values:
            raise ZeroDivisionError("detector")

    book.before_batch = break_at_300
    with pytest.raises(ZeroDivisionError, match="detector"):
        async with worker(settings_of(kafka, group, max_poll_records=100), topic, book) as app:
            await until(app.ended.is_set, "the end of the worker")
    assert book.of(topic).offset == 300
    assert committed(kafka, group, topic) == 300
    book.before_batch = None
    async with worker(settings_of(kafka, group), topic, book):
        await until(lambda: book.total() == 500, "the rest")
    assert book.of(topic).offsets == list(range(500))


async def test_any_bytes_travel_untouched(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic()
    dice = random.Random(5)
    values: list[bytes | None] = [
        b'{"series":"a","timestamp":1,"value":1}', None, b"", b"\x00", bytes(range(256)), b'{"a":', b"\n\r\n", b"\xff\xfe",
        dice.randbytes(900_000), *(dice.randbytes(dice.randrange(60)) for _ in range(200)), b"last",
    ]  # fmt: skip
    keys: list[bytes | None] = [None if i % 3 == 0 else dice.randbytes(i % 7) for i in range(len(values))]
    produce(topic, values, keys=keys)
    book = Book()
    async with worker(settings_of(kafka, group), topic, book):
        await until(lambda: book.total() == len(values), "all")
    assert book.of(topic).values == values
    assert book.of(topic).keys == keys


async def test_records_of_aborted_transactions_and_markers_leave_holes_only(
    kafka: str, new_topic: NewTopic, group: str
) -> None:
    topic = new_topic()
    producer = Producer({"bootstrap.servers": kafka, "log_level": 0, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(30)
    for round_ in range(4):
        producer.begin_transaction()
        for i in range(5):
            producer.produce(topic, f"{round_}-{i}".encode())
        producer.flush(10)
        (producer.abort_transaction if round_ % 2 else producer.commit_transaction)(30)
    # 4 x (5 records and a marker): 0-4, 12-16 are committed, the log ends at 24
    book = Book()
    async with worker(settings_of(kafka, group), topic, book):
        await until(lambda: book.of(topic).offset == 24, "the end of the log, behind the last marker")
    assert book.of(topic).offsets == [*range(5), *range(12, 17)]
    assert committed(kafka, group, topic) == 24
    async with worker(settings_of(kafka, group), topic, book):  # resuming behind a marker is a start like any other
        producer.begin_transaction()
        producer.produce(topic, b"more")
        producer.commit_transaction(30)
        await until(lambda: book.of(topic).offset == 26, "what came later")
    assert book.of(topic).values[-1] == b"more"


async def test_holes_of_compaction_are_crossed_and_resumed_in(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic(
        **{
            "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.001", "segment.ms": "100",
            "min.compaction.lag.ms": "0", "max.compaction.lag.ms": "100",
        }
    )  # fmt: skip
    for _ in range(4):
        produce(topic, numbered(0, 50), keys=numbered(0, 50))
        await asyncio.sleep(0.3)  # the next write closes the segment
    produce(topic, [b"end"], keys=[b"end"])
    async with asyncio.timeout(180):
        while True:
            book = Book()
            async with worker(settings_of(kafka, f"{group}-{uuid.uuid4().hex[:4]}"), topic, book):
                await until(lambda book=book: b"end" in book.of(topic).values, "the end")  # type: ignore[misc]
            if len(book.of(topic).offsets) < 201:
                break
    offsets = book.of(topic).offsets
    assert offsets == sorted(set(offsets))
    assert offsets[-1] == 200
    hole = next(i for i in range(200) if i not in offsets)
    resumed = Book()
    resumed.of(topic).offset = hole
    async with worker(settings_of(kafka, group), topic, resumed):
        await until(lambda: resumed.of(topic).offset == 201, "the end, from within a hole")
    # Compaction may have gone on meanwhile.
    assert set(resumed.of(topic).offsets) <= {o for o in offsets if o >= hole}
    assert resumed.of(topic).offsets[-1] == 200


async def test_the_stored_offset_counts_and_not_the_committed_one(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic()
    produce(topic, numbered(0, 100))
    book = Book()
    async with worker(settings_of(kafka, group), topic, book):
        await until(lambda: book.total() == 100, "all")
    assert committed(kafka, group, topic) == 100
    back = Book()
    back.of(topic).offset = 40
    async with worker(settings_of(kafka, group), topic, back):
        await until(lambda: back.of(topic).offset == 100, "all from the stored offset on")
    assert back.of(topic).offsets == list(range(40, 100))


async def test_after_a_rebalance_reading_goes_on_at_the_stored_offset(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    """The loops hold records in memory that are not in the store: a rebalance must bring them again."""
    topic = new_topic(partitions=2)
    for partition in (0, 1):
        produce(topic, numbered(0, 60), partition=partition)
    book = Book(checkpoints=False)
    async with worker(settings_of(kafka, group), topic, book, "first"):
        await until(lambda: [x.position for x in book.lives] == [60, 60], "all")
        async with worker(settings_of(kafka, group), topic, book, "second"):
            await until(lambda: len(book.lives) == 4, "the rebalance")
            await until(lambda: [x.position for x in book.lives[2:]] == [60, 60], "all once more")
            assert {x.name for x in book.lives[2:]} == {"first", "second"}
            for life in book.lives[2:]:
                assert [o for b in life.batches for o in b.offsets.tolist()] == list(range(60))


async def test_two_workers_hand_partitions_over_without_loss_or_repetition(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic(partitions=4)
    book = Book()

    sent = 0
    enough = asyncio.Event()

    async def keep_producing() -> None:
        nonlocal sent
        while not enough.is_set():
            for partition in range(4):
                await asyncio.to_thread(produce, topic, numbered(sent, sent + 20), partition=partition)
            sent += 20

    async with worker(settings_of(kafka, group), topic, book, "first") as first:
        producing = asyncio.create_task(keep_producing())
        await until(lambda: book.total() > 500, "some")
        async with worker(settings_of(kafka, group), topic, book, "second") as second:
            await until(lambda: len(first.partitions) == len(second.partitions) == 2, "two each")
            before = book.total()
            await until(lambda: book.total() > before + 500, "some more")
        await until(lambda: len(first.partitions) == 4, "all back")
        enough.set()
        await producing
        await until(lambda: book.total() == 4 * sent, "all")
    for partition in range(4):
        assert book.of(topic, partition).offsets == list(range(sent))
        assert book.of(topic, partition).values == numbered(0, sent)
        owner = None
        for what, name, which in book.events:
            if which == partition:
                assert (what == "revoked") == (name == owner), "claimed before it was let go"
                owner = name if what == "assigned" else None


async def test_a_slow_partition_does_not_hold_up_another(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic(partitions=2)
    produce(topic, numbered(0, 100), partition=0)
    book = Book()
    release = asyncio.Event()

    async def hold_up_the_first(life: Life, records: RecordBatch) -> None:
        if life.partition == 0:
            await release.wait()

    book.before_batch = hold_up_the_first
    async with worker(settings_of(kafka, group), topic, book):
        await until(lambda: any(x.working for x in book.lives), "a batch in flight")
        for n in range(0, 50, 10):
            produce(topic, numbered(n, n + 10), partition=1)
            await until(lambda n=n: book.of(topic, 1).offset == n + 10, "the other")  # type: ignore[misc]
        assert book.of(topic, 0).offsets == []
        release.set()
        await until(lambda: book.of(topic, 0).offset == 100, "the slow one")


async def test_a_slow_loop_bounds_memory_and_keeps_its_membership(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic(partitions=2)
    for partition in (0, 1):
        for _ in range(6):
            produce(topic, [bytes(5000)] * 1000, partition=partition)  # 60 MB in all
    book = Book()
    release = asyncio.Event()
    entered: list[int] = []

    async def wait_for_release(life: Life, records: RecordBatch) -> None:
        entered.append(len(records))
        await release.wait()

    book.before_batch = wait_for_release
    limit = 4 << 20
    settings = settings_of(kafka, group, buffer_bytes=limit, session_timeout=timedelta(seconds=10))
    async with worker(settings, topic, book) as app:
        await until(lambda: len(entered) == 2, "both in flight")
        consumer = app.consumer
        assert isinstance(consumer, Consumer)
        await asyncio.sleep(15.0)  # half as long again as the session's time-out
        assert [what for what, _, _ in book.events] == ["assigned", "assigned"], "lost its membership"
        assert 0 < consumer.held_bytes <= limit
        most = 0
        release.set()
        while book.total() < 12_000:
            most = max(most, consumer.held_bytes)
            await asyncio.sleep(0)
        assert most <= limit
    assert len(book.events) == 4


async def test_of_small_records_a_slow_loop_has_two_batches_at_most(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic()
    produce(topic, numbered(0, 5000))
    book = Book()
    release = asyncio.Event()

    async def wait_for_release(life: Life, records: RecordBatch) -> None:
        assert len(records) <= 300
        await release.wait()

    book.before_batch = wait_for_release
    async with worker(settings_of(kafka, group, max_poll_records=300), topic, book) as app:
        await until(lambda: any(x.working for x in book.lives), "a batch in flight")
        consumer = app.consumer
        assert isinstance(consumer, Consumer)
        (lane,) = consumer._thread.lanes
        await until(lambda: lane.records >= 600, "two batches")
        await asyncio.sleep(1.0)  # in which more would come
        assert lane.records == 600
        release.set()
        await until(lambda: book.total() == 5000, "all")


async def test_a_loop_is_told_where_its_partition_stands(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic(partitions=2)
    produce(topic, numbered(0, 100))
    _delete_before(kafka, topic, 30)
    book = Book(checkpoints=False)
    book.of(topic).offset = 10
    async with worker(settings_of(kafka, group), topic, book):
        await until(lambda: book.lives and book.lives[0].position == 100, "the rest")
        assert book.lives[0].standing == Standing(30, 100, None, 2)
        await until(lambda: committed(kafka, group, topic, 1) == 0, "the confirmation of an empty partition")
    async with worker(settings_of(kafka, group), topic, book):  # nothing was checkpointed but what is held to be stored
        await until(lambda: len(book.lives) == 4, "both again")
        await until(lambda: book.lives[2].position == 100, "the rest again")
    assert book.lives[2].standing == Standing(30, 100, 10, 2)
    assert book.lives[3].standing == Standing(0, 0, None, 2)


async def test_records_that_expire_while_a_loop_is_slow_are_told_and_passed_over(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic()
    produce(topic, numbered(0, 100))
    book = Book()
    release = asyncio.Event()

    async def wait_for_release(life: Life, records: RecordBatch) -> None:
        await release.wait()

    book.before_batch = wait_for_release
    async with worker(settings_of(kafka, group, buffer_bytes=1 << 20), topic, book):
        await until(lambda: any(x.working for x in book.lives), "a batch in flight")
        for n in range(100, 1300, 100):  # 6 MB: more than is fetched ahead
            produce(topic, [b"%d %s" % (i, bytes(5000)) for i in range(n, n + 100)])
        _delete_before(kafka, topic, 1250)
        release.set()
        await until(lambda: book.of(topic).offset == 1300, "what is left")
    offsets = book.of(topic).offsets
    assert offsets[:100] == list(range(100))
    assert offsets[-50:] == list(range(1250, 1300))
    assert sum(book.lives[0].missed) == 1300 - len(offsets) > 0
    assert len([n for n in book.lives[0].missed if n]) == 1


async def test_a_partition_whose_state_takes_long_to_load_gets_nothing_meanwhile(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic(partitions=2)
    for partition in (0, 1):
        produce(topic, numbered(0, 20), partition=partition)
    book = Book()
    release = asyncio.Event()

    async def load_slowly(life: Life) -> None:
        if life.partition == 0:
            await release.wait()

    book.on_load = load_slowly
    async with worker(settings_of(kafka, group), topic, book):
        await until(lambda: book.of(topic, 1).offset == 20, "the other")
        assert book.of(topic, 0).offsets == []
        release.set()
        await until(lambda: book.of(topic, 0).offset == 20, "the slow one")


async def test_a_worker_stops_although_its_state_never_loads(kafka: str, new_topic: NewTopic, group: str) -> None:
    topic = new_topic()
    book = Book()

    async def hang(life: Life) -> None:
        await asyncio.Event().wait()

    book.on_load = hang
    async with worker(settings_of(kafka, group), topic, book):
        await until(lambda: book.events, "the assignment")
    assert book.events[-1][0] == "revoked"


async def test_a_worker_stops_at_any_moment_of_its_start(kafka: str, new_topic: NewTopic, group: str) -> None:
    topic = new_topic()
    for delay in (0, 0.02, 0.1, 0.3, 0.6):
        async with worker(settings_of(kafka, f"{group}-{delay}"), topic, Book()):
            await asyncio.sleep(delay)


async def test_a_partition_that_is_let_go_is_not_committed_and_the_others_go_on(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic(partitions=2)
    for partition in (0, 1):
        produce(topic, numbered(0, 10), partition=partition)
    book = Book()

    async def let_go_of_the_first(life: Life, records: RecordBatch) -> None:
        if life.partition == 0:
            life.checkpointed = 7  # as far as it came before another worker took over
            raise Dropped("t[0] belongs to another worker now")

    book.before_batch = let_go_of_the_first
    async with worker(settings_of(kafka, group), topic, book) as app:
        await until(lambda: committed(kafka, group, topic, 1) == 10, "the other")
        assert not app.ended.is_set()
        assert committed(kafka, group, topic, 0) == 0


async def test_a_batch_that_hangs_is_cut_short_at_the_stop_and_done_again(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic()
    produce(topic, numbered(0, 10))
    book = Book()

    async def hang(life: Life, records: RecordBatch) -> None:
        await asyncio.Event().wait()

    book.before_batch = hang
    async with worker(settings_of(kafka, group), topic, book):
        await until(lambda: any(x.working for x in book.lives), "a batch in flight")
    assert committed(kafka, group, topic) == 0
    book.before_batch = None
    async with worker(settings_of(kafka, group), topic, book):
        await until(lambda: book.total() == 10, "all")


async def test_a_static_member_is_back_at_once_and_keeps_its_partitions(
    kafka: str, new_topic: NewTopic, group: str, produce: Callable[..., None]
) -> None:
    topic = new_topic(partitions=2)
    book = Book()
    settings = settings_of(kafka, group, instance_id="a", session_timeout=timedelta(minutes=5))
    async with worker(settings, topic, book, "other"):
        await until(lambda: len(book.lives) == 2, "all")
    for partition in (0, 1):
        produce(topic, numbered(0, 10), partition=partition)
    async with worker(settings, topic, book):
        await until(lambda: book.total() == 20, "all, without waiting for the session of the first to expire")


async def test_a_partition_that_was_taken_away_is_not_opened_any_more(
    kafka: str, new_topic: NewTopic, group: str
) -> None:
    topic = new_topic()
    book = Book()
    async with worker(settings_of(kafka, group), topic, book) as app:
        await until(lambda: any(p.lane for p in app.partitions._held.values()), "an open partition")
        consumer = app.consumer
        assert isinstance(consumer, Consumer)
        before = consumer.epoch
        await app.partitions.revoked()
        with pytest.raises(IllegalStateError):
            await consumer.open(TP(topic, 0), 0, before)
        assert not consumer._thread.lanes


async def test_kafka_says_whether_a_partition_is_still_ours(kafka: str, new_topic: NewTopic, group: str) -> None:
    topic = new_topic()
    book = Book()
    async with worker(settings_of(kafka, group), topic, book) as app:
        await until(lambda: app.partitions.standing() or (book.lives and book.lives[0].idles), "an open partition")
        life = book.lives[0]
        assert await life.still_owner()
        coordinator = _coordinator(app)
        generation, coordinator.generation = coordinator.generation, coordinator.generation - 1
        assert not await life.still_owner()  # as after a rebalance that went on without us
        await until(lambda: len(book.lives) > 1, "the next assignment")
        assert coordinator.generation != generation


def _coordinator(app: App) -> object:
    consumer = app.consumer
    assert isinstance(consumer, Consumer)
    return consumer._thread._ensure_consumer()._coordinator


def _delete_before(kafka: str, topic: str, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    (done,) = admin.delete_records([TopicPartition(topic, 0, offset)]).values()
    assert done.result(20).low_watermark == offset
