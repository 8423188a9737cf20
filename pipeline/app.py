"""The only place where the parts of a worker are put together: Kafka, the state store, models, loops, metrics.

run_worker(settings) ──▶ models, broker, store: checked, one clear line where something is missing
──▶ create_app: Faust's app, a PartitionLoop for each partition that is assigned
──▶ beside it, in a thread, the intakes of the settings
──▶ until SIGTERM, SIGINT or an error: checkpoint, commit, leave
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import structlog
from prometheus_client import CollectorRegistry

from detectors import numerics
from detectors.compiling import JUDGEMENT, NEWS, PLAIN, POLICY, RANKED, RECORDS, SAID, VOTES, WINDOWS, compiled
from detectors.model import Model
from pipeline.alerts.open_alerts import OpenAlerts
from pipeline.embedded.servers import TANSU
from pipeline.errors import Refused, SettingsError, StoreError, TidewatchError
from pipeline.kafka import rights, topics
from pipeline.kafka.agents import App, PartitionLife
from pipeline.kafka.clients import connect_admin
from pipeline.kafka.decisions import DecisionTopic
from pipeline.kafka.offsets import log_ends
from pipeline.kafka.publisher import KafkaPublisher
from pipeline.kafka.topic_watch import TopicWatch
from pipeline.kafka.transport.driver import steady
from pipeline.operations.deciding import Deciding, found_model
from pipeline.operations.doctor.intakes import unfit
from pipeline.operations.metrics import WorkerMetrics
from pipeline.operations.serving import serve
from pipeline.partition.deciding.decisions import Decisions
from pipeline.partition.loop import PartitionLoop
from pipeline.partition.outbox import Publisher
from pipeline.partition.stores.base import Claim, Identity, Store
from pipeline.partition.stores.presence import EVERY, Presence, Words, forget_old, workers_of
from pipeline.partition.stores.redis import RedisStore
from pipeline.partition.stream import Stream, create_stream, load_model
from pipeline.partition.streams import Streams
from pipeline.process_memory import calm_collector, keep_freed
from pipeline.registry import registry_of
from pipeline.settings import Settings, StreamSettings, WorkerSettings, load_settings
from pipeline.steps.scoring import Scorer, ScoringHung

if TYPE_CHECKING:
    from pipeline.intake.hosting import Beside

log = structlog.get_logger(__name__)

STOP_LIMIT = 9.8
"""Seconds from SIGTERM to the end of the process, come what may."""

EMPTY_STOP_LIMIT = 2.0
"""The same for a worker that holds no partition, nor reads a raw topic: it may be waiting for the group, and has nothing to store."""

INTAKE_STOP_LIMIT = 8.5
"""Seconds from SIGTERM that intakes beside the streams have to commit and leave their groups."""

BUG = 1
"""Exit code after an error that is ours."""

EXPECTED = 2
"""Exit code after an expected error; nearly all of them are told by the command line."""

INTERRUPTED = 130
"""Exit code after a second Ctrl-C."""

_REPORT_EVERY = 5.0
_SESSION_ON_TANSU = timedelta(seconds=4)
_TELL_EVERY = 1.0

# Faust logs a crash with a traceback in each of its services; `serve` raises its reason, and it is told once. aiokafka's
# coordinator logs each step of a group's everyday life as an error.
_RETOLD = ("faust", "mode", "aiokafka.consumer.group_coordinator")


def create_app(
    settings: Settings,
    streams: Iterable[Stream],
    *,
    store: Store,
    publisher: Publisher,
    identities: Mapping[str, Identity],
    metrics: WorkerMetrics | None = None,
    deciding: Deciding | None = None,
) -> App:
    """Faust's app over the streams' input topics, with a `PartitionLoop` for each partition that it is assigned.

    Parameters
    ----------
    identities
        Stream name -> what its states belong to.
    deciding
        None: nothing is decided, each stream is as it is here.
    """
    by_topic = {stream.settings.input_topic: stream for stream in streams}
    worker, registry = settings.worker, registry_of(settings.registry)
    readers = {s.settings.alert_topic: OpenAlerts(settings.kafka, s.settings.alert_topic) for s in by_topic.values()}

    def make(
        topic: str,
        partition: int,
        *,
        still_owner: Callable[[], Awaitable[bool]],
        surely_owner: Callable[[], bool],
        end_of_log: Callable[[], Awaitable[int]],
        generation: int,
    ) -> PartitionLife:
        stream = by_topic[topic]
        decisions = streams_of = None
        if deciding is not None:
            streams_of = deciding.streams[stream.name]
            decisions = Decisions(
                stream.name,
                partition,
                log=identities[stream.name].topic_id,
                listed=deciding.listings[stream.name],
                journal=deciding.journal(stream.name, partition),
                still_owner=still_owner,
                records=worker.checkpoint_records,
            )
        return PartitionLoop(
            stream,
            partition,
            store=store,
            publisher=publisher,
            still_owner=still_owner,
            surely_owner=surely_owner,
            identity=identities[stream.name],
            metrics=metrics,
            checkpoint_every=worker.checkpoint_every.total_seconds(),
            checkpoint_records=worker.checkpoint_records,
            snapshots=worker.snapshots,
            generation=generation,
            open_alerts=partial(readers[stream.settings.alert_topic], stream.name, topic, partition),
            log_ends=partial(log_ends, settings.kafka, topic),
            end_of_log=end_of_log,
            clock=steady,
            rebuild_records=worker.rebuild_records,
            decisions=decisions,
            streams=streams_of,
            fetch_schemas=None if registry is None else registry.fetch,
        )

    return App.create(settings, by_topic, make)


def run_worker(settings: Settings, file: Path | None = None) -> int:
    """Run a worker until SIGTERM or SIGINT; returns the exit code.

    Parameters
    ----------
    file
        Where the settings were read from: looked at while the worker runs. None: they are never read again.

    Raises
    ------
    TidewatchError
        Something that was checked at the start, or that a restart may mend; one line.
    """
    numerics.use_threads(settings.worker.threads)
    calm_collector()
    keep_freed()
    if settings.worker.log_level != "debug":
        for name in _RETOLD:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        for handler in logging.getLogger().handlers:
            handler.addFilter(Seldom())
    try:
        asyncio.run(_work(settings, file))
    except ScoringHung as hung:
        _leave(hung)
    except TidewatchError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        log.error("worker ended by an error of its own", error=repr(error), at=where)  # noqa: TRY400  one line
        log.debug("traceback", exc_info=error)
        return BUG
    return 0


class Seldom(logging.Filter):
    """Lets each of aiokafka's messages through once in `every` s: while a broker is away it writes ten lines a second."""

    def __init__(self, every: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every = every
        self._clock = clock
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if not record.name.startswith("aiokafka"):
            return True
        now = self._clock()
        if now - self._last.get(str(record.msg), -self._every) < self._every:
            return False
        self._last[str(record.msg)] = now
        return True


async def _work(settings: Settings, file: Path | None) -> None:
    if not settings.streams:
        msg = "no stream is configured; add [[streams]] with a name and a model to tidewatch.toml"
        raise SettingsError(msg)
    async with AsyncExitStack() as stack:
        executor = ThreadPoolExecutor(1, thread_name_prefix="scorer")
        stack.callback(executor.shutdown, wait=False, cancel_futures=True)  # a forward pass may never come back
        streams = [_create_stream(settings, s, executor) for s in settings.streams]
        if told := next(unfit(settings.intake, {s.name: s.model for s in streams}), ""):
            raise SettingsError(told)
        identities, partitions = _identities(settings, streams)
        settings = _prompt(settings, identities.values())
        store = RedisStore(settings.redis)
        stack.push_async_callback(store.close)
        await _require(store)
        publisher = KafkaPublisher(settings.kafka)
        stack.push_async_callback(partial(publisher.close, timeout=1.0))
        registry = CollectorRegistry()
        metrics = WorkerMetrics(registry, presence=Presence(version("tidewatch")))
        for name, count in partitions.items():
            metrics.stream(name, count)
        worker = settings.worker
        models = {stream.name: stream.model for stream in streams}
        intakes = _beside(settings, file, registry, models)
        if intakes is not None:
            metrics.health.include(intakes.health)
        if worker.metrics_port:
            token = worker.metrics_token.get_secret_value()
            stack.enter_context(
                serve(registry, metrics.health, port=worker.metrics_port, host=worker.metrics_host, token=token)
            )
        topics = _decision_topics(settings, streams)
        for topic in set(topics.values()):
            stack.push_async_callback(topic.close)
        deciding = _deciding(
            settings, file, streams, executor, identities=identities, store=store, publisher=publisher, topics=topics
        )
        await deciding.begin()
        app = create_app(
            settings,
            streams,
            store=store,
            publisher=publisher,
            identities=identities,
            metrics=metrics,
            deciding=deciding,
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, deciding, intakes)
        watching = asyncio.create_task(deciding.run())
        stack.callback(watching.cancel)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, _stop, app, intakes, number)
        names = {stream.settings.input_topic: stream.name for stream in streams}
        reporting = asyncio.create_task(_report(app, metrics, names))
        stack.callback(reporting.cancel)
        telling = asyncio.create_task(_tell(app, metrics))
        stack.callback(telling.cancel)
        await stack.enter_async_context(_present(store, worker.group, metrics))
        stack.enter_context(_watch_topics(settings, app, streams, identities))
        log.info("worker started", group=worker.group, streams=[s.name for s in streams])
        if intakes is not None:
            intakes.start()
            stack.push_async_callback(intakes.ended, INTAKE_STOP_LIMIT)
        await app.serve()
    log.info("worker stopped")


def _create_stream(settings: Settings, stream: StreamSettings, executor: ThreadPoolExecutor) -> Stream:
    worker = settings.worker
    model = load_model(stream.model, device=_device(worker.device))
    judging = () if model.judgement is None else (JUDGEMENT, NEWS, SAID, RANKED)
    for kernel in (*judging, VOTES, WINDOWS, RECORDS, PLAIN):  # before the first batch waits for them
        compiled(kernel)
    scorer = _scorer(model, executor, worker)
    created = create_stream(stream, model, scorer)
    if created.windows.policy is not None:
        compiled(POLICY)
    model.calibrator.prepare()
    for detector in model.detectors:
        detector.prepare()
    created.threshold.prepare()
    return created


def _beside(
    settings: Settings, file: Path | None, registry: CollectorRegistry, models: Mapping[str, Model]
) -> Beside | None:
    """The intakes that run beside the streams."""
    if not settings.worker.intake or not settings.intake:
        return None
    from pipeline.intake.hosting import Beside  # a quarter of a second, which workers without one need not wait for
    from pipeline.intake.metrics import IntakeMetrics

    return Beside(settings, IntakeMetrics(registry), file, fits=lambda new: next(unfit(new.intake, models), ""))


def _scorer(model: Model, executor: ThreadPoolExecutor, worker: WorkerSettings) -> Scorer:
    return Scorer(
        model, executor=executor, max_batch_size=worker.max_batch_size, batch_wait=worker.batch_wait, hung=_leave
    )


def _deciding(
    settings: Settings,
    file: Path | None,
    streams: Iterable[Stream],
    executor: ThreadPoolExecutor,
    *,
    identities: Mapping[str, Identity],
    store: RedisStore,
    publisher: KafkaPublisher,
    topics: Mapping[str, DecisionTopic],
) -> Deciding:
    """What this worker does about decisions; models that are not in its settings are looked for where they lay, and beside its own."""
    worker, device = settings.worker, _device(settings.worker.device)

    beside = sorted({s.settings.model.parent for s in streams})

    async def load() -> list[Stream]:
        return await asyncio.to_thread(
            lambda: [_create_stream(settings, s, executor) for s in load_settings(file).streams]
        )

    return Deciding(
        {
            s.name: Streams(
                s,
                find_model=partial(found_model, beside=beside, device=device),
                scorer=partial(_scorer, executor=executor, worker=worker),
            )
            for s in streams
        },
        register=store,
        topics=topics,
        publisher=publisher,
        logs={name: identity.topic_id for name, identity in identities.items()},
        files=lambda: [] if file is None else [file, *(s.settings.model for s in streams)],
        load=None if file is None else load,
    )


def _decision_topics(settings: Settings, streams: Iterable[Stream]) -> dict[str, DecisionTopic]:
    """By stream; several streams share a topic, and one reader of it."""
    names = {s.settings.decision_topic for s in streams}
    topics = {name: DecisionTopic(settings.kafka, name, stays=True) for name in names}
    return {s.name: topics[s.settings.decision_topic] for s in streams}


def _device(wanted: str) -> str:
    if wanted.startswith("cuda") and not numerics.gpu_there():
        msg = f"setting worker.device is {wanted}, but torch sees no GPU; use auto or cpu"
        raise SettingsError(msg)
    return wanted


def _identities(settings: Settings, streams: list[Stream]) -> tuple[dict[str, Identity], dict[str, int]]:
    """Create what topics of our own are missing; ask Kafka which cluster and topics the inputs are, and how many partitions each has."""
    kafka = settings.kafka
    admin = connect_admin(kafka)
    inputs = {s.name: s.settings.input_topic for s in streams}
    fed = {i.stream for i in settings.intake}
    of = [s.settings for s in streams]
    outputs = {t for s in of for t in (s.alert_topic, s.dlq, s.score_topic, s.decision_topic) if t}
    read = {*inputs.values(), *(s.decision_topic for s in of)}
    rights.require(admin, kafka, read=read, write=outputs, group=settings.worker.group)
    ours = [topics.input_plan(topic) for name, topic in inputs.items() if name in fed]
    topics.require(admin, kafka, [topic for name, topic in inputs.items() if name not in fed])
    if created := topics.create(admin, kafka, [*ours, *topics.own_plan(s.settings for s in streams)]):
        log.info("topics created", topics=created)
    facts = topics.require(admin, kafka, inputs.values())
    cluster = topics.cluster_id(admin, kafka)
    identities = {s.name: s.identity(cluster_id=cluster, topic_id=facts[inputs[s.name]].topic_id) for s in streams}
    return identities, {name: facts[topic].partitions for name, topic in inputs.items()}


def _prompt(settings: Settings, identities: Iterable[Identity]) -> Settings:
    """Tansu lets a member wait for half its session's time when it joins: there that is short."""
    if not any(i.cluster_id.startswith(TANSU) for i in identities):
        return settings
    session = min(settings.worker.session_timeout, _SESSION_ON_TANSU)
    return settings.model_copy(update={"worker": settings.worker.model_copy(update={"session_timeout": session})})


def _watch_topics(
    settings: Settings, app: App, streams: Iterable[Stream], identities: Mapping[str, Identity]
) -> TopicWatch:
    """End the app where a topic is deleted under it."""
    known = {s.settings.input_topic: (s.name, identities[s.name].topic_id) for s in streams}
    admin, loop = connect_admin(settings.kafka), asyncio.get_running_loop()

    def ask() -> dict[str, str]:
        return {name: fact.topic_id for name, fact in topics.describe(admin, settings.kafka, known).items()}

    def found(error: TidewatchError) -> None:
        loop.call_soon_threadsafe(app.fail, error)

    return TopicWatch(ask, known, found)


async def _require(store: Store) -> None:
    """Ask for the state of nobody: that it is refused shows that the store is there. Raises StoreError."""
    with suppress(Refused):
        await store.load(Claim("", 0, "", -1))


def _reload(deciding: Deciding, intakes: Beside | None) -> None:
    """On SIGHUP: read the settings anew."""
    deciding.reload()
    if intakes is not None:
        intakes.reload()


def _stop(app: App, intakes: Beside | None, number: int) -> None:
    """On SIGTERM or SIGINT: stop in order, and whatever hangs, be gone in time; at a second Ctrl-C, at once."""
    if app.ended.is_set():
        if number == signal.SIGINT:
            sys.stderr.write("ended at once; the next worker resumes from the checkpoints\n")
            os._exit(INTERRUPTED)
        return
    app.ended.set()
    held = len(app.partitions)
    if intakes is not None:
        intakes.stop()
        held += intakes.sources
    limit, end = (STOP_LIMIT, _give_up) if held else (EMPTY_STOP_LIMIT, _leave_empty)
    log.info("stopping: Ctrl-C again ends at once", partitions=len(app.partitions), at_most=f"{limit:.0f} s")
    watchdog = threading.Timer(limit, end)
    watchdog.daemon = True
    watchdog.start()


def _give_up() -> None:
    sys.stderr.write(
        f"error: worker did not stop within {STOP_LIMIT:.0f} s; the next one resumes from the checkpoints\n"
    )
    os._exit(BUG)


def _leave_empty() -> None:
    """No partition was assigned yet, so nothing is lost; a group that is still forming is not waited for."""
    log.info("worker stopped", why="before it had partitions")
    os._exit(0)


def _leave(hung: ScoringHung) -> NoReturn:
    """Tell it and be gone: Python would wait for the thread that hangs, for ever."""
    sys.stderr.write(f"error: {hung}\n")
    sys.stderr.flush()
    os._exit(EXPECTED)


async def _tell(app: App, metrics: WorkerMetrics) -> None:
    """Let the log say what is waited for, and how far the work is."""
    while True:
        await asyncio.sleep(_TELL_EVERY)
        metrics.progress.tick(given=len(app.partitions), opened=len(app.partitions.standing()))


@asynccontextmanager
async def _present(words: Words, group: str, metrics: WorkerMetrics) -> AsyncIterator[None]:
    """Say in the store that this worker is there, and how it fares, for who looks at all workers (the page). It works on where it cannot."""

    async def say() -> None:
        with suppress(StoreError):
            await forget_old(words, workers_of(group), time.time())
        while True:
            with suppress(StoreError):
                word = metrics.presence.word(metrics.health.problems(), metrics.health.notes())
                await words.tell(workers_of(group), metrics.presence.worker, word)
            await asyncio.sleep(EVERY)

    saying = asyncio.create_task(say())
    try:
        yield
    finally:
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(1.0):
                await words.untell(workers_of(group), [metrics.presence.worker])


async def _report(app: App, metrics: WorkerMetrics, names: Mapping[str, str]) -> None:
    """Tell the metrics now and then where each partition stands, also while nothing moves."""
    while True:
        await asyncio.sleep(_REPORT_EVERY)
        now = app.partitions.standing()
        for (topic, partition), (position, end) in now.items():
            metrics.position(names[topic], partition, position, end)
        for topic, stream in names.items():
            metrics.partitions_open(stream, sum(tp.topic == topic for tp in now))
