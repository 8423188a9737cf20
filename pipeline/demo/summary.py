"""The report at the terminal: per stream what was found, how late, and every alert."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.alerts.words import number
from pipeline.demo.judge import Finding, Span
from pipeline.demo.live import causes, span
from pipeline.demo.results import StreamResult

_NAME = 36
_COLOURS = {"info": "cyan", "warning": "yellow", "critical": "red"}


def print_summary(results: Sequence[StreamResult], console: Console) -> None:
    """Print everything about all streams."""
    for result in results:
        console.print()
        console.rule(f"[bold]{escape(result.stream.title)}[/]", align="left", style="dim")
        if result.data.synthetic:
            console.print("[bold yellow]synthetic data: these figures say nothing about real data[/]")
        console.print(f"{result.data.source}", style="dim", highlight=False)
        console.print(headline(result), highlight=False)
        if result.verdict.findings:
            console.print(_findings(result))
        if result.verdict.spans:
            console.print(_alerts(result))


def headline(result: StreamResult) -> str:
    """What it comes to, in a sentence or two."""
    verdict = result.verdict
    what = "attack episodes" if result.data.kind == "table" else "labelled anomalies"
    text = (
        f"{len(verdict.judged)} {what}: {verdict.found} found, {len(verdict.judged) - verdict.found} missed. "
        f"{len(verdict.spans)} alerts, {len(verdict.false)} of them false. "
        f"{result.observations:,} observations, {result.judged_observations:,} of them after the training part."
    )
    if result.rows is not None:
        rows = result.rows
        text += (
            f" Row by row: {rows.both:,} of {rows.labelled:,} attack rows are anomalous (recall {rows.recall:.1%}), "
            f"{rows.anomalous:,} rows are anomalous (precision {rows.precision:.1%})."
        )
    trained = len(verdict.findings) - len(verdict.judged)
    return text + (f" {trained} labelled within the training part do not count." if trained else "")


def finding_row(finding: Finding, result: StreamResult) -> list[str]:
    """Series, window, found, how late, highest score."""
    window = finding.window
    name = window.name or "-"
    if finding.trained:
        return [finding.series, name, when(window.first), "in the training part", "", ""]
    if finding.delay_ms is None:
        return [finding.series, name, when(window.first), "missed", "", ""]
    interval = result.data.all_series[finding.series].interval_ms
    late = "at once" if finding.delay_ms == 0 else f"{span(finding.delay_ms)} of {span(window.last - window.first)}"
    if interval and finding.delay_ms:
        late += f", {round(finding.delay_ms / interval):,} obs."
    return [
        finding.series,
        name,
        when(window.first),
        when(min(s.first for s in finding.alerts)),
        late,
        f"{max(s.alert.peak_score for s in finding.alerts):.1f}",
    ]


def alert_row(one: Span) -> list[str]:
    """Time, series, severity, kind, highest score, observed and expected at its worst, how long."""
    alert, observed, expected = one.alert, "", ""
    if alert.peak is not None and alert.peak.observed is not None:
        observed = number(alert.peak.observed)
        expected = "-" if alert.peak.expected is None else number(alert.peak.expected, beside=alert.peak.observed)
    else:
        observed = causes(one.onset)
    return [when(one.first), alert.series, alert.severity, alert.kind, f"{alert.peak_score:.1f}", observed, expected,
            span(one.last - one.first)]  # fmt: skip


def when(ms: int) -> str:
    """Event time in UTC, to the minute, or to the second where the minute is not all of it.

    >>> when(1404172800000), when(1404172801500)
    ('2014-07-01 00:00', '2014-07-01 00:00:01')
    """
    unit = "m" if ms % 60_000 == 0 else "s"
    return str(np.datetime64(ms, "ms").astype(f"datetime64[{unit}]")).replace("T", " ")


def _findings(result: StreamResult) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=True)
    table.add_column("series", no_wrap=True, overflow="ellipsis", max_width=_NAME)
    for name in ("labelled", "from", "first alert", "after its begin"):
        table.add_column(name, no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    for finding in result.verdict.findings:
        cells = [escape(c) for c in finding_row(finding, result)]
        cells[0] = _short(cells[0])
        table.add_row(*cells, style=None if finding.found else "dim" if finding.trained else "yellow")
    return table


def _alerts(result: StreamResult) -> Table:
    false = {s.alert.id for s in result.verdict.false}
    rows = result.data.kind == "table"
    table = Table(box=None, header_style="dim", pad_edge=True)
    table.add_column("alert at", no_wrap=True)
    table.add_column("series", no_wrap=True, overflow="ellipsis", max_width=_NAME)
    table.add_column("severity", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    if rows:
        table.add_column("because of", no_wrap=True, overflow="ellipsis", max_width=56)
    else:
        table.add_column("observed", justify="right", no_wrap=True)
        table.add_column("expected", justify="right", no_wrap=True)
    table.add_column("lasted", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for one in result.verdict.spans:
        cells = [escape(c) for c in alert_row(one)]
        cells[1] = _short(cells[1])
        cells[2] = f"[{_COLOURS[one.alert.severity]}]{cells[2]}[/]"
        if rows:
            del cells[6]
        table.add_row(*cells, "[magenta]false[/]" if one.alert.id in false else "[green]labelled[/]")
    return table


def _short(series: str) -> str:
    """Without the folder that NAB's names begin with."""
    return series.rpartition("/")[2]
