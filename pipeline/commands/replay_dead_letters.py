"""`tidewatch replay-dead-letters`: records that could not be used, mended or as they are, sent to their stream again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, NamedTuple

import typer

from pipeline.commands.options.stream import ConfigFile

if TYPE_CHECKING:
    from datetime import datetime

    from pipeline.operations.dead_letters.letters import Letter, Round, Selection
    from pipeline.operations.dead_letters.mending import Mend
    from pipeline.operations.dead_letters.replay import DeadLetters
    from pipeline.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("replay-dead-letters")(replay_dead_letters)


def replay_dead_letters(
    stream: Annotated[
        str, typer.Argument(metavar="STREAM", help="Name of the stream, or with --intake of the intake.")
    ],
    intake: Annotated[
        bool,
        typer.Option(
            "--intake",
            help="The letters of an intake: each record goes back to the raw topic and partition it came from.",
        ),
    ] = False,
    reason: Annotated[
        list[str] | None,
        typer.Option(help="Only letters of this reason; may be given again. The others stay for a later run."),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Leave out letters older than this, for good. As 2026-11-22T14:00Z.")
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many letters; 0: all there are.")] = 0,
    again: Annotated[bool, typer.Option("--again", help="Also letters that an earlier run has dealt with.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent; send and remember nothing.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the letters as lines of JSON to mend; send and remember nothing."),
    ] = None,
    from_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Send the lines of a file that --export wrote, as they are now. A line taken out is not sent.",
        ),
    ] = None,
    edit: Annotated[
        str,
        typer.Option(
            metavar="COMMAND",
            help="Mend with a program: it reads what --export writes and writes what --from-file reads.",
        ),
    ] = "",
    config: ConfigFile = None,
) -> None:
    """Send dead letters to their stream's input topic again, or back to an intake's raw topics, in the order of their records.

    Each goes once: how far this came is remembered, as the offsets of a consumer group, once the broker has acknowledged it. A run that
    is cut short sends some of it again, and two runs at the same time send everything twice. Key and headers are the record's own;
    `tidewatch.replay.topic`, `.partition`, `.offset` say where it was first, `.attempt` how often it was sent. A record that was too
    large to be carried is shown and not sent.

    Metrics older than the newest of their series count as late: they are taken, and not scored.
    """
    import shlex
    from functools import partial

    from pipeline.errors import TidewatchError
    from pipeline.operations.dead_letters.letters import Selection
    from pipeline.operations.dead_letters.mending import apply, edited, read_file
    from pipeline.operations.dead_letters.replay import DeadLetters
    from pipeline.settings import load_settings

    if sum(map(bool, (export, from_file, edit))) > 1:
        msg = "--export, --from-file and --edit exclude each other"
        raise typer.BadParameter(msg)
    settings = load_settings(config)
    where = _of_intake(settings, stream) if intake else _of_stream(settings, stream)
    reasons = frozenset(reason or ())
    mend: Mend | None = None
    places = None
    if from_file is not None:
        lines = read_file(from_file)
        if not lines:
            msg = f"{from_file} holds no line"
            raise TidewatchError(msg)
        mend, places = partial(apply, lines), frozenset(lines)
        reasons = reasons or frozenset(line.reason for line in lines.values())
    elif edit:
        mend = partial(edited, shlex.split(edit))
    selection = Selection(reasons, _time(since), limit, again, places, where.others, where.only)
    with DeadLetters(settings.kafka, topic=where.letters, to=where.to, group=where.group, back=intake) as letters:
        if export is not None:
            _export(letters, selection, export)
        else:
            _replay(letters, selection, mend, to=where.told, dry_run=dry_run)


class _Where(NamedTuple):
    """Where dead letters lie, and where their records go."""

    letters: str
    to: list[str]
    told: str
    group: str
    others: frozenset[str] = frozenset()
    only: frozenset[str] | None = None


def _of_stream(settings: Settings, name: str) -> _Where:
    from pipeline.operations.state_admin import configured

    own = configured(settings, name)
    others = frozenset(s.input_topic for s in settings.streams if s.name != name)
    group = f"{settings.worker.group}.dead-letters.{name}"
    return _Where(own.dlq, [own.input_topic], own.input_topic, group, others)


def _of_intake(settings: Settings, name: str) -> _Where:
    from pipeline.errors import SettingsError
    from pipeline.kafka import topics
    from pipeline.kafka.clients import connect_admin

    own = next((i for i in settings.intake if i.name == name), None)
    if own is None:
        known = ", ".join(i.name for i in settings.intake) or "none"
        raise SettingsError(f"there is no intake {name} in the settings; there is: {known}")
    there = topics.names(connect_admin(settings.kafka), settings.kafka)
    raw = sorted(topic for topic in there if own.reads(topic))
    if not raw:
        raise SettingsError(f"there is no topic that intake {name} reads: none matches {', '.join(own.topics)}")
    told = raw[0] if len(raw) == 1 else f"the raw topics of intake {name}"
    group = f"{settings.worker.group}.dead-letters.intake.{name}"
    return _Where(own.dlq, raw, told, group, only=frozenset(raw))


def _replay(letters: DeadLetters, selection: Selection, mend: Mend | None, *, to: str, dry_run: bool) -> None:
    sent = left_out = 0
    rounds = []
    for some in letters.rounds(selection):
        rounds.append(some)
        mended = some.letters if mend is None else mend(some.letters)
        for letter in some.cut:
            typer.echo(f"{_place(letter)}: not sent, the letter holds only the head of its record ({letter.cut})")
        if dry_run:
            for letter in mended:
                typer.echo(f"{_place(letter)}: {letter.reason}: {letter.detail}" + _attempts(letter))
        else:
            letters.send(mended)
            some.done()
        sent += len(mended)
        left_out += len(some.letters) - len(mended)
        some.letters = []  # of many rounds only the counts are kept
    does = "would be sent" if dry_run else "sent"
    typer.echo(f"{sent:,} records {does} to {to}" + _counts(rounds, left_out))


def _export(letters: DeadLetters, selection: Selection, path: Path) -> None:
    from pipeline.errors import TidewatchError

    try:
        with path.open("wb") as file:
            count, rounds = _write(letters, selection, file)
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror or error}"
        raise TidewatchError(msg) from error
    typer.echo(f"{count:,} letters written to {path}; mend key and value, then --from-file {path}" + _counts(rounds, 0))


def _write(letters: DeadLetters, selection: Selection, file: BinaryIO) -> tuple[int, list[Round]]:
    from pipeline.operations.dead_letters.mending import lines_of

    count, rounds = 0, []
    for some in letters.rounds(selection):
        rounds.append(some)
        file.write(lines_of(some.letters))
        count += len(some.letters)
        some.letters = []
    return count, rounds


def _counts(rounds: list[Round], left_out: int) -> str:
    counts = {
        "left out by the mending": left_out,
        "too large to be carried, not sent": sum(len(r.cut) for r in rounds),
        "dealt with by an earlier run (--again takes them all the same)": sum(r.sent_before for r in rounds),
        "twice in the topic": sum(r.repeated for r in rounds),
        "no dead letters of Tidewatch": sum(r.foreign for r in rounds),
        "of topics that are not there, or not read by it": sum(r.elsewhere for r in rounds),
    }
    return "".join(f"; {count:,} {what}" for what, count in counts.items() if count)


def _place(letter: Letter) -> str:
    return f"{letter.topic}[{letter.source_partition}] offset {letter.source_offset}"


def _attempts(letter: Letter) -> str:
    return "" if letter.attempt == 1 else f" (attempt {letter.attempt})"


def _time(text: str) -> datetime | None:
    from producers.times import typed_time

    if not text:
        return None
    try:
        return typed_time(text)
    except ValueError as error:
        msg = f"{text!r} {error}: write one like 2026-11-22T14:00Z"
        raise typer.BadParameter(msg, param_hint="--since") from None
