"""Intakes as they run: alone (`tidewatch intake`), or beside a worker's streams, in a thread of their own.

Alone, the first that cannot go on ends the process, and whoever started it starts it again. Beside a worker it is started again here, after a
while, and scoring goes on: what is wrong is said in the log, by `/healthz` and by `tidewatch_intake_failing`. Both follow their settings file
(`pipeline.intake.changes`).
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import structlog
from confluent_kafka.admin import AdminClient
from prometheus_client import CollectorRegistry

from pipeline.errors import SettingsError, TidewatchError
from pipeline.intake.changes import Running, follow
from pipeline.intake.health import IntakeHealth
from pipeline.intake.metrics import IntakeMetrics
from pipeline.intake.run import Intake
from pipeline.kafka import rights, topics
from pipeline.kafka.clients import connect_admin
from pipeline.kafka.publisher import KafkaPublisher
from pipeline.operations.serving import serve
from pipeline.settings import IntakeSettings, Settings

log = structlog.get_logger(__name__)

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds from the end of an intake beside a worker to its next start; twice as long each time, until it has run for the longest."""

Answer = TypeVar("Answer")


def run_intake(settings: Settings, names: Collection[str] = (), file: Path | None = None) -> int:
    """Run the intakes of these names, or all, until SIGTERM or SIGINT; returns the exit code.

    Parameters
    ----------
    file
        Where the settings are from, to be followed; None: from nowhere that could change.

    Raises
    ------
    TidewatchError
        Something that was checked at the start, or that a restart may mend; one line.
    """
    wanted = [i for i in settings.intake if not names or i.name in names]
    if missing := sorted(set(names) - {i.name for i in wanted}):
        known = ", ".join(i.name for i in settings.intake) or "none"
        raise SettingsError(f"there is no intake {', '.join(missing)} in the settings; there is: {known}")
    if not wanted:
        raise SettingsError(
            "no intake is configured; add [[intake]] with a stream and topics to tidewatch.toml (docs/intake.md)"
        )
    asyncio.run(_alone(settings, names, file))
    return 0


async def _alone(settings: Settings, names: Collection[str], file: Path | None) -> None:
    stopping, asked = asyncio.Event(), asyncio.Event()
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wanted(of: Settings) -> list[IntakeSettings]:
        return [intake for intake in of.intake if not names or intake.name in names]

    async with AsyncExitStack() as stack:
        registry, worker = CollectorRegistry(), settings.worker
        metrics = IntakeMetrics(registry)
        if worker.metrics_port:
            token = worker.metrics_token.get_secret_value()
            stack.enter_context(
                serve(registry, metrics.health, port=worker.metrics_port, host=worker.metrics_host, token=token)
            )

        async def run(of: Settings, intake: IntakeSettings, ending: asyncio.Event) -> None:
            try:
                async with _opened(of, intake, metrics, ending) as one:
                    await one.run()
            except Exception as error:
                if not failed.done():
                    failed.set_exception(error)

        for number, event in ((signal.SIGTERM, stopping), (signal.SIGINT, stopping), (signal.SIGHUP, asked)):
            asyncio.get_running_loop().add_signal_handler(number, event.set)
        running = Running(run)
        await running.become(settings, wanted(settings))
        log.info("intake started", intakes=[i.name for i in wanted(settings)])
        following = asyncio.create_task(follow(file, settings, running, wanted, asked))
        asked_to_stop = asyncio.create_task(stopping.wait())
        ends: list[asyncio.Future[Any]] = [failed, asked_to_stop, following]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in (asked_to_stop, following):
            task.cancel()
        await asyncio.wait([following])  # it may be about to start one
        await running.end()
        for ended in (failed, following):
            if ended.done() and not ended.cancelled():
                ended.result()
    log.info("intake stopped")


class Beside:
    """The intakes of the settings, beside a worker's streams.

    In a thread with an event loop of its own: reading thousands of foreign records in one go would hold up the worker's loop, and with it its
    heartbeats.

    Parameters
    ----------
    file, fits
        As `follow` has them.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: IntakeMetrics,
        file: Path | None = None,
        fits: Callable[[Settings], str] = lambda _: "",
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._file = file
        self._fits = fits
        self._asked = threading.Event()
        self._asked_at = 0.0
        self._reload = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        # A daemon: at the end it is waited for only as long as a worker may take to stop.
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="intake", daemon=True)

    @property
    def health(self) -> IntakeHealth:
        """Whether they are well."""
        return self._metrics.health

    @property
    def sources(self) -> int:
        """How many raw partitions they read now."""
        return self._metrics.sources

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def reload(self) -> None:
        """Read the settings anew soon; returns at once."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended meanwhile
                self._loop.call_soon_threadsafe(self._reload.set)

    def stop(self) -> None:
        """Ask them to stop in order; returns at once, may be called again."""
        if not self._asked.is_set():
            self._asked_at = time.monotonic()
            self._asked.set()
        if self._loop is not None and self._stopping is not None:
            with suppress(RuntimeError):  # it has ended meanwhile
                self._loop.call_soon_threadsafe(self._stopping.set)

    async def ended(self, within: float) -> None:
        """Stop, and wait until all have, `within` s from when they were asked to. What is not committed by then is read again, and counts once."""
        self.stop()
        end = self._asked_at + within
        while self._thread.is_alive() and time.monotonic() < end:
            await asyncio.sleep(0.05)
        if self._thread.is_alive():
            log.warning("intake did not stop in order", within=within)

    async def _main(self) -> None:
        self._stopping = stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._asked.is_set():
            return
        if self._settings.intake:
            log.info("intake started", intakes=[i.name for i in self._settings.intake], where="beside the streams")
        running = Running(self._kept_up)
        await running.become(self._settings, self._settings.intake)
        following = asyncio.create_task(
            follow(self._file, self._settings, running, lambda of: of.intake, self._reload, fits=self._fits)
        )
        await stopping.wait()
        following.cancel()
        await asyncio.wait([following])  # it may be about to start one
        await running.end()
        if self._settings.intake:
            log.info("intake stopped")

    async def _kept_up(self, settings: Settings, intake: IntakeSettings, stopping: asyncio.Event) -> None:
        self._metrics.intake(intake.name)
        wait = FIRST_WAIT
        while not stopping.is_set():
            began = time.monotonic()
            try:
                async with _opened(settings, intake, self._metrics, stopping) as one:
                    await one.run()
                why = ""
            except TidewatchError as error:
                why = str(error)
            except Exception as error:
                frame = traceback.extract_tb(error.__traceback__)[-1]
                why = f"an error of its own, {error!r} at {Path(frame.filename).name}:{frame.lineno}"
                log.debug("traceback", exc_info=error)
            if not why:
                self._metrics.failing(intake.name, "")
                return
            if time.monotonic() - began > LONGEST_WAIT:
                wait = FIRST_WAIT
            self._metrics.failing(intake.name, f"{why} (it is started again every minute or sooner)")
            log.error("intake failed; streams go on", intake=intake.name, reason=why, again_in=f"{wait:.0f} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), wait)
            wait = min(2 * wait, LONGEST_WAIT)


@asynccontextmanager
async def _opened(
    settings: Settings, intake: IntakeSettings, metrics: IntakeMetrics, stopping: asyncio.Event
) -> AsyncIterator[Intake]:
    """An intake whose topics are there and may be read and written. Raises TidewatchError."""
    kafka = settings.kafka
    stream = next(s for s in settings.streams if s.name == intake.stream)

    def prepare() -> tuple[AdminClient, int]:
        admin = connect_admin(kafka)
        named = set(intake.named)
        rights.require(
            admin, kafka, read=named, write=[stream.input_topic, intake.dlq], group=settings.intake_group(intake)
        )
        plans = [topics.input_plan(stream.input_topic), topics.dead_letter_plan(intake.dlq)]
        if created := topics.create(admin, kafka, plans):
            log.info("topics created", topics=created)
        facts = topics.require(admin, kafka, named | {stream.input_topic})
        if not any(map(intake.reads, topics.names(admin, kafka))):
            log.warning("no topic matches yet; it is read when there is one", intake=intake.name, topics=intake.topics)
        return admin, facts[stream.input_topic].partitions

    admin, partitions = await _aside(prepare)

    async def ask(names: Collection[str]) -> Mapping[str, topics.TopicFacts]:
        return await _aside(lambda: topics.describe(admin, kafka, names))

    publisher = KafkaPublisher(kafka)  # its own: one that is refused ends for good
    try:
        yield Intake(settings, intake, stream, publisher, ask, partitions, metrics, stopping)
    finally:
        await publisher.close(timeout=1.0)


async def _aside(do: Callable[[], Answer]) -> Answer:
    """What is asked in a thread that nobody waits for at the end: Kafka may take longer to answer than a process may take to stop."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Answer] = loop.create_future()

    def tell(result: Answer | None, error: Exception | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failed = None, None
        try:
            result = do()
        except Exception as error:
            failed = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, result, failed)

    threading.Thread(target=run, name="intake asks Kafka", daemon=True).start()
    return await answer
