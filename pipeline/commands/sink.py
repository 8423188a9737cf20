"""`tidewatch sink`: alerts handed on to a webhook or to Alertmanager, in a process of its own."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipeline.settings import Settings

Url = Annotated[
    str,
    typer.Argument(
        envvar="TIDEWATCH_SINK_URL",
        show_envvar=False,
        help="Where to post to, http:// or https://. Where it is secret, give it by the environment (TIDEWATCH_SINK_URL) or by the file "
        "that TIDEWATCH_SINK_URL_FILE names: arguments are seen by all on the machine.",
    ),
]
Group = Annotated[str, typer.Option(help="Consumer group; sinks of one group share the alerts.")]
Beginning = Annotated[bool, typer.Option("--from-beginning", help="A new group begins with what the topic holds.")]
Updates = Annotated[bool, typer.Option("--updates", help="Also post a firing alert's regular updates.")]
Streams = Annotated[list[str] | None, typer.Option("--stream", help="Only this stream; may be given again.")]
Series = Annotated[str, typer.Option(metavar="GLOB", help="Only series whose name fits.")]
Authorization = Annotated[
    str,
    typer.Option(
        envvar="TIDEWATCH_SINK_AUTHORIZATION",
        help="Authorization header; better by the environment, or by the file that TIDEWATCH_SINK_AUTHORIZATION_FILE names.",
    ),
]
CaFile = Annotated[Path | None, typer.Option(help="PEM file of the authority that signed the receiver's certificate.")]
Timeout = Annotated[
    float, typer.Option(min=0.1, max=300.0, help="Seconds for the receiver's answer; doubled after each time-out.")
]
Interval = Annotated[float, typer.Option(min=1.0, help="Seconds between repetitions of what fires.")]
Page = Annotated[
    str,
    typer.Option(
        envvar="TIDEWATCH_PAGE_URL",
        show_envvar=False,
        help="Address under which people open the page of `tidewatch dashboard`: each alert then links to itself there (TIDEWATCH_PAGE_URL).",
    ),
]
Topic = Annotated[str, typer.Option(help="The alert topic; default: that of the streams.")]
Config = Annotated[Path | None, typer.Option(help="Settings file; default: TIDEWATCH_CONFIG, ./tidewatch.toml.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    sink = typer.Typer(no_args_is_help=True, help="Hand alerts on to a webhook or to Prometheus Alertmanager.")
    app.add_typer(sink, name="sink")
    sink.command("webhook")(webhook)
    sink.command("alertmanager")(alertmanager)


def webhook(
    url: Url = "",
    group: Group = "tidewatch-webhook",
    from_beginning: Beginning = False,
    updates: Updates = False,
    stream: Streams = None,
    series: Series = "*",
    authorization: Authorization = "",
    ca_file: CaFile = None,
    timeout: Timeout = 30.0,
    page: Page = "",
    topic: Topic = "",
    config: Config = None,
) -> None:
    """Post each alert that fires, grows more severe or resolves, in the body of Alertmanager's webhooks (version 4)."""
    from pipeline.alerts.sinks.post import Poster
    from pipeline.alerts.sinks.webhook import run
    from pipeline.alerts.subscribe import AlertSubscriber

    settings, topic = _settings(config, topic)
    _require_own_group(settings, group)
    poster = Poster(_url(url), authorization=authorization or _authorization(), ca_file=ca_file, timeout=timeout)
    subscriber = AlertSubscriber(
        settings.kafka,
        topic,
        start="beginning" if from_beginning else "new",
        group=group,
        streams=stream or (),
        series=series,
    )
    _run(run(subscriber, poster, updates=updates, page=page))


def alertmanager(
    url: Url = "",
    interval: Interval = 60.0,
    stream: Streams = None,
    series: Series = "*",
    authorization: Authorization = "",
    ca_file: CaFile = None,
    timeout: Timeout = 30.0,
    page: Page = "",
    topic: Topic = "",
    config: Config = None,
) -> None:
    """Keep Prometheus Alertmanager informed of what fires: labels stream, series, detector and severity."""
    from datetime import timedelta

    from pipeline.alerts.sinks.alertmanager import PATH, AlertStates, run
    from pipeline.alerts.sinks.post import Poster
    from pipeline.alerts.subscribe import AlertSubscriber

    settings, topic = _settings(config, topic)
    poster = Poster(
        _url(url).rstrip("/") + PATH, authorization=authorization or _authorization(), ca_file=ca_file, timeout=timeout
    )
    subscriber = AlertSubscriber(settings.kafka, topic, start="beginning", streams=stream or (), series=series)
    _run(run(subscriber, poster, interval=timedelta(seconds=interval), states=AlertStates(page=page)))


def _settings(config: Path | None, topic: str) -> tuple[Settings, str]:
    from pipeline import logs
    from pipeline.commands.alerts import alert_topic
    from pipeline.settings import load_settings

    settings = load_settings(config)
    logs.configure(settings.worker.log_format, settings.worker.log_level)
    return settings, topic or alert_topic(settings)


def _require_own_group(settings: Settings, group: str) -> None:
    """Refuse a group that workers or `replay-dead-letters` use: they would stop each other at every start."""
    from pipeline.errors import SettingsError

    workers = settings.worker.group
    if group == workers or group.startswith(f"{workers}.dead-letters."):
        msg = f"--group {group} is used by the workers (worker.group is {workers}): name one of the sink's own"
        raise SettingsError(msg)


def _url(given: str) -> str:
    from pipeline.errors import SettingsError
    from pipeline.settings import secret_file

    if url := given or secret_file("TIDEWATCH_SINK_URL_FILE"):
        return url
    raise SettingsError("where to post to is not said: name it, or set TIDEWATCH_SINK_URL or TIDEWATCH_SINK_URL_FILE")


def _authorization() -> str:
    from pipeline.settings import secret_file

    return secret_file("TIDEWATCH_SINK_AUTHORIZATION_FILE")


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run until SIGTERM or Ctrl-C; both end it in order."""
    import asyncio
    import contextlib
    import signal

    async def until_stopped() -> None:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(until_stopped())
