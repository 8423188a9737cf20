"""The alerts of a scored data set as a list for people: what, when, how much, why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.alerts.records import Alert, encode, rfc3339
from pipeline.offline.scoring.rows import ScoredRows
from pipeline.offline.scoring.texts import Texts
from producers.cells import plain_cell
from producers.datasets import Dataset, Series

MOST_REASONS = 3
"""Columns that are named as the reason."""


@dataclass(frozen=True)
class AlertRow:
    """One alert that fired; for a table, the times are empty and rows count.

    Attributes
    ----------
    first_row, last_row
        Of its anomalous rows, counted from 1 in the file; `rows` are the rows in between of its series.
    severity, score
        By the highest calibrated score, 0..12.
    channel, observed, expected
        The column that is furthest from what it should be, its value there, and what the detector expected, NaN where it expects nothing.
    why
        A sentence of it.
    kind, deviation, deviation_percent, summary
        As in the alert's last record (docs/alerts.md).
    """

    alert: str
    series: str
    starts_at: str
    ends_at: str
    first_row: int
    last_row: int
    rows: int
    severity: str
    score: float
    channel: str
    observed: float | str
    expected: float
    why: str
    kind: str
    deviation: float | None
    deviation_percent: float | None
    summary: str


def alert_rows(data: Dataset, scored: ScoredRows) -> list[AlertRow]:
    """The alerts of `score_dataset(data)`, in the order of their first row."""
    last: dict[str, Alert] = {}
    onset: dict[str, Alert] = {}
    for record in scored.records:
        if record.fired:
            onset.setdefault(record.id, record)
            last[record.id] = record
    usual = _Usual()
    found = [
        _row(data, scored, rows, onset[name], last[name], usual)
        for name, rows in Texts.of(scored.alert_ids).rows(without="").items()
        if name in last
    ]
    return sorted(found, key=lambda a: (a.first_row, a.series))


def lines(alerts: Sequence[AlertRow], most: int) -> Iterator[str]:
    """A line each for the terminal, the highest scores where there are more than `most`."""
    shown = sorted(sorted(alerts, key=lambda a: -a.score)[:most], key=lambda a: (a.first_row, a.series))
    for a in shown:
        told = a.summary if a.starts_at else f"{a.series}, rows {a.first_row:,} to {a.last_row:,}: {a.why}"
        yield f"alert, {a.severity} ({a.score:.1f}), {a.kind}: {told}"
    if len(alerts) > most:
        yield f"{len(alerts) - most:,} more alerts of lower scores (--alerts FILE has all)"


def frame(alerts: Sequence[AlertRow]) -> pd.DataFrame:
    """As a table."""
    return pd.DataFrame([asdict(a) for a in alerts], columns=list(AlertRow.__dataclass_fields__))


def write(alerts: Sequence[AlertRow], out: Path, records: Sequence[Alert] = ()) -> None:
    """Write them as .csv (no text of it runs as a formula in a spreadsheet), .parquet or .json; as .jsonl, the records that they are made from."""
    if out.suffix == ".jsonl":
        out.write_bytes(as_lines(records))
        return
    table = frame(alerts)
    if out.suffix == ".json":
        table.to_json(out, orient="records", indent=1, force_ascii=False)
    elif out.suffix == ".parquet":
        table.astype({"observed": str}).to_parquet(out, index=False)
    else:
        table.map(lambda cell: plain_cell(cell) if isinstance(cell, str) else cell).to_csv(out, index=False)


def as_lines(records: Sequence[Alert]) -> bytes:
    """Records as they are on the alert topic, a line of JSON each."""
    return b"".join(encode(record) + b"\n" for record in records)


class _Usual:
    """What is asked of a series for each of its alerts, found once."""

    def __init__(self) -> None:
        self._orders: dict[str, NDArray[np.intp] | None] = {}
        self._quantiles: dict[tuple[str, int], tuple[float, float, float]] = {}

    def places(self, series: Series, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Where in a series rows (k,) of the file stand."""
        name, positions = series.name, series.positions
        if name not in self._orders:
            rising = bool((positions[1:] > positions[:-1]).all())
            self._orders[name] = None if rising else np.argsort(positions, kind="stable")
        order = self._orders[name]
        at = np.searchsorted(positions, rows, sorter=order)
        return at if order is None else order[at]

    def quantiles(self, series: Series, channel: int) -> tuple[float, float, float]:
        """The middle nine tenths of a channel, and its middle."""
        key = series.name, channel
        if key not in self._quantiles:
            low, middle, high = np.nanquantile(series.columns[channel], [0.05, 0.5, 0.95]).tolist()
            self._quantiles[key] = low, middle, high
        return self._quantiles[key]


def _row(
    data: Dataset, scored: ScoredRows, rows: NDArray[np.intp], onset: Alert, last: Alert, usual: _Usual
) -> AlertRow:
    series = data.all_series[onset.series]
    metric = data.kind == "metric"
    at = usual.places(series, rows)
    told = _metric_reasons(data, series, scored, at, rows, usual) if metric else _table_reasons(data, series, at, onset)
    channel, observed, expected, _ = told[0] if told else ("", float("nan"), float("nan"), "")
    times = np.sort(scored.timestamps[rows])
    return AlertRow(
        last.id,
        last.series,
        rfc3339(int(times[0])) if metric else "",
        rfc3339(int(times[-1])) if metric else "",
        int(rows[0]) + 1,
        int(rows[-1]) + 1,
        len(rows),
        last.severity,
        round(last.peak_score, 2),
        channel,
        observed,
        expected,
        "; ".join(reason[3] for reason in told),
        last.kind,
        last.deviation,
        last.deviation_percent,
        last.summary,
    )


_Reason = tuple[str, float | str, float, str]


def _metric_reasons(
    data: Dataset, series: Series, scored: ScoredRows, at: NDArray[np.intp], rows: NDArray[np.intp], usual: _Usual
) -> list[_Reason]:
    """Channels at the row where each is furthest from what was expected, or else from what is usual; the furthest first.

    How far is told in widths of what is usual, the middle nine tenths of the series. `at` (k,) are places in the series, `rows` in the file.
    """
    found: list[tuple[float, _Reason]] = []
    for c, channel in enumerate(data.channels):
        column = series.columns[c]
        values = column[at]
        low, middle, high = usual.quantiles(series, c)
        width = max(high - low, 1e-12 * max(abs(middle), 1e-300))
        expected = np.full(len(at), np.nan) if scored.expected is None else scored.expected[rows, c]
        off = np.where(np.isfinite(expected), np.abs(values - expected), np.maximum(low - values, values - high))
        if not np.isfinite(off).any():
            continue
        k = int(np.nanargmax(off))
        value, foreseen = float(values[k]), float(expected[k])
        if np.isfinite(foreseen):
            why = f"{channel} was {value:.5g} where {foreseen:.5g} was expected"
        else:
            why = f"{channel} was {value:.5g}; nine times in ten it is between {low:.5g} and {high:.5g}"
            why += ", but seldom in this order" if low <= value <= high else ""
        found.append((float(off[k]) / width, (channel, value, foreseen, why)))
    ordered = [reason for _, reason in sorted(found, key=lambda f: -f[0])]
    return ordered[: 1 if len(ordered) < MOST_REASONS else MOST_REASONS]


def _table_reasons(data: Dataset, series: Series, at: NDArray[np.intp], onset: Alert) -> list[_Reason]:
    """The columns that contributed most at the onset."""
    found: list[_Reason] = []
    features = onset.evidence.features or []
    total = sum(abs(f.contribution) for f in features) or 1.0
    for feature in features[:MOST_REASONS]:
        value: Any = "" if feature.value is None else feature.value
        shown = f"{value:.5g}" if isinstance(value, float) else value
        found.append(
            (
                feature.name,
                value,
                float("nan"),
                f"{feature.name} is {shown} ({abs(feature.contribution) / total:.0%} of it)",
            )
        )
    if not found and len(data.channels) == 1:
        value = series.columns[0][at[0]]
        found.append((data.channels[0], value, float("nan"), f"{data.channels[0]} is {value}"))
    return found
