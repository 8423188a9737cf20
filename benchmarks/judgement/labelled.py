"""Recorded series with labels: the development sets `dev/ms` and `dev/lro` below TIDEWATCH_DATA, and 14 files of NAB as TSB-AD-U cuts them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.judgement.items import Floats, Item
from producers.datasets import open_dataset


def folder() -> Path | None:
    """The labelled development sets; None where they are not here (they are no part of the project)."""
    given = os.environ.get("TIDEWATCH_DATA")
    found = Path(given) / "dev" if given else None
    return found if found and found.is_dir() else None


def source(name: str) -> Iterator[Item]:
    """All series of one source that have an anomaly behind their training part; missing values repeat the last one."""
    root = folder()
    if root is None:
        return
    for path in sorted((root / name).glob("*.npz")):
        with np.load(path, allow_pickle=False) as z:
            first, y = int(z["train"]), z["label"].astype(np.int8)
            if y[first:].any():
                yield Item(name, path.stem, z["timestamp"], _carried(z["value"].astype(np.float64)), y, first)


def nab_files() -> Iterator[Item]:
    """The 14 files; each one's training part stands in TSB-AD's name of it, VUS-PR's buffer is the period that TSB-AD finds."""
    root = folder()
    if root is None:
        return
    data = open_dataset("nab")
    series, labels = data.series(), data.labels()
    with (root / "TSB-AD-U-nab-files.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            name = row["name"].removesuffix(".csv")
            s, first = series[name], int(row["file"].split("_tr_")[1].split("_")[0])
            y = labels[name].anomalous.astype(np.int8)
            yield Item("nab", name, s.timestamps, s.values, y, first, buffer=period(s.values[:, 0]))


def period(x: Floats) -> int:
    """Rows of the period of values (n,): the highest local maximum of their autocorrelation at 3 to 400 rows; 125 where there is none.

    References
    ----------
    Liu, Paparrizos: The elephant in the room, NeurIPS 2024 (TSB-AD, `find_length_rank`).
    """
    x = x[:20_000] - x[:20_000].mean()
    n = len(x)
    power = np.square(np.abs(np.fft.rfft(x, 2 * n)))
    alike = np.fft.irfft(power)[: min(n, 401)]
    alike = alike[3:] / (alike[0] + 1e-300)
    peaks = 1 + np.flatnonzero((alike[1:-1] > alike[:-2]) & (alike[1:-1] > alike[2:]))
    best = int(peaks[alike[peaks].argmax()]) if len(peaks) else 0
    return best + 3 if 3 <= best <= 300 else 125


def _carried(values: Floats) -> Floats:
    """Missing values (n, C) as the last one before; at the beginning as the first one behind."""
    out = values.copy()
    for column in out.T:
        known = np.flatnonzero(np.isfinite(column))
        last = np.searchsorted(known, np.arange(len(column)), side="right") - 1
        column[:] = column[known[np.maximum(last, 0)]]
    return out
