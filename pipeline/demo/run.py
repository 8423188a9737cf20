"""The demo from its first line to its report: data, servers, training, workers, replay, judgement.

    data ──▶ train ──▶ model files, tidewatch.toml ──▶ workers (processes) ◀── Kafka ◀── three replays (threads)
                                                            │                    ▲
                                                            └── state ──▶ Redis  └── alerts, scores ──▶ report

Everything that is started is stopped when this ends, however it ends; a worker that dies is started again.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import psutil

from pipeline.demo.facts import Facts
from pipeline.demo.live import View
from pipeline.demo.streams import STREAMS, DemoStream
from pipeline.demo.training import ALERT_TOPIC, Step, score_topic, train, write_settings
from pipeline.embedded.process import free_port
from pipeline.embedded.servers import start_kafka, start_redis
from pipeline.errors import BrokerError
from pipeline.kafka import topics
from pipeline.kafka.clients import connect_admin, librdkafka_config
from pipeline.operations.processes import Children
from pipeline.partition.stores.presence import Replaying, replays_into
from pipeline.partition.stores.telling import telling
from pipeline.settings import Settings, load_settings
from producers.clock import MAX_SPEED, Clock, parse_speed
from producers.publisher import Publisher
from producers.replay import Timeline, replay

if TYPE_CHECKING:
    from detectors.model import Model
    from pipeline.alerts.records import Alert
    from pipeline.demo.results import StreamResult
    from producers.datasets import Dataset

LOOK_EVERY = 0.25
_KEPT = ("TIDEWATCH_DATA", "TIDEWATCH_OFFLINE", "TIDEWATCH_CACHE", "TIDEWATCH_MAVEN")  # where things come from
PATIENCE = 90.0
"""Seconds in which the workers must get ahead, else the demo ends with an error."""


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    out: Path
    workers: int = 2
    speed: str = "max"
    keep: bool = False
    streams: Sequence[DemoStream] = STREAMS


def run_demo(options: Options, view: View) -> None:
    """Run it. Raises TidewatchError, ProducerError or DetectorError with one line; KeyboardInterrupt on Ctrl-C."""
    parse_speed(options.speed)
    facts = Facts()
    stack = ExitStack()
    with _ends_in_order():
        try:
            _run(options, view, facts, stack)
        except KeyboardInterrupt:
            view.say("stopping what was started, at most 10 s; Ctrl-C again ends at once")
            raise
        finally:
            _end_at_once_if_asked_again()
            stack.close()


def _run(options: Options, view: View, facts: Facts, stack: ExitStack) -> None:
    environment = _own_environment()
    data = _open(options.streams, view)
    _prepare(options.out)
    kafka = stack.enter_context(start_kafka(options.out / "logs", tell=view.event))
    redis = stack.enter_context(start_redis(options.out / "logs"))
    if kafka.note:
        view.event(f"[yellow]Apache Kafka cannot be had here ({kafka.note}): {kafka.kind} serves instead[/]")
    view.event(f"{kafka.kind} (embedded) at {kafka.address}, {redis.kind} (embedded) at {redis.address}")
    with facts.timed("training"):
        models = _train(options, data, view)
    config = options.out / "tidewatch.toml"
    write_settings(config, kafka.address, redis.url, _model_files(options), options.streams)
    settings = load_settings(config)
    topics.create(connect_admin(settings.kafka), settings.kafka, topics.plan(settings.streams))
    children = stack.enter_context(Children())
    ports = _start_workers(options, environment | {"TIDEWATCH_CONFIG": str(config.resolve())}, children)
    view.event(
        f"{options.workers} Faust worker{'s' if options.workers > 1 else ''} started (processes {', '.join(map(str, children.pids))})"
    )
    with facts.timed("replay"):
        alerts = _replay(options, settings, data, ports, children, facts, view)
    if not options.keep:
        children.stop()
    with facts.timed("report"):
        results = _evaluate(options, settings, data, models, alerts)
        report = _report(options, results, models, facts, view)
    view.say(f"\n{facts.sentence()}")
    view.say(f"The report, with pictures to zoom into: [bold]{report}[/]")
    if options.keep:
        _keep(config, children, view)


def _open(streams: Sequence[DemoStream], view: View) -> dict[str, Dataset]:
    """The data of all streams; what is made up is said before anything else."""
    with view.busy("opening the data sets"):
        data = {stream.name: stream.open() for stream in streams}
    twins = [name for name, d in data.items() if d.synthetic]
    if twins:
        view.say(
            f"[bold yellow]SYNTHETIC DATA for {', '.join(twins)}[/]: the real data cannot be had here (set TIDEWATCH_DATA to a "
            "folder that holds it); results on made-up data say nothing about the real one."
        )
    else:
        view.say("[bold]Tidewatch demo[/] on real data: NAB, New York taxi and KDD Cup 99, replayed through Kafka")
    for stream in streams:
        d = data[stream.name]
        windows = sum(len(known.windows) for known in d.labels().values())
        view.event(
            f"{stream.name}: {len(d):,} observations of {len(d.all_series)} series, {windows} labelled windows; {d.source}"
        )
    return data


def _prepare(out: Path) -> None:
    """An empty folder for logs and models; what an earlier run left in them is removed."""
    for name in ("logs", "models"):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir(parents=True)


def _model_files(options: Options) -> dict[str, Path]:
    return {s.name: options.out / "models" / f"{s.name}.tidewatch" for s in options.streams}


def _train(options: Options, data: Mapping[str, Dataset], view: View) -> dict[str, Model]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # weights are a function of seed and threads
    files, models = _model_files(options), {}
    try:
        with view.training([s.name for s in options.streams]) as bars:
            for stream in options.streams:

                def on_step(step: Step, name: str = stream.name) -> None:
                    bars.step(name, step)

                models[stream.name] = train(stream, data[stream.name], files[stream.name], on_step)
    finally:
        torch.set_num_threads(before)
    return models


def _start_workers(options: Options, environment: Mapping[str, str], children: Children) -> list[int]:
    """Start the worker processes; returns the ports of their /metrics."""
    ports = []
    for k in range(1, options.workers + 1):
        ports.append(free_port())
        own = {
            **environment,
            "TIDEWATCH_WORKER__INSTANCE_ID": f"demo-worker-{k}",
            "TIDEWATCH_WORKER__METRICS_PORT": str(ports[-1]),
        }
        command = [sys.executable, "-m", "pipeline", "worker"]
        children.start(f"worker-{k}", command, own, options.out / "logs" / f"worker-{k}.log")
    return ports


def _own_environment() -> dict[str, str]:
    """What the demo and its processes see of the environment: the user's own Tidewatch settings must not reach them."""
    for name in list(os.environ):
        if name.startswith("TIDEWATCH_") and name not in _KEPT:
            del os.environ[name]
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


class _Replay(threading.Thread):
    """One stream's replay; `sent` is what Kafka has acknowledged."""

    def __init__(self, topic: str, data: Dataset, speed: str, settings: Settings) -> None:
        super().__init__(name=f"replay {topic}", daemon=True)
        self.timeline = Timeline(list(data.series().values()), table=data.kind == "table")
        self.error: Exception | None = None
        self.over = False
        self._stop = threading.Event()
        self._publisher = Publisher(topic, librdkafka_config(settings.kafka))
        self._speed = MAX_SPEED if speed == "max" else parse_speed(speed)
        self._told = Replaying(data.name, len(self.timeline), speed)
        self._tell = partial(telling, settings.redis, replays_into(topic), self._told.name, self._told.word)

    @property
    def sent(self) -> int:
        return self._publisher.delivered

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> None:
        try:
            with self._publisher as publisher, self._tell():
                for records in replay(self.timeline, Clock(self._speed, sleep=publisher.wait)):
                    publisher.send(records.keys, records.values)
                    self._told.sent, self._told.when = publisher.delivered, int(records.timestamps[-1])
                    if self._stop.is_set():
                        return
            self.over = True
        except Exception as error:
            self.error = error  # raised by whoever watches


def _replay(
    options: Options,
    settings: Settings,
    data: Mapping[str, Dataset],
    ports: Sequence[int],
    children: Children,
    facts: Facts,
    view: View,
) -> list[Alert]:
    """Replay all streams at once and watch until every record is scored, stored and its alerts are published."""
    from pipeline.alerts.feed import AlertFeed
    from pipeline.demo.watch import Tracker, WorkerWatch
    from pipeline.kafka.group_watch import GroupWatch

    inputs = {s.name: s.input_topic for s in settings.streams}
    replays = {name: _Replay(topic, data[name], options.speed, settings) for name, topic in inputs.items()}
    watch = WorkerWatch(ports)
    tracker = Tracker(watch, {name: len(r.timeline) for name, r in replays.items()})
    group = GroupWatch(settings.kafka, settings.worker.group)
    with ExitStack() as stack:
        stack.callback(group.close)
        stack.enter_context(watch)
        feed = stack.enter_context(AlertFeed(settings.kafka, ALERT_TOPIC))
        for r in replays.values():
            stack.callback(r.stop)
            r.start()
        show = stack.enter_context(view.replay())
        ahead, moved_at, committed = -1, time.monotonic(), 0
        while True:
            for restart in children.check():
                facts.restarts.append(f"{restart.name} ended by {restart.how}")
                view.event(f"[yellow]{restart.name} ended by {restart.how}; started again as process {restart.pid}[/]")
            for r in replays.values():
                if r.error is not None:
                    raise r.error
            fresh = feed.fresh()
            for alert in fresh:
                view.alert(alert)
            tracker.update({name: r.sent for name, r in replays.items()}, fresh)
            show.show(tracker.streams)
            facts.peak_bytes = max(facts.peak_bytes, _resident())
            facts.sent = sum(r.sent for r in replays.values())
            if all(r.over for r in replays.values()):
                committed = group.committed(list(inputs.values()))
                if committed >= facts.sent:
                    break
            progress = facts.sent + committed + sum(s.processed for s in tracker.streams.values())
            if progress > ahead:
                ahead, moved_at = progress, time.monotonic()
            elif time.monotonic() - moved_at > PATIENCE:
                raise BrokerError(
                    f"nothing moves for {PATIENCE:.0f} s with {facts.sent - committed:,} records waiting; see {options.out / 'logs'}"
                )
            time.sleep(LOOK_EVERY)
        # What is committed is published: the feed only has to come to the topic's end.
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 1.0:
            if fresh := feed.fresh():
                quiet_since = time.monotonic()
                for alert in fresh:
                    view.alert(alert)
            for state in tracker.streams.values():
                state.processed = state.sent
            tracker.update({name: r.sent for name, r in replays.items()}, fresh)
            time.sleep(0.1)
        show.show(tracker.streams, last=True)
        return feed.alerts


def _evaluate(
    options: Options,
    settings: Settings,
    data: Mapping[str, Dataset],
    models: Mapping[str, Model],
    alerts: Sequence[Alert],
) -> list[StreamResult]:
    from pipeline.demo.results import evaluate
    from pipeline.demo.scores import as_columns, read_scores

    results = []
    for stream in options.streams:
        scores = as_columns(read_scores(settings.kafka, score_topic(stream)))
        own = [a for a in alerts if a.stream == stream.name]
        results.append(evaluate(stream, data[stream.name], models[stream.name].training_rows, scores, own))
    return results


def _report(
    options: Options, results: Sequence[StreamResult], models: Mapping[str, Model], facts: Facts, view: View
) -> Path:
    from pipeline.demo.page import write_page
    from pipeline.demo.summary import print_summary

    print_summary(results, view.console)
    return write_page(options.out / "report.html", results, models, facts)


def _keep(config: Path, children: Children, view: View) -> None:
    """Leave it running until Ctrl-C."""
    view.say(
        f"\nStill running. In another terminal:\n\n  export TIDEWATCH_CONFIG={config.resolve()}\n"
        "  tidewatch alerts --follow\n  tidewatch replay taxi --speed 3600x\n  tidewatch doctor\n\nCtrl-C stops everything."
    )
    try:
        while True:
            for restart in children.check():
                view.event(f"[yellow]{restart.name} ended by {restart.how}; started again as process {restart.pid}[/]")
            time.sleep(LOOK_EVERY)
    except KeyboardInterrupt:
        view.say("stopping")


def _resident() -> int:
    """Resident memory of this process and all below it, in bytes."""
    total = 0
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


@contextmanager
def _ends_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, interrupt) for n in (signal.SIGTERM, signal.SIGHUP)}
    before[signal.SIGINT] = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_at_once_if_asked_again() -> None:
    """From here on everything is being stopped. Who cannot wait leaves nothing running: watchers end what lost its parent."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, frame: os._exit(128 + number))
