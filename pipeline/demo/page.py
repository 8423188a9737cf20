"""report.html: one file with everything in it, pictures too, to be opened anywhere and sent around."""

from __future__ import annotations

import base64
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from pipeline import pictures as pictures_of_all
from pipeline.demo.live import span
from pipeline.demo.results import StreamResult
from pipeline.demo.summary import alert_row, finding_row, headline
from pipeline.settings_reference import as_toml

if TYPE_CHECKING:
    from detectors.model import Model
    from pipeline.demo.facts import Facts

PACKAGES = ("torch", "faust-streaming", "aiokafka", "confluent-kafka", "redis", "numpy")


def write_page(
    path: Path,
    results: Sequence[StreamResult],
    models: Mapping[str, Model],
    pictures: Mapping[str, Path],
    facts: Facts,
) -> Path:
    """Write the page; returns its path."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(files("pipeline.demo").joinpath("report.html.j2").read_text(encoding="utf-8"))
    streams = [_stream(r, models[r.stream.name], pictures[r.stream.name]) for r in results]
    page = template.render(
        palette=Markup(pictures_of_all.own("palette.css")),  # noqa: S704  # our own file
        streams=streams,
        synthetic=[r.stream.name for r in results if r.data.synthetic],
        facts=facts,
        run=_run(facts, results),
    )
    path.write_text(page, encoding="utf-8")
    return path


def _stream(result: StreamResult, model: Model, picture: Path) -> dict[str, Any]:
    verdict = result.verdict
    false = {s.alert.id for s in verdict.false}
    delays = [f.delay_ms for f in verdict.judged if f.delay_ms is not None]
    return {
        "name": result.stream.name,
        "title": result.stream.title,
        "why": result.stream.why,
        "headline": headline(result),
        "synthetic": result.data.synthetic,
        "source": result.data.source,
        "table": result.data.kind == "table",
        "found": verdict.found,
        "judged": len(verdict.judged),
        "false": len(verdict.false),
        "alerts": len(verdict.spans),
        "delay": span(median(delays)) if delays else "-",
        "series": len(result.data.all_series),
        "rows": result.rows,
        "picture": base64.b64encode(picture.read_bytes()).decode(),
        "findings": [(f, finding_row(f, result)) for f in verdict.findings],
        "alert_rows": [(s.alert, alert_row(s), s.alert.id in false) for s in verdict.spans],
        "model": {
            "detector": model.detector_name,
            "version": model.detector_version,
            "hash": model.hash,
            "aggregation": model.aggregation,
            "calibrator": f"{model.calibrator.name} {model.calibrator.config.model_dump_json()}",
            "configs": [f"{d.name} {d.config.model_dump_json()}" for d in model.detectors],
            "training": f"{sum(model.training_rows.values()):,} observations of {len(model.training_rows)} series",
        },
        "settings": as_toml(dict(result.stream.settings)),
    }


def _run(facts: Facts, results: Sequence[StreamResult]) -> list[tuple[str, str]]:
    replayed = sum(r.observations for r in results)
    seconds = facts.seconds.get("replay", 0.0)
    told = [(name, f"{taken:.1f} s") for name, taken in facts.seconds.items()]
    told += [
        ("records", f"{replayed:,}, {replayed / seconds:,.0f} a second" if seconds else f"{replayed:,}"),
        ("memory at its highest", f"{facts.peak_bytes / 2**30:.2f} GiB, all processes together"),
        ("workers started again", "; ".join(facts.restarts) or "none"),
        (
            "machine",
            f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        ),
        ("packages", ", ".join(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES)),
    ]
    return told
