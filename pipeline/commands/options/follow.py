"""`tidewatch score --follow`: what is told at the terminal and written into files while a file grows."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from detectors.judgement.calendar import Calendar
    from detectors.model import Model
    from detectors.recipes import Recipe
    from pipeline.alerts.records import Alert
    from pipeline.offline.following.follow import Stop
    from pipeline.offline.following.scoring import Scoring
    from pipeline.offline.scoring.rows import ScoredRows
    from producers.datasets import Dataset, Layout

MOST_TOLD = 20
"""Alerts of what was there at the start that are told at the terminal."""


def follow_file(
    file: str,
    layout: Layout,
    choose: Callable[[Dataset, int | None, Console], tuple[Recipe, int | None]],
    trained: Model | None,
    train_rows: int | None,
    out: Path | None,
    alerts: Path | None,
    console: Console,
    stop: Stop | None = None,
    calendar: Calendar | None = None,
) -> None:
    """Score what is there and what is appended, until `stop` (None: until Ctrl-C).

    Raises
    ------
    DataError, DetectorError, SettingsError, ModelError
        It cannot be read, learnt from, or followed.
    """
    from detectors.judgement.calendar import Calendar
    from pipeline.commands.options.files import say
    from pipeline.offline.following.follow import FIRST_OF_PIPE, LEAST, Follower
    from pipeline.offline.following.scoring import Scoring
    from pipeline.offline.scoring.ready import made_ready

    path = _file_of(file)
    with ExitStack() as stack:
        ending = stop if stop is not None else stack.enter_context(_until_interrupted(console))
        follower = Follower(path, layout, ending, lambda line: console.print(line, markup=False))
        stack.callback(follower.close)
        if train_rows is not None:
            data = follower.first(train_rows + 1, of_a_series=True)
        else:
            data = follower.first(FIRST_OF_PIPE if follower.pipe and trained is None else LEAST)
        if data is None:
            console.print("nothing was scored: too few rows came to learn from", markup=False)
            return
        say(console, data)
        recipe, learnt = choose(data, train_rows, console)
        ready = made_ready(
            data, train_rows=learnt, recipe=recipe, model=trained, calendar=calendar or Calendar(layout.time_zone)
        )
        for note in ready.notes:
            console.print(f"note: {note}", markup=False)
        console.print(_learnt(data, ready.model, trained), markup=False)
        told = _Told(console, stack, out, alerts, data)
        scoring = Scoring(ready)
        told.begin(scoring.begin())
        follower.go_on(scoring, told)
        console.print(_summary(told, scoring, len(data), follower.wrong), markup=False)


def _file_of(file: str) -> Path:
    """Raises SettingsError, DataError for what is no file of lines."""
    from pipeline.errors import SettingsError
    from pipeline.offline.opening import KAFKA
    from producers.datasets import NAMES
    from producers.errors import DataError

    if file.startswith(KAFKA):
        msg = f"--follow is for files; a stream follows the topic: tidewatch score {file} --out scores.csv --apply, then tidewatch worker"
        raise SettingsError(msg)
    if file in NAMES and not Path(file).exists():
        msg = f"--follow: {file} is a recorded data set, which does not grow; score it without --follow, or replay it to a topic: tidewatch replay {file}"
        raise SettingsError(msg)
    if not file or "\0" in file:
        msg = f"{file!r} is no name of a file; give a file, or - for the standard input"
        raise DataError(msg)
    return Path(file)


@contextmanager
def _until_interrupted(console: Console) -> Iterator[threading.Event]:
    """Set at the first Ctrl-C (or SIGTERM); the second one ends at once."""
    asked = threading.Event()

    def end(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Told:
    """Rows and alerts at the terminal and in files, as they come."""

    def __init__(
        self, console: Console, stack: ExitStack, out: Path | None, alerts: Path | None, data: Dataset
    ) -> None:
        from pipeline.offline.scoring.writing import CsvRows

        self._console, self._metric = console, data.kind == "metric"
        self.files = [path for path in (out, alerts) if path is not None]
        self._rows = None if out is None else CsvRows(stack.enter_context(out.open("wb")))
        self._alerts: IO[bytes] | None = None if alerts is None else stack.enter_context(alerts.open("wb"))

    def say(self, line: str) -> None:
        """See `Listener`."""
        self._console.print(line, markup=False)

    def begin(self, rows: ScoredRows) -> None:
        """What was scored of what was there at the start: the alerts with the highest scores are told."""
        self._write(rows)
        last = {record.id: record for record in rows.records if record.fired}
        shown = sorted(last.values(), key=lambda a: -a.peak_score)[:MOST_TOLD]
        for record in (record for record in last.values() if record in shown):
            self.say(self._line(record))
        if len(last) > MOST_TOLD:
            self.say(f"{len(last) - MOST_TOLD:,} more alerts of lower scores")

    def scored(self, rows: ScoredRows) -> None:
        """See `Listener`."""
        self._write(rows)
        for record in rows.records:
            if record.fired and record.reason not in ("severity", "update"):
                self.say(self._line(record))

    def _write(self, rows: ScoredRows) -> None:
        from pipeline.offline.alert_list import as_lines

        if self._rows is not None:
            self._rows.write(rows)
        if self._alerts is not None:
            self._alerts.write(as_lines(rows.records))
            self._alerts.flush()

    def _line(self, record: Alert) -> str:
        what = "alert" if record.status == "firing" else record.status
        told = record.summary
        if not self._metric:
            columns = ", ".join(f"{f.name} {f.value}" for f in (record.evidence.features or [])[:3])
            told = f"{record.series}, row {record.evidence.offset + 1:,}: {columns}"
        return f"{what}, {record.severity} ({record.peak_score:.1f}), {record.kind}: {told}"


def _learnt(data: Dataset, model: Model, trained: Model | None) -> str:
    if trained is not None:
        return f"following; {len(data):,} rows were there, nothing is learnt from them (--model)"
    learnt = sum(model.training_rows.values())
    return (
        f"following; learnt from {learnt:,} of the {len(data):,} rows that were there at the start, and not from what comes (--train-rows, --model); "
        "Ctrl-C ends"
    )


def _summary(told: _Told, scoring: Scoring, start: int, wrong: int) -> str:
    from pipeline.offline.scoring.telling import not_scored

    notes = "".join(f"note: {note}\n" for note in not_scored(scoring.counts))
    left_out = f"; {wrong:,} lines could not be read and were left out" if wrong else ""
    written = f"; written to {', '.join(map(str, told.files))}" if told.files else ""
    alerts = f"{scoring.alerts:,} alert{'' if scoring.alerts == 1 else 's'}"
    return f"{notes}{scoring.rows:,} rows, {scoring.rows - start:,} of them came since the start: {scoring.anomalous:,} anomalous, {alerts}{left_out}{written}"
