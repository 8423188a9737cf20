"""The product's defaults on data that no setting was fitted to: made-up metrics with planted anomalies, recorded tables, yardsticks.

    python benchmarks/unseen/run.py [--seed 1] [--every 4] [--tables] [--out FOLDER]

Metrics are `benchmarks.unseen.planted`, made-up tables `benchmarks.unseen.planted_tables`. Recorded tables are `creditcard`, `ctg`, `kdd` and
`kdd-corrected` as they stand (in order), and scikit-learn's breast cancer and digits with one class made rare. Everything is scored as `tidewatch score` does, labels unseen, and judged on the rows
behind the training part: ROC-AUC, average precision and VUS-PR of `score`; events found by alerts, alerts that meet an event,
false alerts per 1,000 rows. Yardsticks see the same training part: a rolling z-score, the difference from one season before, and
scikit-learn's Isolation Forest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.unseen import planted, planted_tables
from detectors.evaluation import delay, ranges, ranking
from detectors.features import FeatureEncoder
from detectors.training import metric_training_rows, table_training_rows
from pipeline.offline.evaluation import alerted
from pipeline.offline.scorefile import score_dataset
from producers.datasets import Dataset, Labels, Series, open_dataset

BUFFER = 16
BEHIND = 10
"""Rows behind an event in which an alert still counts as its own."""
WINDOW = 16
"""Of the Isolation Forest on metrics."""
Scores = NDArray[np.float64]


def ranked(y: NDArray[np.int8], scores: Scores, first: int) -> dict[str, float]:
    """Ranking figures of the rows from `first` on."""
    y, scores = y[first:], np.nan_to_num(scores[first:], nan=float(np.nanmin(scores[first:])))
    return {
        "roc_auc": ranking.roc_auc(y, scores),
        "average_precision": ranking.average_precision(y, scores),
        "vus_pr": ranges.vus_pr(y, scores, buffer=BUFFER),
    }


def by_alerts(y: NDArray[np.int8], ids: Sequence[str]) -> dict[str, float]:
    """Events and alerts of one series, counted."""
    events, alerts = delay.episodes(y), alerted(ids)
    found = sum(any(a <= last + BEHIND and b >= first for a, b in alerts) for first, last in events)
    true = sum(any(a <= last + BEHIND and b >= first for first, last in events) for a, b in alerts)
    return {"events": len(events), "found": found, "alerts": len(alerts), "false": len(alerts) - true, "rows": len(y)}


def rolling_z(values: Scores, window: int = 48) -> Scores:
    """Largest deviation of a channel from the mean of the window before, in its standard deviations."""
    frame = pd.DataFrame(values)
    before = frame.rolling(window, min_periods=3)
    spread = np.maximum(before.std().shift(1).to_numpy(), 0.05 * values.std(axis=0) + 1e-12)
    return np.asarray(np.nan_to_num(np.abs(values - before.mean().shift(1).to_numpy()) / spread).max(axis=1))


def season(values: Scores) -> int:
    """The lag, of at least 8 rows and at most half of them, at which values (n, C) are most like themselves."""
    n = len(values)
    centred = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-12)
    power = np.square(np.abs(np.fft.rfft(centred, 2 * n, axis=0))).sum(axis=1)
    alike = np.fft.irfft(power)[:n] / (n - np.arange(n))
    return 8 + int(alike[8 : max(n // 2, 9)].argmax())


def seasonal_naive(values: Scores, first: int) -> Scores:
    """Largest difference of a channel (n, C) from one season of the training part before, in its standard deviations."""
    lag = season(values[:first])
    off = np.abs(values[lag:] - values[:-lag]) / (values[:first].std(axis=0) + 1e-12)
    return np.r_[np.zeros(lag), off.max(axis=1)]


def forest(x: Scores, fitted: int) -> Scores:
    """Scores (n,) of rows (n, C) by a forest grown on the first ones."""
    from sklearn.ensemble import IsolationForest

    return np.asarray(-IsolationForest(random_state=0).fit(x[:fitted]).score_samples(x))


def metric_outcomes(seed: int, every: int) -> Iterator[dict[str, Any]]:
    """One line per made-up metric and contender."""
    for p in [*planted.metrics(seed), *planted.several(seed)][::every]:
        first, values = metric_training_rows(len(p.y)), p.series.values
        what = {"data": "several channels" if values.shape[1] > 1 else "one channel", "kind": p.anomaly}
        rows = score_dataset(p.data)
        yield {**what, "contender": "default", **ranked(p.y, rows.score, first), **by_alerts(p.y, rows.alert_ids)}
        scaled = (values - values[:first].mean(axis=0)) / (values[:first].std(axis=0) + 1e-12)
        seen = np.lib.stride_tricks.sliding_window_view(scaled, WINDOW, axis=0).reshape(len(values) - WINDOW + 1, -1)
        trees = np.r_[np.full(WINDOW - 1, np.nan), forest(seen, first - WINDOW + 1)]
        yield {**what, "contender": "rolling z-score", **ranked(p.y, rolling_z(values), first)}
        yield {**what, "contender": "seasonal naive", **ranked(p.y, seasonal_naive(values, first), first)}
        yield {**what, "contender": "Isolation Forest", **ranked(p.y, trees, first)}


def tables(seed: int) -> Iterator[Dataset]:
    """Recorded tables, each with one series."""
    from sklearn.datasets import load_breast_cancer, load_digits

    for name in ("creditcard", "ctg", "kdd", "kdd-corrected"):
        yield open_dataset(name)
    cancer, digits = load_breast_cancer(), load_digits()
    yield _rare("breast cancer", cancer.data, cancer.target == 0, seed)
    for digit in (0, 4, 8):
        yield _rare(f"digit {digit}", digits.data, digits.target == digit, seed)


def _rare(name: str, x: Scores, anomalous: NDArray[np.bool_], seed: int, share: float = 0.05) -> Dataset:
    """All normal rows and so many anomalous ones, mixed."""
    rng = np.random.default_rng(seed)
    few = rng.permutation(np.flatnonzero(anomalous))[: int(share * len(x))]
    order = rng.permutation(np.r_[np.flatnonzero(~anomalous), few])
    columns = tuple(np.ascontiguousarray(c) for c in x[order].astype(np.float64).T)
    series = Series(name, np.arange(len(order), dtype=np.int64) * 1000, columns)
    channels = tuple(f"c{i}" for i in range(len(columns)))
    return Dataset(name, "table", channels, "scikit-learn", {name: series}, {name: Labels((), anomalous[order])})


def table_outcomes(found: Iterable[Dataset], kind: str) -> Iterator[dict[str, Any]]:
    """One line per table and contender."""
    for data in found:
        [series], [labels] = data.series().values(), data.all_labels.values()
        y, first = labels.anomalous.astype(np.int8), table_training_rows(len(series))
        rows, what = score_dataset(data), {"data": kind, "kind": data.name}
        # A reader may leave rows of its source out (CTG's suspect ones).
        scores, ids = rows.score[series.positions], [rows.alert_ids[i] for i in series.positions.tolist()]
        yield {**what, "contender": "default", **ranked(y, scores, first), **by_alerts(y, ids)}
        encoder = FeatureEncoder(data.channels, data.categorical).fit(series.rows(0, first))
        encoded, _ = encoder.encode(series.rows())
        yield {**what, "contender": "Isolation Forest", **ranked(y, forest(encoded, first), first)}


def summary(lines: pd.DataFrame) -> pd.DataFrame:
    """Means of the rankings, and rates of the counts, for each kind of data and contender."""
    groups = lines.groupby(["data", "contender"])
    out = groups[["roc_auc", "average_precision", "vus_pr"]].mean()
    counts = groups[["events", "found", "alerts", "false", "rows"]].sum()
    out["found"] = counts["found"] / counts["events"]
    out["alerts that meet an event"] = 1 - counts["false"] / counts["alerts"]
    out["false per 1,000 rows"] = 1000 * counts["false"] / counts["rows"]
    return out.round(3)


def main(words: Sequence[str] | None = None) -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=4, help="every so manyeth of 83 made-up metrics (default 4)")
    parser.add_argument("--tables", action="store_true", help="recorded tables too; needs TIDEWATCH_DATA")
    parser.add_argument("--out", type=Path, default=Path("out/unseen"), help="folder for lines.csv and summary.csv")
    chosen = parser.parse_args(words)
    rows = [
        *metric_outcomes(chosen.seed, chosen.every),
        *table_outcomes(planted_tables.tables(chosen.seed), "made-up table"),
    ]
    if chosen.tables:
        rows += table_outcomes(tables(chosen.seed), "recorded table")
    lines = pd.DataFrame(rows)
    chosen.out.mkdir(parents=True, exist_ok=True)
    lines.to_csv(chosen.out / "lines.csv", index=False)
    summary(lines).to_csv(chosen.out / "summary.csv")
    print(summary(lines).to_string())


if __name__ == "__main__":
    main()
