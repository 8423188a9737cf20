"""report.html: one file with everything in it, pictures to zoom into too, to be opened anywhere and sent around.

Look and code are those of the reports of `tidewatch score` (`pipeline.offline.report`).
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from pipeline.demo import charts
from pipeline.demo.judge import Finding
from pipeline.demo.live import span
from pipeline.demo.results import StreamResult
from pipeline.demo.summary import alert_row, finding_row, headline
from pipeline.offline.report.page import Chart, Report, Row, Section, Table, Tile, write
from pipeline.settings.reference import as_toml

if TYPE_CHECKING:
    from detectors.model import Model
    from pipeline.demo.facts import Facts

PACKAGES = ("torch", "faust-streaming", "aiokafka", "confluent-kafka", "redis", "numpy")
_WHAT = (
    "Recorded data replayed through Kafka, scored by Faust workers, judged against labels that no weight and no calibration has seen; with each stream stands how "
    "its detectors and settings were chosen."
)
_READING = (
    (
        "The score ranks: how far out a row is, on a scale that does not move. Which rows are anomalous the alarm decides, by the stream's false-alarm budget; dots are the rows that "
        "alarmed, of tables the labelled ones. Yellow is what is labelled, red an alert that meets it, violet a false one, pale blue what was learnt from; between the pale lines lies what is let pass."
    ),
    (
        "An alert is false if its span, from first to last anomalous observation, meets no labelled window of its series; several alerts in one window are one find. "
        "The delay counts from the begin of the labelled window, which for NAB lies before the anomaly itself."
    ),
    (
        "Drag over a picture to zoom in, turn the wheel with Ctrl to zoom around the pointer, double click for all of it; a click on an alert goes to it."
    ),
)


def write_page(path: Path, results: Sequence[StreamResult], models: Mapping[str, Model], facts: Facts) -> Path:
    """Write the page; returns its path."""
    synthetic = [r.stream.name for r in results if r.data.synthetic]
    banner = (
        f"Synthetic data for {', '.join(synthetic)}: made-up twins, because the real data could not be had. These figures say nothing about real data."
        if synthetic
        else ""
    )
    write(
        Report(
            title="Tidewatch demo report",
            lines=(_WHAT,),
            tiles=tuple(_tile(r) for r in results),
            sections=tuple(s for r in results for s in _sections(r, models[r.stream.name])),
            reading=_READING,
            facts=tuple(_run(facts, results)),
            banner=banner,
        ),
        path,
    )
    return path


def _tile(result: StreamResult) -> Tile:
    verdict = result.verdict
    delays = [f.delay_ms for f in verdict.judged if f.delay_ms is not None]
    what = "attack episodes" if result.data.kind == "table" else "labelled anomalies"
    false = f"{len(verdict.false)} false alert{'' if len(verdict.false) == 1 else 's'}"
    delay = span(median(delays)) if delays else "-"
    return Tile(
        f"{what} found, {false}, median delay {delay}",
        f"{verdict.found} of {len(verdict.judged)}",
        to=result.stream.name,
        title=result.stream.title,
    )


def _sections(result: StreamResult, model: Model) -> Iterator[Section]:
    """The stream's tables, with the picture of an only series, else a section for each."""
    names = charts.series_of(result)
    key = result.stream.name
    ids = {name: f"{key}-{i}" for i, name in enumerate(names)} if len(names) > 1 else dict.fromkeys(names, key)
    episodes = result.data.kind == "table"
    yield Section(
        key,
        result.stream.title,
        (result.data.source, headline(result)),
        _charts(result, names[0]) if len(names) == 1 else (),
        (_labelled(result, "episodes" if episodes else "anomalies"), _alerts(result, ids)),
        tuple(_made(result, model)),
        "How it was made",
    )
    if len(names) > 1:
        for name in names:
            yield Section(ids[name], name, charts=_charts(result, name))


def _charts(result: StreamResult, name: str) -> tuple[Chart, ...]:
    return (charts.of_table(result, name),) if result.data.kind == "table" else charts.of_metric(result, name)


def _labelled(result: StreamResult, what: str) -> Table:
    columns = ("series", "labelled", "from", "first alert", "after its begin", "peak score")
    rows = [Row(tuple(finding_row(f, result)), marks={3: _colour(f)}) for f in result.verdict.findings]
    return Table(f"Labelled {what}", columns, tuple(rows))


def _colour(finding: Finding) -> str:
    return "found" if finding.found else "quiet" if finding.trained else "missed"


def _alerts(result: StreamResult, ids: Mapping[str, str]) -> Table:
    false = {s.alert.id for s in result.verdict.false}
    table = result.data.kind == "table"
    columns = ["time (UTC)", "series", "severity", "kind", "score", "because of" if table else "observed", "expected",
               "lasted", "verdict"]  # fmt: skip
    if table:
        columns.remove("expected")
    rows = []
    for one in result.verdict.spans:
        cells = alert_row(one)
        if table:
            del cells[6]
        wrong = one.alert.id in false
        cells.append("false" if wrong else "labelled")
        zoom = (ids[one.alert.series], *charts.around(result, one)) if one.alert.series in ids else None
        marks = {2: str(one.alert.severity), len(cells) - 1: "false" if wrong else "found"}
        rows.append(Row(tuple(cells), zoom, marks, "" if table else one.alert.summary))
    return Table("Alerts", tuple(columns), tuple(rows))


def _made(result: StreamResult, model: Model) -> Iterator[tuple[str, str]]:
    yield "why so", result.stream.why
    joined = f", scores joined by {model.aggregation}" if "+" in model.detector_name else ""
    yield "detector", f"{model.detector_name}, version {model.detector_version}{joined}"
    rows, series = sum(model.training_rows.values()), len(model.training_rows)
    yield "trained on", f"the first {rows:,} observations of {series} series; no alert can come from them"
    yield "calibrator", f"{model.calibrator.name} {model.calibrator.config.model_dump_json()}"
    for detector in model.detectors:
        yield "member", f"{detector.name} {detector.config.model_dump_json()}"
    yield "model file", f"SHA-256 {model.hash}"
    if settings := as_toml(dict(result.stream.settings)):
        yield "settings that differ from the defaults", settings


def _run(facts: Facts, results: Sequence[StreamResult]) -> Iterator[tuple[str, str]]:
    replayed = sum(r.observations for r in results)
    seconds = facts.seconds.get("replay", 0.0)
    for name, taken in facts.seconds.items():
        yield name, f"{taken:.1f} s"
    yield "records", f"{replayed:,}, {replayed / seconds:,.0f} a second" if seconds else f"{replayed:,}"
    yield "memory at its highest", f"{facts.peak_bytes / 2**30:.2f} GiB, all processes together"
    yield "workers started again", "; ".join(facts.restarts) or "none"
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    yield "machine", machine
    yield "packages", ", ".join(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES)
