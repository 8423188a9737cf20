"""Detection measured on labelled data, by the stream's own steps and strictly causally.

Metrics: every series gets a model of its own, fitted on its own first rows; no row is judged by a later one, no label is
looked at before the figures are made. Alerts are judged as a stream raises them; NAB's own figure sweeps one threshold of the calibrated
score over the whole corpus, as NAB's protocol does.

Tables: one model, fitted on the first rows in file order; ROC-AUC and average precision of the rows behind them, at the
prevalence found there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from detectors.calibration import MAX_CALIBRATED
from detectors.evaluation import delay, nab, ranges, ranking
from detectors.judgement.calendar import UTC, Calendar
from detectors.recipes import NETWORKS
from detectors.training import metric_training_rows
from pipeline.offline.scorefile import score_dataset
from pipeline.offline.scoring.rows import ScoredRows
from producers.cells import plain_cell
from producers.datasets import Dataset, Labels

EVENT_ROWS = 100
"""Rows after an event was told during which it is not told again."""
ONE_PER_EVENT: Mapping[str, Any] = {"resolve_count": EVENT_ROWS, "quiet": "0s", "split": False}
"""How alerts live where an event is to be one alert, as NAB's protocol has it: they end after a hundred normal rows, not after a few."""
NAB_LEVEL = 2.5
"""Of `rarity`, from which on an event is told to NAB: where NAB's standard profile, over the whole corpus, is flat and best."""
_ALARM = 4.0
"""Decades that an alarm counts for at most, either way."""
AT_BEST = replace(NETWORKS, settings={"threshold": {"level": NAB_LEVEL}})
"""By which detectors that are named are compared on NAB; what a stream's own alarm is, follows from its budget."""
NAB_DATA = ("nab", "taxi")
"""Data sets that are labelled by that protocol."""
BUFFER = 100
"""Rows beside a labelled window up to which VUS-PR counts a high score in part."""


@dataclass(frozen=True)
class SeriesResult:
    """One series, scored by itself."""

    name: str
    values: NDArray[np.float64]
    labels: Labels | None
    rows: ScoredRows


@dataclass(frozen=True)
class MetricFigures:
    """Figures of one series or of all: what an operator lives with, at the default threshold.

    Attributes
    ----------
    false_per_day
        False alerts per series and day of event time.
    range_precision, range_recall
        How much of the alerts' spans is labelled, and of the labelled windows alerted (Tatbul 2018; flat bias, alpha 0).
    affiliation_precision, affiliation_recall
        How near alerts and windows are to each other (Huet 2022); 0.5 is what random alerts get.
    vus_pr
        Volume under the precision-recall surface of the score that ranks: needs no threshold (Paparrizos 2022).
    prevalence
        Share of labelled rows: what a random score's `vus_pr` would be, about.

    The last six are means over the series with labelled windows; a precision counts where there is an alert.
    """

    series: str
    rows: int
    windows: int
    found: int
    alerts: int
    false_alerts: int
    false_per_day: float
    median_delay_minutes: float
    median_delay_observations: float
    range_precision: float
    range_recall: float
    affiliation_precision: float
    affiliation_recall: float
    vus_pr: float
    prevalence: float


@dataclass(frozen=True)
class TableFigures:
    """Figures of a table's rows behind the training part.

    Attributes
    ----------
    alerts, false_alerts
        Alerts, and those of which no row is labelled.
    median_delay_rows
        Rows of an episode before its first anomalous one, of the episodes found.
    """

    rows: int
    prevalence: float
    roc_auc: float
    average_precision: float
    alerts: int
    false_alerts: int
    false_per_1000_rows: float
    episodes: int
    episodes_found: int
    median_delay_rows: float
    range_precision: float
    range_recall: float


def score_each(
    data: Dataset, detector: str, on_series: Callable[[str], None], *, calendar: Calendar = UTC
) -> Iterator[SeriesResult]:
    """Score the series of a data set of metrics, each with a model of its own; NAB's learn from what NAB's protocol allows, others as a stream would."""
    as_nab = data.name.removeprefix("synthetic-") in NAB_DATA
    recipe = AT_BEST if as_nab and detector else None
    for name in data.series():
        on_series(name)
        alone = data.select(escape(name))
        [series] = alone.series().values()
        first = max(metric_training_rows(len(series)), 1) if as_nab else None
        rows = score_dataset(
            alone,
            detector=detector,
            recipe=recipe,
            train_rows=first,
            alerts=ONE_PER_EVENT if as_nab else None,
            calendar=calendar,
        )
        yield SeriesResult(name, series.values[np.argsort(series.positions)], data.all_labels.get(name), rows)


def one_per_event(
    scores: NDArray[np.float64], anomalous: NDArray[np.bool_], rows: int = EVENT_ROWS
) -> NDArray[np.float64]:
    """Keep the score of an anomalous row where none was kept in the last `rows` rows, else 0: an event is told once, causally.

    >>> anomalous = np.array([False, True, True, False, True])
    >>> one_per_event(np.array([0.1, 0.8, 0.9, 0.7, 0.6]), anomalous, rows=2)
    array([0. , 0.8, 0. , 0. , 0.6])
    """
    out = np.zeros_like(scores)
    told = -rows - 1
    for i in np.flatnonzero(anomalous).tolist():
        if i - told > rows:
            out[i], told = scores[i], i
    return out


def rarity(calibrated: NDArray[np.float64], alarm: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """(n,) decades by which rows are rare: the detectors' calibrated scores, and where a judgement decides, by how many its alarm passes its level (or misses it).

    Both are logarithms of how often such a row comes, so they add; an alarm counts for at most 4, either way.

    >>> rarity(np.array([np.nan, 3.0, 3.0]), np.array([np.nan, 1.5, -9.0]))
    array([-4. ,  4.5, -1. ])
    """
    rare = np.nan_to_num(calibrated)
    return rare if alarm is None else rare + np.clip(np.nan_to_num(alarm, nan=-_ALARM), -_ALARM, _ALARM)


def nab_anomaly_score(result: SeriesResult) -> NDArray[np.float64]:
    """(n,) between 0 and 1: the `rarity` of the row that tells an event, 0 elsewhere. NAB sweeps one threshold over the corpus."""
    return event_scores(rarity(result.rows.calibrated_score, result.rows.alarm), NAB_LEVEL)


def event_scores(rare: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """(n,) between 0 and 1, of `rarity` (n,): of the row that tells an event, which is rare from `level` on; 0 elsewhere."""
    most = MAX_CALIBRATED + _ALARM
    return one_per_event(np.clip(rare, 0.0, most) / most, rare >= level)


def write_nab(result: SeriesResult, out: Path) -> None:
    """Write `out/nab/<category>/<file>.csv` in NAB's own layout."""
    path = out / "nab" / f"{result.name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    times = pd.to_datetime(result.rows.timestamps, unit="ms").strftime("%Y-%m-%d %H:%M:%S")
    pd.DataFrame({"timestamp": times, "value": result.values[:, 0], "anomaly_score": nab_anomaly_score(result)}).to_csv(
        path, index=False
    )


def nab_figures(results: Sequence[SeriesResult]) -> dict[str, nab.NabScore]:
    """NAB's score of each profile, its threshold swept over these series."""
    files = []
    for result in results:
        windows = [] if result.labels is None else [(w.first, w.last) for w in result.labels.windows]
        files.append((nab_anomaly_score(result), nab.labels(result.rows.timestamps, windows)))
    return nab.sweep(files)


def metric_figures(result: SeriesResult) -> MetricFigures:
    """What the alerts of one series were worth."""
    return _figures(result.name, len(result.values), [_judge(result)], [_by_range(result)])


def all_metric_figures(results: Sequence[SeriesResult]) -> MetricFigures:
    """The same over all series."""
    rows = sum(len(r.values) for r in results)
    return _figures("all", rows, [_judge(r) for r in results], [_by_range(r) for r in results])


def table_labels(data: Dataset, rows: ScoredRows) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """(n,) labels of a table's rows, and which rows stand behind the training part."""
    y = np.zeros(len(rows.score), np.int8)
    for name, series in data.series().items():
        if (labels := data.all_labels.get(name)) is not None:
            y[series.positions] = labels.anomalous
    return y, np.isfinite(rows.score)


def table_figures(rows: ScoredRows, y: NDArray[np.int8], live: NDArray[np.bool_]) -> TableFigures:
    """Figures of the rows behind the training part."""
    labelled = np.where(live, y, 0).astype(np.int8)
    spans = delay.episodes(labelled)
    found = delay.episodes_found(spans, rows.anomalous)
    late = [f for f in found if f is not None]
    alerts = alerted(rows.alert_ids)
    false = sum(not labelled[first : last + 1].any() for first, last in alerts)
    by_range = ranges.range_precision_recall(spans, alerts)
    return TableFigures(
        int(live.sum()),
        ranking.prevalence(y[live]),
        ranking.roc_auc(y[live], rows.score[live]),
        ranking.average_precision(y[live], rows.score[live]),
        len(alerts),
        false,
        1000.0 * false / float(live.sum()),
        len(spans),
        len(late),
        float(np.median(late)) if late else float("nan"),
        by_range.precision,
        by_range.recall,
    )


def frame(figures: Sequence[MetricFigures | TableFigures]) -> pd.DataFrame:
    """Figures as a table, names as plain cells."""
    rows = [{k: plain_cell(v) if isinstance(v, str) else v for k, v in asdict(f).items()} for f in figures]
    return pd.DataFrame(rows)


def profile_frame(profiles: Mapping[str, nab.NabScore]) -> pd.DataFrame:
    """NAB's profiles as a table."""
    return pd.DataFrame([{"profile": name, **asdict(score)} for name, score in profiles.items()])


def _judge(result: SeriesResult) -> delay.Judgement:
    rows = result.rows
    watched = np.isfinite(rows.ranking)
    times = np.maximum.accumulate(rows.timestamps[watched]) if watched.any() else rows.timestamps[:0]
    ids = np.asarray(rows.alert_ids, object)
    spans = []
    for name in dict.fromkeys(i for i in rows.alert_ids if i):
        of_alert = rows.timestamps[ids == name]
        spans.append((int(of_alert.min()), int(of_alert.max())))
    begin = int(times[0]) if len(times) else 0
    windows = [] if result.labels is None else [(w.first, w.last) for w in result.labels.windows if w.last >= begin]
    return delay.judge(times, spans, windows)


def alerted(ids: Sequence[str]) -> list[tuple[int, int]]:
    """First and last row of each alert, from the alert of each row, in order of their first."""
    codes, _ = pd.factorize(np.asarray(ids, object))
    rows = np.flatnonzero(np.asarray(ids, object) != "")
    order = rows[np.argsort(codes[rows], kind="stable")]
    cuts = np.flatnonzero(np.diff(codes[order])) + 1
    return sorted((int(part[0]), int(part[-1])) for part in np.split(order, cuts) if len(part))


def _by_range(result: SeriesResult) -> dict[str, float]:
    """Figures of one series' watched rows that ask how much of an event was met; NaN where there is nothing to take them of."""
    watched = np.isfinite(result.rows.ranking)
    windows = [] if result.labels is None else [(w.first, w.last) for w in result.labels.windows]
    y = (nab.labels(result.rows.timestamps, windows).window >= 0)[watched].astype(np.int8)
    real = delay.episodes(y)
    if not real:
        return dict.fromkeys(_RANGE_FIGURES, float("nan"))
    alerts = alerted(np.asarray(result.rows.alert_ids, object)[watched].tolist())
    by_range, near = ranges.range_precision_recall(real, alerts), ranges.affiliation(real, alerts, len(y))
    volume = ranges.vus_pr(y, result.rows.ranking[watched], buffer=BUFFER)
    found = (by_range.precision, by_range.recall, near.precision, near.recall, volume, float(y.mean()))
    return dict(zip(_RANGE_FIGURES, found, strict=True))


_RANGE_FIGURES = tuple(f.name for f in fields(MetricFigures))[-6:]


def _figures(
    name: str, rows: int, judgements: Sequence[delay.Judgement], by_range: Sequence[Mapping[str, float]]
) -> MetricFigures:
    finds = [f for j in judgements for f in j.finds]
    late = [f for f in finds if f.delay_minutes is not None and f.delay_observations is not None]
    false = sum(len(j.false_alerts) for j in judgements)
    true = len({(k, f.alert) for k, j in enumerate(judgements) for f in j.finds if f.alert is not None})
    return MetricFigures(
        name,
        rows,
        len(finds),
        len(late),
        false + true,
        false,
        delay.false_alerts_per_series_day(judgements),
        float(np.median([f.delay_minutes for f in late])) if late else float("nan"),
        float(np.median([f.delay_observations for f in late])) if late else float("nan"),
        *(_mean_of_known([f[figure] for f in by_range]) for figure in _RANGE_FIGURES),
    )


def _mean_of_known(values: Sequence[float]) -> float:
    known = [v for v in values if v == v]
    return sum(known) / len(known) if known else float("nan")
