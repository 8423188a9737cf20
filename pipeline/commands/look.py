"""`tidewatch look`: what is in a file, before anything is trained on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options.files import (
    AsTable,
    Channels,
    Read,
    SeriesColumn,
    TimestampColumn,
    TimeZone,
    ValueColumns,
    Wide,
    layout_of,
    reading,
    say,
)
from pipeline.commands.options.stream import ConfigFile

DEEP = 50
"""Series whose seasons and trend are looked for; of the others the rest is told."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("look", no_args_is_help=True)(look)


def look(
    file: Annotated[
        str,
        typer.Argument(
            help="A file, folder or glob as `tidewatch score` reads it, - for the standard input; kafka:TOPIC; or a data set: nab, taxi, kdd, ..."
        ),
    ],
    series: Annotated[
        list[str] | None, typer.Option("--series", help="Only series that match this GLOB; may be given again.")
    ] = None,
    most: Annotated[
        int, typer.Option(min=1, help="Series that are told one by one, those with something suspicious first.")
    ] = 10,
    picture: Annotated[Path | None, typer.Option(help="Draw the series: .png, .svg or .pdf.")] = None,
    html: Annotated[Path | None, typer.Option(help="One file with pictures to zoom into: .html.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all that was found, of every series.")] = None,
    timestamp_column: TimestampColumn = None,
    value_columns: ValueColumns = "",
    series_column: SeriesColumn = None,
    time_zone: TimeZone = "UTC",
    table: AsTable = False,
    wide: Wide = False,
    read: Read = None,
    channels: Channels = None,
    config: ConfigFile = None,
) -> None:
    """Tell what is in a file: series, step, gaps, seasons, trend, missing, constant, suspicious. Nothing is trained.

    A season counts where its odd cycles foretell its even ones; the number behind it, 0 to 1, is how much of the movement it is.
    """
    from rich.console import Console

    from pipeline.commands.options.files import check_writable
    from pipeline.offline.looking.series import look_at
    from pipeline.offline.looking.words import as_json, lines, season_notes
    from pipeline.offline.opening import open_data

    layout = layout_of(timestamp_column, value_columns, series_column, time_zone, table=table, wide=wide, read=read)
    for option, path, endings in (
        ("--picture", picture, (".png", ".svg", ".pdf")),
        ("--html", html, (".html",)),
        ("--json", json_file, ()),
    ):
        if path is not None:
            check_writable(path, option, endings)
    with reading(file) as on_read:
        data = open_data(file, layout, channels=channels, config=config, on_read=on_read)
    console = Console(highlight=False, soft_wrap=True)
    say(console, data)
    chosen = data.select(*(series or ()))
    looks = [look_at(chosen, s, deep=k < DEEP) for k, s in enumerate(chosen.series().values())]
    for line in lines(looks, most):
        console.print(line, markup=False)
    notes = list(season_notes(looks))
    for note in notes:
        console.print(f"note: {note}", markup=False)
    if len(looks) > DEEP:
        console.print(
            f"note: seasons and trend were looked for in the first {DEEP} series (--series GLOB for others)",
            markup=False,
        )
    if picture is not None:
        from pipeline.offline.looking.picture import draw

        draw(chosen, looks, picture)
        console.print(f"picture: {picture}", markup=False)
    if html is not None:
        from pipeline.offline.report.looked import write_look

        write_look(chosen, looks, notes, html)
        console.print(f"report: {html}", markup=False)
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(chosen, looks), ensure_ascii=False, indent=1), encoding="utf-8")
        console.print(f"all of it: {json_file}", markup=False)
