"""A data set in, a row of scores out for each of its rows: what `tidewatch score` does between reading and writing.

Recorded files are less tidy than streams, so before the stream's steps run:

- a series whose rows stand in another order than their event times (newest first, say) is read in time order;
- a missing cell among several is filled in: in a metric of several columns with the column's last value, in a table with the
  column's median over the training rows. A metric of one column has no row to judge there.

`ScoredRows.notes` says what was done. The rows that come out stand in the order of the source all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from detectors import outlying
from detectors.base import DetectorError
from detectors.budget import METRIC
from detectors.judged import unlearnt
from detectors.judgement.calendar import UTC, Calendar
from detectors.judgement.state import BLOCK
from detectors.model import Model
from detectors.recipes import Recipe, by_name
from detectors.training import OnProgress, all_rows, history_rows, metric_training_rows, table_training_rows
from pipeline.alerts.records import Alert
from pipeline.errors import ModelError
from pipeline.offline import time_limits
from pipeline.offline.run import Verdicts, offline_stream, run
from pipeline.steps.batches import Observations
from producers.cells import plain_cell
from producers.datasets import Dataset, Series
from producers.datasets.rows import Rows
from producers.errors import DataError

OnScored = Callable[[int, int], None]
"""Told how many of how many rows are scored."""
HALF, TENTH = np.array([-np.log10(0.5)]), np.array([1.0])
"""Calibrated scores that half, and a tenth, of what a series learnt from reach."""
UNJUDGED = 2 * BLOCK
"""Rows of a file's longest series below which there is no judgement: it would begin where the file ends."""
WRITTEN = 65_536
"""Rows that are written at a time."""
UNTIDY = 0.1
"""Share of a series' rows that may be older than the newest before them; beyond it the series is read in time order."""


@dataclass(frozen=True)
class ScoredRows:
    """One row for each of the data set's rows, in the order of its source.

    Attributes
    ----------
    score : (n,) float64
        Ranks. With a judgement its score; else the detector's raw score, and of several detectors, whose raw scores have no common unit, the mean of how rare (metrics) or how far
        out (tables, `detectors.outlying`) they are among what the training part calibrated, without bounds: unlike the calibrated score it learns
        nothing on the way. NaN while learning.
    calibrated_score : (n,) float64
        Of the detectors, 0..12; NaN while learning.
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
    notes: tuple[str, ...] = ()
    """What a user should know of the file, a line each."""
    expected: NDArray[np.float64] | None = None
    """(n, C) of a metric: what was expected, in the file's unit, NaN where nothing; None where no detector expects anything."""
    records: Sequence[Alert] = ()
    """Every record of every alert, in order; `pipeline.offline.alert_list` makes one row of each."""
    alarm: NDArray[np.float64] | None = None
    """(n,) where a judgement decides: by how many decades a row is rarer than the false-alarm budget lets pass, anomalous from 0 on."""
    lower: NDArray[np.float64] | None = None
    """(n, C) where a judgement decides, with `upper`: outside of it a row alarms."""
    upper: NDArray[np.float64] | None = None
    channels: tuple[str, ...] = ()

    @property
    def ranking(self) -> NDArray[np.float64]:
        """(n,) on one scale for every series: a judgement's score, else the calibrated one. NaN while learning."""
        return self.calibrated_score if self.alarm is None else self.score

    def frame(self, of: slice = slice(None)) -> pd.DataFrame:
        """As the table that is written; `of` chooses rows."""
        at = np.datetime_as_string(self.timestamps[of].astype("datetime64[ms]"), unit="ms").astype(object) + "Z"
        columns = {
            "timestamp": at,
            "series": self.series[of],
            "score": self.score[of],
            "calibrated_score": self.calibrated_score[of],
            "anomalous": self.anomalous[of],
            "alert_id": self.alert_ids[of],
        }
        if self.alarm is not None:
            columns["alarm"] = self.alarm[of]
            for what, values in (("expected", self.expected), ("lower", self.lower), ("upper", self.upper)):
                if values is not None:
                    alone = values.shape[1] == 1
                    columns |= {what if alone else f"{what}:{c}": values[of, i] for i, c in enumerate(self.channels)}
        return pd.DataFrame(columns)


def score_dataset(
    data: Dataset,
    *,
    train_rows: int | None = None,
    detector: str = "",
    recipe: Recipe | None = None,
    model: Model | None = None,
    alerts: Mapping[str, Any] | None = None,
    calendar: Calendar = UTC,
    seed: int = 0,
    on_progress: OnProgress | None = None,
    on_scored: OnScored | None = None,
) -> ScoredRows:
    """Learn from the first rows of each series, then score all of them in order, as the stream would.

    Rows are judged from earlier rows of their own series and what was learnt from the first rows; no row sees a later one.

    Parameters
    ----------
    train_rows
        First rows of each series to learn from; None: half of a metric, or two weeks where half is less (`detectors.training.history_rows`), by
        a detector alone min(15 %, 750) of it (of a short one half, up to 30); 15 % of a table.
    detector
        One detector instead of the recipe's mix.
    recipe
        None: the product's default for this kind of data.
    model
        Learnt from these rows before (`train`); None: learnt now.
    alerts
        Settings of the life of alerts, over what the recipe says; as in tidewatch.toml.
    calendar
        Whose day, week and holidays the series keep.

    Raises
    ------
    DetectorError
        Too few rows to learn from; no such detector; `train_rows` is no number of rows.
    DataError
        The data set has no rows, or a metric's column is a category.
    ModelError
        `model` was learnt from another kind of data, or other columns.
    SettingsError
        The recipe's settings are none of a stream.
    """
    ready = made_ready(
        data,
        train_rows=train_rows,
        recipe=_recipe(data, recipe, detector),
        model=model,
        alerts=alerts,
        calendar=calendar,
        seed=seed,
        on_progress=on_progress,
    )
    observations, rows = observations_of(ready.data, ready.model)
    verdicts = run(offline_stream(ready.model, ready.settings), observations, on_scored)
    some_scored(ready.data, observations, verdicts, ready.model)
    notes = (*ready.notes, *unscored(observations, verdicts, ready.model), *not_scored(verdicts.counts))
    return per_row(ready.data, observations, rows, verdicts, ready.model, notes)


@dataclass(frozen=True)
class Ready:
    """What is needed to score a data set: itself, tidied; a model; settings of its stream; and what a user should know."""

    data: Dataset
    model: Model
    settings: dict[str, Any]
    notes: tuple[str, ...]
    train_rows: int | None


def made_ready(
    data: Dataset,
    *,
    train_rows: int | None,
    recipe: Recipe,
    model: Model | None = None,
    alerts: Mapping[str, Any] | None = None,
    calendar: Calendar = UTC,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Ready:
    """Tidy a data set, and learn from its first rows where there is no model; see `score_dataset`."""
    if not len(data):
        msg = f"{data.name} has no rows to score"
        raise DataError(msg)
    if model is not None:
        _check_fit(data, model)
    judged = recipe.judgement if model is None else model.judgement is not None
    data, notes = _tidied(data, train_rows, judged=judged)
    few = model is None and _too_few(data)
    model = model or train(
        data,
        train_rows=train_rows,
        recipe=recipe,
        calendar=calendar,
        seed=seed,
        on_progress=on_progress,
    )
    if model.judgement is not None:
        notes += unlearnt(histories(data, train_rows, judged=True), calendar=calendar)
    elif few and not stated(recipe.settings, model):
        notes.append(
            f"fewer than {UNJUDGED} rows: among so few hardly anything can be told to be rare enough for an alert; the rows with the highest scores "
            "stand out most"
        )
    settings = {**time_limits.of_file(data), **recipe.settings}
    settings["alerts"] = {**settings.get("alerts", {}), **(alerts or {})}
    if not stated(recipe.settings, model) and (once := time_limits.budget_rows(data)):
        settings["threshold"] = {**settings.get("threshold", {}), "false_alarms": f"1 per {once} rows"}
        notes.append(
            f"what comes once in {once:,} rows is anomalous: the file is too short for the usual budget, {METRIC} "
            "(--budget says otherwise)"
        )
    return Ready(data, model, settings, tuple(notes), train_rows)


def not_scored(counts: Mapping[str, int]) -> list[str]:
    """What is told of rows that the time policy did not score."""
    notes = []
    if repeated := counts.get("duplicate", 0):
        notes.append(
            f"{repeated:,} rows have the time stamp of another row of their series and were not scored "
            "(several series in one file: name the column that tells them apart with --series-column)"
        )
    if late := counts.get("late", 0):
        notes.append(f"{late:,} rows are older than the row before them and were not scored")
    if beyond := counts.get("of too many series", 0):
        notes.append(f"{beyond:,} rows are of more series than are held at once and were not scored")
    return notes


def stated(settings: Mapping[str, Any], model: Model) -> bool:
    """Whether settings, or what the model file recommends, say from when on a score is anomalous."""
    tables = (settings.get("threshold", {}), model.facts.get("settings", {}).get("threshold", {}))
    return any({"false_alarms", "level", "method"} & set(table) for table in tables)


def train(
    data: Dataset,
    *,
    train_rows: int | None = None,
    detector: str = "",
    recipe: Recipe | None = None,
    calendar: Calendar = UTC,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Model:
    """A model of a recipe (or of one detector) from the first rows of each series. Raises DetectorError, DataError."""
    recipe = _recipe(data, recipe, detector)
    data, _ = _tidied(data, train_rows, judged=recipe.judgement)
    if data.kind == "table":
        table = {
            name: s.rows(0, training_rows(s, "table", train_rows, judged=False)) for name, s in data.series().items()
        }
        recipe = recipe.for_rows(sum(map(len, table.values())))
        return recipe.train_table(
            table, data.channels, data.categorical, training_rows=all_rows, seed=seed, on_progress=on_progress
        )
    model = recipe.train_metric(
        histories(data, train_rows, judged=recipe.judgement),
        training_rows=all_rows,
        calendar=calendar,
        seed=seed,
        on_progress=on_progress,
    )
    return model if len(data.channels) == 1 else replace(model, facts={**model.facts, "channels": list(data.channels)})


def _recipe(data: Dataset, recipe: Recipe | None, detector: str) -> Recipe:
    """The recipe, the product's where none is given; or what of it a detector's name chooses."""
    recipe = by_name(data.kind, detector) if recipe is None else recipe.of(detector) if detector else recipe
    if _too_few(data):
        return replace(recipe, judgement=False)
    return recipe


def _too_few(data: Dataset) -> bool:
    """Whether metrics have too few rows for a judgement."""
    return data.kind == "metric" and max(map(len, data.all_series.values()), default=0) < UNJUDGED


def histories(
    data: Dataset, train_rows: int | None, *, judged: bool
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """What of each series of metrics is learnt from."""
    found = {}
    for name, s in data.series().items():
        first = training_rows(s, "metric", train_rows, judged=judged)
        found[name] = s.timestamps[:first], s.values[:first]
    return found


def _check_fit(data: Dataset, model: Model) -> None:
    """Refuse a model that would score the data set's columns as if they were others."""
    wrong = ""
    if model.kind != data.kind:
        wrong = f"of a {model.kind}, and {data.name} is a {data.kind}"
    elif model.features is not None and model.features.names != data.channels:
        wrong = f"of the columns {', '.join(model.features.names)}, and {data.name} has {', '.join(data.channels)}"
    elif model.features is None and model.channels != len(data.channels):
        wrong = f"of {model.channels} channels, and {data.name} has {len(data.channels)}"
    if wrong:
        msg = f"the model is {wrong}; train one on data of this form, or choose its columns (Layout)"
        raise ModelError(msg)


def training_rows(series: Series, kind: str, chosen: int | None, *, judged: bool) -> int:
    """How many first rows of a series are learnt from: as `chosen`, or the usual share. Raises DetectorError."""
    if chosen is not None:
        if not isinstance(chosen, int | np.integer) or chosen < 1:
            msg = f"train_rows={chosen!r}: give a whole number of rows, 1 or more, or None for the usual share"
            raise DetectorError(msg)
        return min(int(chosen), len(series))
    if judged:
        return history_rows(series.timestamps)
    return metric_training_rows(len(series)) if kind == "metric" else table_training_rows(len(series))


def _tidied(data: Dataset, train_rows: int | None, *, judged: bool) -> tuple[Dataset, list[str]]:
    """The data set with its series in time order and missing cells filled in, and what was done."""
    notes: list[str] = []
    parts = dict(data.series())
    if data.kind == "metric":
        untidy = [name for name, s in parts.items() if len(s) and time_limits.in_order(s).mean() < 1 - UNTIDY]
        parts |= {name: parts[name].take(np.argsort(parts[name].timestamps, kind="stable")) for name in untidy}
        if untidy:
            notes.append(
                f"rows of {len(untidy):,} series do not stand in the order of time; they were read in that order"
            )
    if data.kind == "table" or len(data.channels) > 1:
        missing = sum(int((~np.isfinite(c)).sum()) for s in parts.values() for c in s.columns if c.dtype != object)
        if missing:
            parts = {
                name: _filled_in(s, training_rows(s, data.kind, train_rows, judged=judged), last=data.kind == "metric")
                for name, s in parts.items()
            }
            how = "the column's last value" if data.kind == "metric" else "the column's median"
            notes.append(f"{missing:,} cells are missing; {how} stands for each")
    return replace(data, all_series=parts), notes


def _filled_in(series: Series, learnt_from: int, *, last: bool) -> Series:
    """Numbers for missing cells: the last one before, where `last` and there is one; else the training rows' median, else 0."""
    columns = []
    for column in series.columns:
        if column.dtype == object or np.isfinite(column).all():
            columns.append(column)
            continue
        known = column[:learnt_from][np.isfinite(column[:learnt_from])]
        usual = float(np.median(known)) if len(known) else 0.0
        values = carried(column) if last else column
        columns.append(np.where(np.isfinite(values), values, usual))
    return replace(series, columns=tuple(columns))


def observations_of(data: Dataset, model: Model) -> tuple[Observations, NDArray[np.int64]]:
    """All rows that a replay would send, merged in the order of the source; and which row of the source each is."""
    parts = list(data.series().values())
    position = np.concatenate([s.positions for s in parts])
    # A series that is read in the order of time takes the places that its rows have in the source, one after the other.
    place = np.concatenate([np.sort(s.positions) for s in parts])
    number = np.repeat(np.arange(len(parts)), [len(s) for s in parts])
    times = np.concatenate([s.timestamps for s in parts])
    order = np.argsort(place, kind="stable")
    originals: Rows | None = None
    if data.kind == "metric":
        values = np.concatenate([s.values for s in parts])
        order = order[np.isfinite(values).all(axis=1)[order]]
        values = values[order]
    else:
        assert model.features is not None
        of_all = _columns(parts)
        values, problems = model.features.encode(Rows(of_all))
        if problems:
            order = order[~np.isin(order, list(problems))]
        if not np.array_equal(order, np.arange(len(place))):
            of_all, values = [c[order] for c in of_all], values[order]
        originals = Rows(of_all)
    names = [s.name for s in parts]
    observations = Observations(
        offsets=np.arange(len(order), dtype=np.int64),
        series=[names[k] for k in number[order].tolist()],
        timestamps=times[order],
        values=values,
        originals=originals,
    )
    return observations, position[order]


def _columns(parts: Sequence[Series]) -> Sequence[NDArray[Any]]:
    """The columns of all series, one after the other; shared where there is one."""
    if len(parts) == 1:
        return parts[0].columns
    return [np.concatenate(columns) for columns in zip(*(s.columns for s in parts), strict=True)]


def some_scored(data: Dataset, observations: Observations, verdicts: Verdicts, model: Model) -> None:
    """Raise DataError, with the reason, where no row has a score: an empty column of scores would be taken for a quiet one."""
    if np.isfinite(verdicts.score[verdicts.live]).any():
        return
    n, counts = len(observations), verdicts.counts
    learnt = sum(model.training_rows.values())
    if not n:
        why = "every row lacks a number"
    elif learnt >= 0.9 * n:
        why = f"{learnt:,} of its {n:,} rows are learnt from; leave more of them with a smaller --train-rows"
    elif counts["late"] + counts["duplicate"] > n // 2:
        why = "most rows are not newer than the row before them; name the column that tells series apart with --series-column"
    elif model.kind == "metric":
        why = (
            f"nowhere do {model.window:,} rows follow each other behind the {learnt:,} that are learnt from; give more rows, a shorter "
            "--window, or take the rows in their order: --table"
        )
    else:
        why = "no row is like those that were learnt from"
    msg = f"{data.name}: no row could be scored: {why}"
    raise DataError(msg)


def unscored(observations: Observations, verdicts: Verdicts, model: Model) -> list[str]:
    """What is told of rows that were not scored although nothing is wrong with them, and of series without any score."""
    notes = []
    counts = verdicts.counts
    if dropped := counts["dropped_future"]:
        notes.append(f"{dropped:,} rows have a time far ahead of the rows behind them and were not scored")
    if gaps := counts["restarted"] + counts["confirmed"]:
        notes.append(
            f"gaps in time that are too long to be filled in: {gaps:,}; behind each, up to {model.window - 1:,} rows are not scored"
        )
    names = np.asarray(observations.series, object)
    silent = sorted(set(names.tolist()) - set(names[verdicts.live & np.isfinite(verdicts.score)].tolist()))
    if silent:
        some = ", ".join(silent[:3]) + (", ..." if len(silent) > 3 else "")
        notes.append(f"{len(silent):,} series are too short to be scored: {some}")
    return notes


def per_row(
    data: Dataset,
    observations: Observations,
    rows: NDArray[np.int64],
    verdicts: Verdicts,
    model: Model,
    notes: tuple[str, ...],
    last: dict[str, tuple[float, float]] | None = None,
) -> ScoredRows:
    """What was said of observations, in the order of the rows that they are from.

    Parameters
    ----------
    rows : (N,) int64
        Which row of `data` each observation is.
    last
        Of each series, the last scores of rows before these; moved on to those of these rows.
    """
    last = {} if last is None else last
    parts = list(data.series().values())
    n = len(data)
    whole = len(rows) == n and bool(
        (rows == np.arange(n)).all()
    )  # nothing to put elsewhere: the same arrays, which files of millions of rows need

    def placed(values: NDArray[Any], usual: Any = np.nan) -> NDArray[Any]:
        if whole:
            return values
        found = np.full((n, *values.shape[1:]), usual, values.dtype)
        found[rows] = values
        return found

    if whole:
        times, series, ids = observations.timestamps, list(observations.series), verdicts.alert_ids
    else:
        times, names = np.zeros(n, np.int64), np.full(n, "", object)
        for s in parts:
            times[s.positions], names[s.positions] = s.timestamps, s.name
        series, ids = names.tolist(), placed(np.asarray(verdicts.alert_ids, object), "").tolist()
    judged = verdicts.alarm is not None
    ranks = verdicts.score if judged else _ranked(verdicts.raw, observations.series, model)
    raw = placed(np.where(verdicts.live, ranks, np.nan))
    calibrated = placed(np.where(verdicts.live, verdicts.calibrated if judged else verdicts.score, np.nan))
    for s in parts:  # what the time policy does not score repeats the last score of its series
        before = last.get(s.name, (np.nan, np.nan))
        raw[s.positions] = carried(raw[s.positions], before[0])
        calibrated[s.positions] = carried(calibrated[s.positions], before[1])
        if len(s):
            last[s.name] = float(raw[s.positions[-1]]), float(calibrated[s.positions[-1]])
    fired = len({a.id for a in verdicts.alerts if a.fired})
    expected = None
    if data.kind == "metric" and (verdicts.lower is not None or np.isfinite(verdicts.expected).any()):
        expected = placed(verdicts.expected)
    anomalous = placed(verdicts.anomalous, False)
    result = ScoredRows(times, series, raw, calibrated, anomalous, ids, fired, model, notes, expected, verdicts.alerts)
    if verdicts.alarm is None:
        return result
    result = replace(result, alarm=placed(np.where(verdicts.live, verdicts.alarm, np.nan)))
    if verdicts.lower is None or verdicts.upper is None:
        return result
    return replace(result, lower=placed(verdicts.lower), upper=placed(verdicts.upper), channels=data.channels)


def _ranked(raw: NDArray[np.float64], series: Sequence[str], model: Model) -> NDArray[np.float64]:
    """One score (N,) from the members' raw scores (N, M)."""
    if raw.shape[1] == 1:
        return raw[:, 0]
    out = np.empty(len(raw))
    names = np.asarray(series, object)
    # A series too short to calibrate on its own (its members' scores are scaled alike) is ranked by the first that could.
    usual = next(iter(model.calibrations.values()))
    for name in dict.fromkeys(series):
        of = np.flatnonzero(names == name)
        states = model.calibrations.get(name, usual)
        states = np.where(model.calibrator.ready(states), states, usual)
        if model.kind == "table" and model.calibrator.ready(states).all():
            out[of] = outlying.score(
                raw[of], model.calibrator.raw_at(states, HALF), model.calibrator.raw_at(states, TENTH)
            )
            continue
        members = [model.calibrator.against(states[m], raw[of, m]) for m in range(raw.shape[1])]
        out[of] = np.mean(members, axis=0)
    return out


def carried(values: NDArray[np.float64], before: float = np.nan) -> NDArray[np.float64]:
    """Each value, or the last one that is a number; `before` where there is none yet."""
    last = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values)), -1))
    return np.where(last >= 0, values[np.maximum(last, 0)], before)


def write(result: ScoredRows, out: Path) -> None:
    """Write the table as CSV, or as Parquet where the name ends so, in parts."""
    out.parent.mkdir(parents=True, exist_ok=True)
    parts = (result.frame(slice(start, start + WRITTEN)) for start in range(0, len(result.timestamps), WRITTEN))
    if out.suffix != ".parquet":
        with out.open("wb") as file:
            rows = CsvRows(file)
            for frame in parts:
                rows.write(frame)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.Schema.from_pandas(result.frame(slice(0, 1)), preserve_index=False)
    for name in ("timestamp", "series", "alert_id"):
        schema = schema.set(schema.get_field_index(name), pa.field(name, pa.string()))
    with pq.ParquetWriter(out, schema) as writer:
        for frame in parts:
            writer.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False))


class CsvRows:
    """Scored rows written as CSV, a table after the other, with the names in the first line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._begun = False

    def write(self, frame: pd.DataFrame) -> None:
        """Append rows of `ScoredRows.frame`, and let them out."""
        import pyarrow as pa
        import pyarrow.csv as pacsv

        if not self._begun:
            frame[:0].to_csv(self._file, index=False)
            self._begun = True
        frame["series"] = frame["series"].map(plain_cell)
        # pyarrow writes many times as fast as pandas, but puts all texts in quotes or none.
        if any(sign in name for name in frame["series"].unique() for sign in ',"\r\n'):
            frame.to_csv(self._file, index=False, header=False)
        else:
            frame["anomalous"] = np.where(frame["anomalous"], "True", "False")
            unquoted = pacsv.WriteOptions(include_header=False, quoting_style="none")
            pacsv.write_csv(pa.Table.from_pandas(frame, preserve_index=False), self._file, unquoted)
        self._file.flush()
