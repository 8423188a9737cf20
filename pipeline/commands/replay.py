"""`tidewatch replay`: a recorded data set, or a file, as a live stream."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from pipeline.commands.options.files import (
    AsTable,
    Read,
    SeriesColumn,
    TimestampColumn,
    TimeZone,
    ValueColumns,
    Wide,
    layout_of,
    say,
)
from pipeline.commands.options.stream import Brokers

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from pipeline.partition.stores.presence import Replaying
    from pipeline.settings import Settings
    from producers.clock import Clock
    from producers.datasets import Dataset, Layout
    from producers.publisher import Publisher
    from producers.replay import Pace, Timeline

BATCH = 20_000
"""Observations that are handed on at once, at most, as compact batches."""
FLUSH_AFTER_CTRL_C_S = 5.0
NOT_DELIVERED = 1
INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("replay", no_args_is_help=True)(replay)


def replay(
    source: Annotated[
        str,
        typer.Argument(
            help="nab, taxi, kdd, kdd-all, kdd-corrected, creditcard, ctg, mnist; odds-NAME; csv; synthetic."
        ),
    ],
    path: Annotated[
        str,
        typer.Argument(
            help="csv: the file (CSV, JSON, Excel, Parquet), folder or glob. synthetic: whose twin (nab, taxi, kdd, creditcard)."
        ),
    ] = "",
    topic: Annotated[str, typer.Option(help="Topic to send to; default: <source>.observations.")] = "",
    series: Annotated[list[str] | None, typer.Option(help="Series by name or GLOB; may be given again.")] = None,
    speed: Annotated[
        str, typer.Option(help="How much faster than it was recorded: 1x, 600x; max does not wait.")
    ] = "max",
    start: Annotated[str, typer.Option("--from", help="First event time (ISO 8601, UTC unless it says).")] = "",
    end: Annotated[str, typer.Option("--to", help="Event time to stop before.")] = "",
    loop: Annotated[bool, typer.Option("--loop", help="Start again at the end, event times shifted on.")] = False,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Records a second, whatever the event times (instead of --speed).")
    ] = None,
    brokers: Brokers = "",
    timestamp_column: TimestampColumn = None,
    value_columns: ValueColumns = "",
    series_column: SeriesColumn = None,
    time_zone: TimeZone = "UTC",
    table: AsTable = False,
    wide: Wide = False,
    read: Read = None,
    batches: Annotated[
        bool, typer.Option("--batches", help="Send compact batches, many observations in one message, instead of JSON.")
    ] = False,
    delivery_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which a record that Kafka does not take counts as lost.")
    ] = 30.0,
    config: Annotated[
        Path | None, typer.Option(help="Settings file; default: TIDEWATCH_CONFIG, ./tidewatch.toml.")
    ] = None,
) -> None:
    """Send recorded data to a Kafka topic as if it happened now: merged by event time, keyed by series."""
    from pipeline.kafka import topics
    from pipeline.kafka.clients import connect_admin, librdkafka_config
    from pipeline.partition.stores.presence import Replaying
    from pipeline.settings import load_settings, with_brokers
    from producers.clock import Clock, parse_speed
    from producers.errors import DeliveryError, ProducerError
    from producers.publisher import Publisher
    from producers.replay import Pace, Timeline, dated

    if rate is not None and speed != "max":
        raise ProducerError("--rate and --speed exclude each other: give one of them")
    layout = layout_of(timestamp_column, value_columns, series_column, time_zone, table=table, wide=wide, read=read)
    first, last = _moment(start, "--from"), _moment(end, "--to")
    pace = parse_speed(speed) if rate is None else 1.0
    dataset = dated(_open(source, path, layout))
    say(_console(stderr=True), dataset)
    if batches and dataset.kind == "table":
        raise ProducerError("rows of a table are sent as JSON, one by one: leave out --batches")
    timeline = Timeline(list(dataset.series(*(series or ())).values()), first, last, table=dataset.kind == "table")
    timeline.check_times()
    settings = load_settings(config)
    kafka = with_brokers(settings.kafka, brokers)
    topic = topic or _default_topic(dataset, settings)
    _require_no_output(settings, topic)
    admin = connect_admin(kafka)
    near = topics.nearest(topic, topics.names(admin, kafka))
    created = topics.create(admin, kafka, [topics.input_plan(topic)])
    publisher = Publisher(topic, librdkafka_config(kafka), delivery_timeout=delivery_timeout)
    partitions = publisher.connect(kafka.request_timeout.total_seconds())
    if batches:
        timeline.in_batches(partitions)
    _announce(dataset, timeline, publisher.topic)
    if created:
        hint = f" ({near} was there already)" if near else ""
        _console().print(f"created topic [bold]{escape(topic)}[/] with {kafka.partitions} partitions{escape(hint)}")
    how_fast = speed if rate is None else f"{rate:g} records/s"
    replaying = Replaying(dataset.name, None if loop else len(timeline), how_fast)
    clock, size = Clock(pace, sleep=publisher.wait), Pace(rate, BATCH if batches else 2000)
    try:
        with _told(settings, topic, replaying):
            _send(timeline, clock, size, publisher, replaying, loop=loop)
    except DeliveryError as error:
        _console(stderr=True).print(f"[red]error:[/] {escape(str(error))}")
        raise typer.Exit(NOT_DELIVERED) from error


def _open(source: str, path: str, layout: Layout) -> Dataset:
    """The data set that the arguments name."""
    from producers.datasets import open_dataset, open_file
    from producers.errors import ProducerError

    if source == "csv":
        if not path:
            raise ProducerError("replay csv needs a file: tidewatch replay csv PATH")
        return open_file(Path(path), layout)
    if source == "synthetic":
        return open_dataset(f"synthetic-{path or 'nab'}")
    if path:
        msg = f"replay {source} takes no path ({path}); a file of your own is replayed by: tidewatch replay csv {path}"
        raise ProducerError(msg)
    return open_dataset(source)


def _moment(text: str, option: str) -> int | None:
    """Event time in ms; None where there is none. See `producers.times.typed_time`."""
    from producers.errors import ProducerError
    from producers.times import typed_time

    if not text:
        return None
    try:
        return round(typed_time(text).timestamp() * 1000)
    except ValueError as error:
        msg = f"{option} {text!r} {error}: write 2014-11-01 or 2014-11-01T12:00+01:00"
        raise ProducerError(msg) from error


def _default_topic(dataset: Dataset, settings: Settings) -> str:
    """The input topic of the stream of that name, else `<data set>.observations`, always a legal topic name."""
    twin = "synthetic-" if dataset.synthetic else ""
    name = re.sub(r"[^a-z0-9_-]+", "-", f"{twin}{dataset.name}".lower())
    return next((s.input_topic for s in settings.streams if s.name == name), f"{name}.observations")


def _require_no_output(settings: Settings, topic: str) -> None:
    """Refuse a topic that a stream's workers write to: whoever reads it expects no observations there."""
    from producers.errors import ProducerError

    for stream in settings.streams:
        outputs = {
            "alert_topic": stream.alert_topic,
            "dead_letter_topic": stream.dlq,
            "score_topic": stream.score_topic,
        }
        for setting, output in outputs.items():
            if output == topic:
                msg = f"topic {topic} is the {setting} of stream {stream.name}: observations go to {stream.input_topic}"
                raise ProducerError(msg)


def _announce(dataset: Dataset, timeline: Timeline, topic: str) -> None:
    if dataset.synthetic:
        _console().print(f"[yellow]{escape(dataset.source)}[/]")
    left_out = f", {timeline.skipped:,} with a missing number left out" if timeline.skipped else ""
    _console().print(
        f"{escape(dataset.name)} -> topic [bold]{escape(topic)}[/]: {len(timeline):,} records of "
        f"{len(timeline.names):,} series, {_day(timeline.times[0])} to {_day(timeline.times[-1])}{left_out}"
        if len(timeline)
        else f"{escape(dataset.name)}: no records"
    )


@contextmanager
def _told(settings: Settings, topic: str, replaying: Replaying) -> Iterator[None]:
    """Say in the store how far it is, for the page, where the topic is a stream's of these settings; else a replay knows only Kafka."""
    if all(s.input_topic != topic for s in settings.streams):
        yield
        return
    from pipeline.partition.stores.presence import replays_into
    from pipeline.partition.stores.telling import telling

    with telling(settings.redis, replays_into(topic), replaying.name, replaying.word):
        yield


def _send(
    timeline: Timeline, clock: Clock, pace: Pace, publisher: Publisher, replaying: Replaying, *, loop: bool
) -> None:
    """Replay with a progress bar and a last line that says what arrived; Ctrl-C ends it in order.

    Raises DeliveryError where a record was not delivered.
    """
    from producers.replay import replay as records

    began = time.monotonic()
    interrupted = False
    sent, packed = 0, False
    try:
        with _bar() as bar:
            task = bar.add_task("", total=None if loop else len(timeline), when="")
            for batch in records(timeline, clock, pace, loop=loop):
                publisher.send(batch.keys, batch.values, batch.partitions)
                sent, packed = sent + len(batch.timestamps), packed or len(batch.values) != len(batch.timestamps)
                replaying.sent, replaying.when = sent, int(batch.timestamps[-1])
                bar.update(task, completed=sent, when=_day(batch.timestamps[-1]))
    except KeyboardInterrupt:
        interrupted = True
    delivered = publisher.flush(FLUSH_AFTER_CTRL_C_S) if interrupted else publisher.flush()
    seconds = time.monotonic() - began
    # Of one observation a record, what was delivered is the count: a Ctrl-C within `send` leaves one uncounted here.
    what = f"{sent:,} observations in {delivered:,} records" if packed else f"{delivered:,} records"
    _console().print(
        f"{'stopped by Ctrl-C: ' if interrupted else ''}{what} delivered to {escape(publisher.topic)} "
        f"in {seconds:.1f} s ({max(sent, delivered) / max(seconds, 1e-9):,.0f} a second)"
    )
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _bar() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.fields[when]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=_console(stderr=True),
        transient=True,
    )


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=True, highlight=False)


def _day(ms: int) -> str:
    return datetime.fromtimestamp(int(ms) / 1000, UTC).strftime("%Y-%m-%d %H:%M")
