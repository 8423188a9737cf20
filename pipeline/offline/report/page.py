"""One HTML file from tables, lines and charts; strict about what may run in it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline import pictures

DIGITS = 6


@dataclass(frozen=True)
class Line:
    """A line of a chart; y (n,) may hold NaN. What lies between a `low` line and the `high` one behind it is a band."""

    name: str
    y: NDArray[np.float64]
    kind: Literal["value", "quiet", "expected", "low", "high", "score", "level", "marks"] = "value"
    colour: int = 0


@dataclass(frozen=True)
class Chart:
    """Lines over x (n,), seconds since 1970 or rows; `shades` are (from, to, "alert", "false", "label" or "learnt")."""

    x: NDArray[np.float64]
    time: bool
    lines: tuple[Line, ...]
    shades: tuple[tuple[float, float, str], ...] = ()
    kind: Literal["values", "scores"] = "values"


@dataclass(frozen=True)
class Row:
    """Cells; a click on it zooms `section` to from..to. `marks` are colours by the cell's number; `under` stands below all of it."""

    cells: tuple[str, ...]
    zoom: tuple[str, float, float] | None = None
    marks: Mapping[int, str] = field(default_factory=dict)
    under: str = ""


@dataclass(frozen=True)
class Table:
    """A table of cells."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A heading with lines, tables, and charts that are zoomed together; `facts` are names and values behind a click on their first line."""

    id: str
    title: str
    lines: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    about: str = ""
    """What the facts are of."""


@dataclass(frozen=True)
class Tile:
    """A number in large type with what it is of; a click leads to the section `to`."""

    name: str
    value: str
    to: str = ""
    title: str = ""


@dataclass(frozen=True)
class Report:
    """All that is on the page."""

    title: str
    lines: tuple[str, ...]
    tiles: tuple[Tile, ...]
    tables: tuple[Table, ...] = ()
    sections: tuple[Section, ...] = ()
    reading: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    """Of the run, below everything."""
    banner: str = ""


def write(report: Report, path: Path) -> None:
    """Write the page. Raises TidewatchError where uPlot is not the file that was shipped."""
    uplot = pictures.vendored("uplot.js")
    style = pictures.vendored("uplot.css") + pictures.own("palette.css") + _own("report.css")
    script = pictures.as_script("draw.js") + _own("report.js")
    charts: list[dict[str, Any]] = []
    sections = []
    for section in report.sections:
        numbers = range(len(charts), len(charts) + len(section.charts))
        charts += [_plain(chart, section.id) for chart in section.charts]
        sections.append(
            {
                "id": section.id, "title": section.title, "lines": section.lines, "charts": numbers, "facts": section.facts,
                "about": section.about, "tables": [_table(t) for t in section.tables],
            }
        )  # fmt: skip
    allowed = " ".join(f"'sha256-{_digest(text)}'" for text in (uplot, script))
    policy = f"default-src 'none'; script-src {allowed}; style-src 'sha256-{_digest(style)}'; base-uri 'none'; form-action 'none'"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(_own("report.html.j2")).render(
        title=report.title,
        lines=report.lines,
        banner=report.banner,
        tiles=report.tiles,
        tables=[_table(t) for t in report.tables],
        sections=sections,
        reading=report.reading,
        facts=report.facts,
        policy=policy,
        style=Markup(style),  # noqa: S704  # our own files
        uplot=Markup(uplot),  # noqa: S704
        script=Markup(script),  # noqa: S704
        data=Markup(_in_script(charts)),  # noqa: S704  # no < is left in it
    )
    path.write_text(page, encoding="utf-8")


def _table(table: Table) -> dict[str, Any]:
    rows = [
        {"cells": r.cells, "marks": r.marks, "under": r.under, "zoom": "" if r.zoom is None else json.dumps(r.zoom)}
        for r in table.rows
    ]
    return {"title": table.title, "columns": table.columns, "rows": rows, "note": table.note}


def _plain(chart: Chart, key: str) -> dict[str, Any]:
    lines = [{"name": n.name, "kind": n.kind, "colour": n.colour, "y": _numbers(n.y)} for n in chart.lines]
    return {
        "key": key,
        "kind": chart.kind,
        "time": chart.time,
        "x": chart.x.tolist(),
        "lines": lines,
        "shades": chart.shades,
    }


def _numbers(y: NDArray[np.float64]) -> list[float | None]:
    return [float(f"{v:.{DIGITS}g}") if np.isfinite(v) else None for v in y.tolist()]


def _in_script(value: Any) -> str:
    """JSON that ends no script element: names come from anybody's file."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _own(name: str) -> str:
    return files("pipeline.offline.report").joinpath(name).read_text(encoding="utf-8")


def identifiers(names: Sequence[str]) -> dict[str, str]:
    """An id for each name that is one in HTML."""
    return {name: f"s{number}" for number, name in enumerate(names)}
