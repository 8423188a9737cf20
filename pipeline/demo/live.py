"""What the demo shows while it runs: a live table and a line per event at a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.alerts.records import Alert
from pipeline.demo.watch import StreamState, begins, ends

if TYPE_CHECKING:
    from pipeline.demo.training import Step

_COLOURS = {"info": "cyan", "warning": "yellow", "critical": "red"}
_EVERY, _STILL = 2.0, 15.0
"""Seconds between two plain lines, and between two that say the same."""


class View(ABC):
    """Where the demo's events go."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """One line that stays."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def event(self, text: str) -> None:
        """One line that stays, with the time since the start before it."""
        self.say(f"[dim]{time.monotonic() - self._began:6.1f} s[/]  {text}")

    def alert(self, alert: Alert) -> None:
        """A line when an alert fires, another when it is over."""
        if begins(alert) or ends(alert):
            self.event(alert_line(alert))

    def busy(self, text: str) -> AbstractContextManager[object]:
        """Show that something goes on, where nothing of it stays."""
        return self.console.status(text) if self.console.is_terminal else nullcontext()

    @contextmanager
    @abstractmethod
    def training(self, names: Sequence[str]) -> Iterator[TrainingView]:
        """Show the training of these streams."""

    @contextmanager
    @abstractmethod
    def replay(self) -> Iterator[ReplayView]:
        """Show the replay."""


class TrainingView(ABC):
    """Progress of training."""

    @abstractmethod
    def step(self, name: str, step: Step) -> None:
        """One stream got so far."""


class ReplayView(ABC):
    """Progress of the replay."""

    @abstractmethod
    def show(self, streams: Mapping[str, StreamState], *, last: bool = False) -> None:
        """The state of all streams; `last`: nothing moves any more."""


def create_view(console: Console) -> View:
    """For a terminal that can be drawn on, or for a log."""
    return TerminalView(console) if console.is_terminal and not console.is_dumb_terminal else PlainView(console)


class TerminalView(View):
    """Bars and a table that are drawn anew."""

    @contextmanager
    def training(self, names: Sequence[str]) -> Iterator[TrainingView]:
        """A bar per stream."""
        columns = (
            TextColumn("         {task.description:<6}"),
            BarColumn(bar_width=32),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[what]}"),
        )
        with Progress(*columns, console=self.console) as progress:
            tasks = {name: progress.add_task(name, total=1.0, start=False, what="waiting") for name in names}
            yield _Bars(progress, tasks)

    @contextmanager
    def replay(self) -> Iterator[ReplayView]:
        """A table at the foot, events above it."""
        with Live(console=self.console, refresh_per_second=8, transient=False) as live:
            yield _LiveTable(live)


class PlainView(View):
    """A line now and then."""

    @contextmanager
    def training(self, names: Sequence[str]) -> Iterator[TrainingView]:
        """A line when a stream's training begins and when it is over."""
        yield _Lines(self)

    @contextmanager
    def replay(self) -> Iterator[ReplayView]:
        """A line every two seconds."""
        yield _PlainReplay(self)


class _Bars(TrainingView):
    def __init__(self, progress: Progress, tasks: Mapping[str, TaskID]) -> None:
        self._progress = progress
        self._tasks = tasks

    def step(self, name: str, step: Step) -> None:
        task = self._tasks[name]
        self._progress.start_task(task)
        self._progress.update(task, completed=step.part, what=escape(step.what))
        if step.part >= 1.0:
            self._progress.stop_task(task)


class _Lines(TrainingView):
    def __init__(self, view: View) -> None:
        self._view = view
        self._said: dict[str, float] = {}

    def step(self, name: str, step: Step) -> None:
        if step.part >= 1.0 or step.part - self._said.get(name, -1.0) >= 0.25:
            self._said[name] = step.part
            self._view.event(f"training {name}: {step.part:4.0%}  {escape(step.what)}")


class _LiveTable(ReplayView):
    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, streams: Mapping[str, StreamState], *, last: bool = False) -> None:
        self._live.update(Group(Text(), state_table(streams), Text()), refresh=last)


class _PlainReplay(ReplayView):
    def __init__(self, view: View) -> None:
        self._view = view
        self._said = time.monotonic() - _STILL
        self._seen: list[tuple[int, int, int]] = []

    def show(self, streams: Mapping[str, StreamState], *, last: bool = False) -> None:
        now = time.monotonic()
        seen = [(s.sent, s.processed, s.scored) for s in streams.values()]
        wait = _EVERY if seen != self._seen else _STILL
        if now - self._said < wait and not last:
            return
        self._said, self._seen = now, seen
        parts = [
            f"{name} {s.processed:,}/{s.total:,} (lag {s.lag:,}, {s.rate:,.0f}/s, scored {s.scored:,}, "
            f"firing {s.firing}, resolved {s.resolved})"
            for name, s in streams.items()
        ]
        self._view.event("; ".join(parts))


def state_table(streams: Mapping[str, StreamState]) -> Table:
    """The streams in numbers, a row each and a sum."""
    table = Table(box=None, padding=(0, 1), pad_edge=True, header_style="dim", expand=False)
    table.add_column("stream", style="bold")
    table.add_column("processed", width=26)
    for name in ("records", "of", "lag", "a second", "scored", "firing", "resolved", "rejected"):
        table.add_column(name, justify="right")
    total = StreamState()
    for name, s in streams.items():
        table.add_row(name, ProgressBar(total=max(s.total, 1), completed=s.processed, width=24), *_numbers(s))
        for number in ("total", "sent", "processed", "scored", "rate", "firing", "resolved", "dead_letters"):
            setattr(total, number, getattr(total, number) + getattr(s, number))
    table.add_row("all", ProgressBar(total=max(total.total, 1), completed=total.processed, width=24), *_numbers(total))
    return table


def _numbers(s: StreamState) -> list[Text]:
    return [
        Text(f"{s.processed:,}"),
        Text(f"{s.total:,}", style="dim"),
        Text(f"{s.lag:,}", style="yellow" if s.lag else "dim"),
        Text(f"{s.rate:,.0f}"),
        Text(f"{s.scored:,}"),
        Text(f"{s.firing}", style="bold red" if s.firing else "dim"),
        Text(f"{s.resolved}"),
        Text(f"{s.dead_letters}", style="red" if s.dead_letters else "dim"),
    ]


def alert_line(alert: Alert) -> str:
    """An alert record for people, as markup."""
    colour = _COLOURS[alert.severity]
    what = f"[bold {colour}]FIRING  [/]" if begins(alert) else "[green]resolved[/]"
    text = alert.series.rpartition("/")[2] + alert.summary.removeprefix(alert.series)
    if told := causes(alert):
        text = f"{text.removesuffix('.')}, because of {told}."
    return f"{what} [{colour}]{alert.severity:<8}[/] {alert.stream}  {escape(text)}"


def causes(alert: Alert) -> str:
    """Of a row of a table what contributed most to its score, `duration = 182.0, bytes = 7.0`; empty where it is not known."""
    return ", ".join(f"{f.name} = {f.value}" for f in (alert.evidence.features or [])[:2])


def span(ms: float) -> str:
    """A stretch of event time for people.

    >>> span(0), span(90_000), span(5_400_000), span(200_000_000)
    ('one observation', '1.5 min', '1.5 h', '2.3 d')
    """
    if ms <= 0:
        return "one observation"
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if ms >= size:
            return f"{ms / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{ms:.0f} ms"
