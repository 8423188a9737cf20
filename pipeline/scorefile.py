"""A data set in, a row of scores out for each of its rows: what `tidewatch score` does between reading and writing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from detectors.model import Model
from detectors.recipes import METRIC, TABLE
from detectors.training import OnProgress, metric_training_rows, table_training_rows
from pipeline.batches import Observations
from pipeline.offline import Verdicts, offline_stream, run
from producers.datasets import Dataset


@dataclass(frozen=True)
class ScoredRows:
    """One row for each of the data set's rows, in the order of its source.

    Attributes
    ----------
    score : (n,) float64
        Mean of the members' raw scores; NaN while learning.
    calibrated_score : (n,) float64
        0..12; NaN while learning.
    alerts
        How many alerts fired.
    """

    timestamps: NDArray[np.int64]
    series: list[str]
    score: NDArray[np.float64]
    calibrated_score: NDArray[np.float64]
    anomalous: NDArray[np.bool_]
    alert_ids: list[str]
    alerts: int
    model: Model

    def frame(self) -> pd.DataFrame:
        """As the table that is written."""
        return pd.DataFrame(
            {
                "timestamp": pd.to_datetime(self.timestamps, unit="ms", utc=True)
                .strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                .str[:-4]
                + "Z",
                "series": self.series,
                "score": self.score,
                "calibrated_score": self.calibrated_score,
                "anomalous": self.anomalous,
                "alert_id": self.alert_ids,
            }
        )


def score_dataset(
    data: Dataset,
    *,
    train_rows: int | None = None,
    detector: str = "",
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> ScoredRows:
    """Learn from the first rows of each series, then score all of them in order, as the stream would.

    Rows are judged from earlier rows of their own series and what was learnt from the first rows; no row sees a later one.

    Raises
    ------
    DetectorError
        Too few rows to learn from; no such detector.
    """
    model = train(data, train_rows=train_rows, detector=detector, seed=seed, on_progress=on_progress)
    observations, rows = _observations(data, model)
    recipe = METRIC if data.kind == "metric" else TABLE
    verdicts = run(offline_stream(model, recipe.settings), observations)
    return _per_row(data, observations, rows, verdicts, model)


def train(
    data: Dataset,
    *,
    train_rows: int | None = None,
    detector: str = "",
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Model:
    """A model of the product's default recipe (or of one detector) from the first rows of each series."""
    recipe = METRIC if data.kind == "metric" else TABLE
    if detector:
        recipe = recipe.of(detector)
    if data.kind == "table":
        table = {name: s.rows() for name, s in data.series().items()}
        count = table_training_rows if train_rows is None else lambda n: min(train_rows, n)
        return recipe.train_table(
            table, data.channels, data.categorical, training_rows=count, seed=seed, on_progress=on_progress
        )
    metric = {name: (s.timestamps, s.values) for name, s in data.series().items()}
    count = metric_training_rows if train_rows is None else lambda n: min(train_rows, n)
    return recipe.train_metric(metric, training_rows=count, seed=seed, on_progress=on_progress)


def _observations(data: Dataset, model: Model) -> tuple[Observations, NDArray[np.int64]]:
    """All rows that a replay would send, merged in the order of the source; and which row of the source each is."""
    parts = list(data.series().values())
    position = np.concatenate([s.positions for s in parts])
    number = np.repeat(np.arange(len(parts)), [len(s) for s in parts])
    times = np.concatenate([s.timestamps for s in parts])
    originals: list[list[float | str]] | None = None
    if data.kind == "metric":
        values = np.concatenate([s.values for s in parts])
        usable = np.isfinite(values).all(axis=1)
    else:
        assert model.features is not None
        originals = [row for s in parts for row in s.rows()]
        values, problems = model.features.encode(originals)
        usable = np.ones(len(originals), np.bool_)
        usable[list(problems)] = False
    order = np.argsort(position, kind="stable")
    order = order[usable[order]]
    names = [s.name for s in parts]
    observations = Observations(
        offsets=np.arange(len(order), dtype=np.int64),
        series=[names[k] for k in number[order].tolist()],
        timestamps=times[order],
        values=values[order],
        originals=None if originals is None else [originals[i] for i in order.tolist()],
    )
    return observations, position[order]


def _per_row(
    data: Dataset, observations: Observations, rows: NDArray[np.int64], verdicts: Verdicts, model: Model
) -> ScoredRows:
    parts = list(data.series().values())
    n = int(max(s.positions.max() for s in parts if len(s))) + 1
    times, series = np.zeros(n, np.int64), np.full(n, "", object)
    for s in parts:
        times[s.positions], series[s.positions] = s.timestamps, s.name
    raw, calibrated = np.full(n, np.nan), np.full(n, np.nan)
    raw[rows] = np.where(verdicts.live, verdicts.raw.mean(axis=1), np.nan)
    calibrated[rows] = np.where(verdicts.live, verdicts.score, np.nan)
    anomalous = np.zeros(n, np.bool_)
    anomalous[rows] = verdicts.anomalous
    ids = np.full(n, "", object)
    ids[rows] = verdicts.alert_ids
    for s in parts:  # what the time policy does not score repeats the last score of its series
        raw[s.positions] = _carried(raw[s.positions])
        calibrated[s.positions] = _carried(calibrated[s.positions])
    fired = len({a.id for a in verdicts.alerts if a.fired})
    return ScoredRows(times, series.tolist(), raw, calibrated, anomalous, ids.tolist(), fired, model)


def _carried(values: NDArray[np.float64]) -> NDArray[np.float64]:
    last = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values)), -1))
    return np.where(last >= 0, values[np.maximum(last, 0)], np.nan)


def write(result: ScoredRows, out: Path) -> None:
    """Write the table as CSV, or as Parquet where the name ends so."""
    out.parent.mkdir(parents=True, exist_ok=True)
    frame = result.frame()
    if out.suffix == ".parquet":
        frame.to_parquet(out, index=False)
    else:
        frame.to_csv(out, index=False)
