"""Any user's file as a data set, and what was taken for what. Errors name the file, the row and the column.

    bytes ─────▶ tables ───▶ roles ────▶ times, series, numbers ───────▶ Part ────▶ Dataset
    unpacking    dialect,    roles,      event_times, dates, epochs,     reading    files
                 tables      columns     casting, numbers, values

A row's number in an error counts data rows from 1. An empty cell of a value column, or one of the usual marks there (NaN, NA, -, #N/A), is a missing
number: the row stays, its value is NaN, and a replay leaves it out. Nothing else is left out unsaid; where two readings fit, reading stops.

Several files (a folder, a glob, a zip) are a series each, unless their rows name their series or, one after the other in time and named alike but for
numbers, they are parts of one.
"""

from __future__ import annotations

import re
from dataclasses import replace
from glob import glob, has_magic
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from producers.datasets.base import Dataset, Labels, Layout, Series, usual_step
from producers.datasets.endings import ENDINGS, PACKINGS, stem_of
from producers.datasets.frames import framed
from producers.datasets.reading import Part, read
from producers.datasets.tables import Sheet, as_arrow, checked, listed, sheets
from producers.errors import DataError

MAX_FILES = 10_000


def load(path: Path, layout: Layout | None = None) -> Dataset:
    """Read a file, a folder of files, or all that a glob matches; `-` is the standard input.

    Raises
    ------
    DataError
        Nothing is there or can be read; a column is not there; a cell is no number or no time; two readings fit; no row could be used.
    """
    layout = layout or Layout()
    files, passed = _files(path)
    parts = [read(file, sheet, layout) for file in files for sheet in sheets(file, layout.corrections)]
    pa.default_memory_pool().release_unused()  # the cells' texts take ten times the room of what they say, and are not needed any more
    dataset = dataset_of(path, parts[0]) if len(parts) == 1 else _together(path, parts, layout)
    if passed:
        names = listed([p.name for p in passed], 3)
        dataset = replace(
            dataset, reading=(*dataset.reading, f"note: {len(passed):,} files of other kinds were passed over: {names}")
        )
    return dataset


def from_frame(frame: Any, layout: Layout | None = None, *, name: str = "frame") -> Dataset:
    """A pandas DataFrame as a file of it would be read: event time, series, labels and numbers are found, `Dataset.reading` says what was.

    Parameters
    ----------
    frame
        Or a Series; or what has `to_pandas`, as frames of polars and tables of Arrow. An index of times, of texts, or with a name, is a column too.
    name
        Of the data set, and of its series where no column names them.

    Raises
    ------
    DataError
        As `load`.
    """
    try:
        table = as_arrow(framed(frame))
    except DataError as error:
        msg = f"{name}: {error}"
        raise DataError(msg) from error
    part = read(Path(name), checked(Path(name), Sheet(name, table, "DataFrame")), layout or Layout())
    return dataset_of(Path(name), part)


def _files(path: Path) -> tuple[list[Path], list[Path]]:
    """Files to be read, in order of their names, and others that stand beside them."""
    if path.is_dir():
        there = sorted(
            p for p in path.rglob("*") if p.is_file() and not any(q.startswith(".") for q in p.relative_to(path).parts)
        )
        found = [p for p in there if _known(p)]
        passed = [p for p in there if not _known(p)]
        if not found:
            msg = f"{path}: there is no file in it that could be read (.csv, .parquet, .json, .xlsx, ...)"
            raise DataError(msg)
    elif not path.exists() and has_magic(str(path)):
        found, passed = [p for p in map(Path, sorted(glob(str(path), recursive=True))) if p.is_file()], []  # noqa: PTH207  # absolute or not
        if not found:
            msg = f"{path}: no file matches"
            raise DataError(msg)
    else:
        found, passed = [path], []
    if len(found) > MAX_FILES:
        msg = f"{path}: {len(found):,} files are too many, at most {MAX_FILES:,} are read at once"
        raise DataError(msg)
    return found, passed


def _known(path: Path) -> bool:
    endings = path.name.lower().split(".")[1:]
    return bool(endings) and (
        endings[-1] in ENDINGS or (endings[-1] in PACKINGS and len(endings) > 1 and endings[-2] in ENDINGS)
    )


def dataset_of(path: Path, part: Part) -> Dataset:
    """What was read of one table."""
    categorical = tuple(
        c for i, c in enumerate(part.channels) if any(s.columns[i].dtype == object for s in part.series.values())
    )
    source = f"{path}: {part.lines[2].removesuffix(' (--value-columns)')}"
    reading = (*part.lines, *(f"note: {note}" for note in part.notes))
    kind: Any = part.kind
    return Dataset(part.name, kind, part.channels, source, part.series, part.labels, categorical, reading=reading)


def _together(path: Path, parts: list[Part], layout: Layout) -> Dataset:
    """Several files as one data set."""
    first = parts[0]
    if odd := next((p for p in parts if (p.kind, p.channels) != (first.kind, first.channels)), None):
        msg = (
            f"{path}: {first.name} is a {first.kind} of {listed(first.channels)}, but {odd.name} a {odd.kind} of {listed(odd.channels)}; "
            "choose columns that all have with --value-columns, or give the files one by one"
        )
        raise DataError(msg)
    as_parts, why = _are_parts(parts, layout)
    pieces: dict[str, list[tuple[Series, Labels | None]]] = {}
    offset = 0
    for number, part in enumerate(parts):
        for name, series in part.series.items():
            own = name if part.named or as_parts else part.name
            if as_parts and not part.named:
                own = stem_of(path.name).strip("*-_.?") or "series"
            elif not part.named and any(p.name == part.name for p in parts[:number]):
                own = f"{part.name} {number + 1}"
            moved = replace(series, name=own, positions=series.positions + offset)
            pieces.setdefault(own, []).append((moved, part.labels.get(name)))
        offset += max(int(s.positions.max()) for s in part.series.values()) + 1
    found = {name: _joined(name, [s for s, _ in some]) for name, some in pieces.items()}
    labels: dict[str, Labels] = {}
    for name, some in pieces.items():
        known = [mark for _, mark in some if mark is not None]
        if len(known) == len(some):
            windows = tuple(w for mark in known for w in mark.windows)
            labels[name] = Labels(windows, np.concatenate([mark.anomalous for mark in known]))
    rows = sum(p.rows for p in parts)
    notes = [f"{p.name}: {note}" for p in parts for note in p.notes]
    if len(notes) > 10:
        notes = [*notes[:10], f"{len(notes) - 10:,} more of the kind"]
    lines = (
        f"{path}: {len(parts):,} files, {rows:,} rows; {why}",
        first.lines[1].split("; ")[0] + f"; {len(found):,} series" if first.kind == "metric" else first.lines[1],
        first.lines[2],
    )
    whole = Part(
        stem_of(path.name).strip("*") or "files",
        first.kind,
        first.channels,
        found,
        labels,
        rows,
        first.named,
        lines,
        tuple(notes),
        first.roles,
        np.concatenate([p.read for p in parts]),
        first.time_form,
    )
    return dataset_of(path, whole)


def _are_parts(parts: list[Part], layout: Layout) -> tuple[bool, str]:
    """Whether files are parts of the same series, one after the other; and what to tell."""
    if all(p.named for p in parts):
        return True, "rows of one series from several files go together"
    if layout.corrections.files is not None:
        return layout.corrections.files == "parts", f"taken as {layout.corrections.files}"
    alike = len({re.sub(r"\d+", "", p.name) for p in parts}) == 1
    spans = sorted((int(s.timestamps.min()), int(s.timestamps.max())) for p in parts for s in p.series.values())
    apart = all(a[1] < b[0] for a, b in pairwise(spans))
    if alike and apart and parts[0].kind == "metric":
        return True, "parts of one series, as their times follow each other (--read files=series: a series each)"
    return False, "a series each, named as the file (--read files=parts: parts of one)"


def _joined(name: str, some: list[Series]) -> Series:
    if len(some) == 1:
        return some[0]
    some = sorted(some, key=lambda s: int(s.timestamps.min()))
    times = np.concatenate([s.timestamps for s in some])
    channels = tuple(np.concatenate(column) for column in zip(*(s.columns for s in some), strict=True))
    interval = usual_step(times) if some[0].interval_ms else 0
    return Series(name, times, channels, interval, np.concatenate([s.positions for s in some]))
