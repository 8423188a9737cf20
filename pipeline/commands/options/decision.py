"""What the verbs that make a decision share: their options, how it is added, what is said of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.operations.desk import Desk
    from pipeline.operations.looking_back.trying import Trial
    from pipeline.partition.deciding.what import What
    from pipeline.settings import Settings

Series = Annotated[str, typer.Argument(metavar="SERIES", help="Name of the series, or a pattern: *, ?, [a-z].")]
Why = Annotated[str, typer.Option("--why", help="A word for those who read `tidewatch decisions`.")]
Wait = Annotated[bool, typer.Option("--wait", help="Say when and at which offset each partition took it.")]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="With --wait: seconds after which that is an error.")]
NewestDays = Annotated[
    float, typer.Option("--days", min=0, help="With --dry-run: compare the alerts of so many newest days; 0: do not.")
]
NewestRecords = Annotated[
    int,
    typer.Option(
        "--records", min=1, help="With --dry-run: replay so many of each partition's newest records, at most."
    ),
]


def decide_with(
    settings: Settings, stream: str, what: Callable[[Desk], Awaitable[What]], *, wait: bool, timeout: float
) -> None:
    """Add the decision that is made of what the desk knows, and say its serial; with `wait` where it was taken."""
    import asyncio

    from pipeline.operations.desk import at_desk

    async def decide() -> None:
        async with at_desk(settings, stream) as desk:
            made = await what(desk)
            serial = await desk.decide(made)
            if nothing := await desk.nothing_comes_of(made):
                typer.echo(f"warning: {nothing}", err=True)
            await say(desk, stream, serial, wait=wait, timeout=timeout)

    asyncio.run(decide())


async def say(desk: Desk, stream: str, serial: int, *, wait: bool, timeout: float) -> None:
    """Which decision it is, and with --wait where each partition took it."""
    typer.echo(f"decision {serial} of stream {stream}")
    if wait:
        for partition, offset in sorted((await desk.wait(serial, timeout=timeout)).items()):
            typer.echo(f"partition {partition} took it at offset {offset}")


def _began(trial: Trial) -> str:
    """Where the replay began, partitions that began alike together."""
    places: dict[str, list[int]] = {}
    for partition, began in sorted(trial.began.items()):
        places.setdefault(str(began), []).append(partition)
    if len(places) == 1:
        return f" {next(iter(places))}"
    return ": " + "; ".join(
        f"partition{'s' if len(of) > 1 else ''} {', '.join(map(str, of))} {began}" for began, of in places.items()
    )


def print_trial(trial: Trial) -> None:
    """Say how many alerts there are now and then, and which differ."""
    where = "" if trial.warm else "; what was learnt before is not known there (--records looks further back)"
    typer.echo(f"{trial.records:,} records replayed{_began(trial)}{where}")
    typer.echo(f"from {trial.since} to {trial.until}: {len(trial.now)} alerts now, {len(trial.then)} then")
    for sign, alerts in (("-", trial.gone), ("+", trial.new)):
        for alert in alerts:
            typer.echo(f"  {sign} {alert.starts_at} {alert.severity:<8} {alert.summary or alert.series}")
