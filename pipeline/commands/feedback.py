"""`tidewatch feedback`, `tidewatch comment` and `tidewatch undo`: what people say of alerts, and taking it back."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options.decision import NewestDays, NewestRecords, Timeout, Wait, Why, decide_with, print_trial
from pipeline.commands.options.stream import ConfigFile, StreamName

if TYPE_CHECKING:
    from pipeline.alerts.selecting.feedback import Feedback
    from pipeline.operations.desk import Desk
    from pipeline.partition.deciding.what import What
    from pipeline.settings import Settings


class Word(StrEnum):
    """What can be said."""

    normal = "normal"
    noise = "noise"
    missed = "missed"


class Cycle(StrEnum):
    """How often it recurs."""

    day = "day"
    week = "week"


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    for verb in (feedback, comment, undo):
        app.command()(verb)


def feedback(
    stream: StreamName,
    said: Annotated[
        Word,
        typer.Argument(
            metavar="normal|noise|missed",
            help="normal: what the alert told of is as it should be. noise: it is nothing. missed: there should have been an alert.",
        ),
    ],
    alert: Annotated[str, typer.Argument(metavar="[ALERT]", help="Id of the alert, or how it begins.")] = "",
    series: Annotated[
        str, typer.Option("--series", help="With --at, in place of an alert's id: name of the series.")
    ] = "",
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="Event time, as 2026-11-22T14:00Z.")] = "",
    until: Annotated[
        str,
        typer.Option(
            "--until", metavar="TIME", help="With missed: the strongest observation from --at to there is meant."
        ),
    ] = "",
    every: Annotated[
        Cycle | None,
        typer.Option(
            "--every",
            help="With normal or noise: it holds at that time of the day or week only, half an hour around it.",
        ),
    ] = None,
    records: Annotated[
        int, typer.Option(min=1, help="With missed: how many of the partition's newest records are replayed, at most.")
    ] = 500_000,
    why: Why = "",
    wait: Wait = False,
    timeout: Timeout = 30,
    config: ConfigFile = None,
) -> None:
    """Say that an alert was normal or noise, or that one was missed: the level of that series moves, for a while and within bounds.

    An alert that is open ends. Scores stay what they are. `tidewatch undo` takes it back; docs/decisions.md has by how much and for how long.
    """
    import asyncio

    from pipeline.errors import TidewatchError
    from pipeline.operations.looking_back.evidence import find_alert, of_alert
    from pipeline.operations.looking_back.replaying import event_time
    from pipeline.settings import load_settings

    settings = load_settings(config)
    if bool(alert) == bool(series) or bool(series) != bool(at):
        msg = "say of what: an alert's id, or --series NAME --at TIME"
        raise TidewatchError(msg)
    time = event_time(at) if at else 0
    if said is Word.missed:
        if alert or every:
            msg = "missed is said of a time at which there was no alert: --series NAME --at TIME, without --every"
            raise TidewatchError(msg)
        end = event_time(until, "--until") if until else time
        what = _missed(settings, stream, series, time, end, records, why)
    elif until:
        msg = "--until goes with missed: an alert says itself how long it lasted"
        raise TidewatchError(msg)
    else:
        found = asyncio.run(find_alert(settings, stream, id=alert, series=series, at=time))
        what = of_alert(
            found, "normal" if said is Word.normal else "noise", every=every.value if every else "", why=why
        )

    async def same(_: Desk) -> What:
        return what

    decide_with(settings, stream, same, wait=wait, timeout=timeout)


def comment(
    stream: StreamName,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What there is to say, in one line.")],
    alert: Annotated[str, typer.Option("--alert", metavar="ID", help="Id of the alert, or how it begins.")] = "",
    series: Annotated[
        str, typer.Option("--series", metavar="NAME", help="In place of an alert: name of the series.")
    ] = "",
    wait: Wait = False,
    timeout: Timeout = 30,
    config: ConfigFile = None,
) -> None:
    """Say something about an alert or a series. It stands in the alert's life on the page and in `tidewatch decisions`; nothing else depends on it."""
    import asyncio

    from pipeline.errors import TidewatchError
    from pipeline.operations.desk import comment_on
    from pipeline.operations.looking_back.evidence import find_alert
    from pipeline.settings import load_settings

    if bool(alert) == bool(series):
        msg = "say on what: --alert ID, or --series NAME"
        raise TidewatchError(msg)
    what = comment_on(series, text)
    settings = load_settings(config)
    if alert:
        found = asyncio.run(find_alert(settings, stream, id=alert))
        what = comment_on(found.series, text, found.id)

    async def same(_: Desk) -> What:
        return what

    decide_with(settings, stream, same, wait=wait, timeout=timeout)


def undo(
    stream: StreamName,
    serial: Annotated[
        int,
        typer.Argument(
            metavar="SERIAL",
            help="Of feedback, a silence, an acknowledgement or a comment, from `tidewatch decisions`.",
        ),
    ],
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only say which alerts there would have been if it had never been decided."),
    ] = False,
    days: NewestDays = 7,
    records: NewestRecords = 200_000,
    wait: Wait = False,
    timeout: Timeout = 30,
    config: ConfigFile = None,
) -> None:
    """Take feedback, a silence, an acknowledgement or a comment back.

    An alert that ended by it stays over; what is still anomalous begins the next.
    """
    from pipeline.settings import load_settings

    if dry_run:
        from pipeline.operations.looking_back.replaying import Place
        from pipeline.operations.looking_back.trying import attempt_without

        place = Place(load_settings(config), stream)
        print_trial(attempt_without(place, serial, days=days, newest=records, say=lambda t: typer.echo(t, err=True)))
        typer.echo("nothing was changed (--dry-run)")
        return

    async def undoing(desk: Desk) -> What:
        return await desk.undoing(serial)

    decide_with(load_settings(config), stream, undoing, wait=wait, timeout=timeout)


def _missed(settings: Settings, stream: str, series: str, since: int, until: int, records: int, why: str) -> Feedback:
    """What was missed, with its evidence, which is said."""
    from pipeline.alerts.records import rfc3339
    from pipeline.alerts.selecting.feedback import Feedback
    from pipeline.commands.explain import known_partitions
    from pipeline.errors import TidewatchError
    from pipeline.operations.looking_back.evidence import strongest
    from pipeline.operations.looking_back.replaying import Place, partition_of

    if until < since:
        msg = "--until lies before --at: name the beginning with --at and the end with --until"
        raise TidewatchError(msg)
    place = Place(settings, stream)
    partition = partition_of(place, series, known_partitions(settings, stream, series))
    found = strongest(place, series, since, until, partition=partition, newest=records)
    typer.echo(
        f"at {rfc3339(found.at)} its score was {found.score:.3f}, {-found.strength:.2f} decades less rare than what is let pass"
    )
    typer.echo(f"replayed {found.began}")
    if not found.began.whole:
        typer.echo(
            "warning: older records were not replayed, so this is as if the series had begun later (--records)",
            err=True,
        )
    if not found.reached:
        typer.echo(
            "warning: no level may be laxer than one in 200 observations, and that one is commoner: the same again would not fire",
            err=True,
        )
    return Feedback(series, "missed", found.at, found.at, strength=found.strength, why=why)
