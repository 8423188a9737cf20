"""Scores in the order of a file's rows, and the table that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from detectors import outlying
from detectors.model import Model
from pipeline.alerts.records import Alert
from pipeline.offline.run import Verdicts
from pipeline.offline.scoring.recorded import Recorded
from pipeline.offline.scoring.room import PART, column, parts, release
from pipeline.offline.scoring.texts import Texts
from producers.datasets import Dataset

HALF, TENTH = np.array([-np.log10(0.5)]), np.array([1.0])
"""Calibrated scores that half, and a tenth, of what a series learnt from reach."""
FAR = 800_000_000_000_000
"""Milliseconds from 1970 that Arrow can write: 25,000 years."""


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
    series: Sequence[str]
    score: NDArray[np.float64]
    calibrated_score: NDArray[np.float64]
    anomalous: NDArray[np.bool_]
    alert_ids: Sequence[str]
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

    def columns(self, of: slice = slice(None)) -> dict[str, pa.Array]:
        """The columns of the table that is written; `of` chooses rows."""
        found = {
            "timestamp": _rfc3339(self.timestamps[of]),
            "series": _part(self.series, of).arrow(),
            "score": pa.array(self.score[of], from_pandas=True),
            "calibrated_score": pa.array(self.calibrated_score[of], from_pandas=True),
            "anomalous": pa.array(self.anomalous[of]),
            "alert_id": _part(self.alert_ids, of).arrow(),
        }
        if self.alarm is not None:
            found["alarm"] = pa.array(self.alarm[of], from_pandas=True)
            for what, values in (("expected", self.expected), ("lower", self.lower), ("upper", self.upper)):
                if values is not None:
                    alone = values.shape[1] == 1
                    for i, c in enumerate(self.channels):
                        found[what if alone else f"{what}:{c}"] = pa.array(values[of, i], from_pandas=True)
        return found

    def frame(self, of: slice = slice(None)) -> pd.DataFrame:
        """As the table that is written; `of` chooses rows."""
        found: pd.DataFrame = pa.table(self.columns(of)).to_pandas()
        return found


def _part(texts: Sequence[str], of: slice) -> Texts:
    return texts.part(of) if isinstance(texts, Texts) else Texts.of(texts[of])


def _rfc3339(ms: NDArray[np.int64]) -> pa.Array:
    """Times as `2026-03-01T12:00:00.000Z`."""
    if len(ms) and max(-int(ms.min()), int(ms.max())) > FAR:
        return pa.array(np.datetime_as_string(ms.astype("datetime64[ms]"), unit="ms").astype(object) + "Z", pa.string())
    text = pc.replace_substring(pa.array(ms, pa.timestamp("ms")).cast(pa.string()), " ", "T")
    return pc.binary_join_element_wise(text, "Z", "")


def per_row(
    data: Dataset,
    observations: Recorded,
    verdicts: Verdicts,
    model: Model,
    notes: tuple[str, ...],
    last: dict[str, tuple[float, float]] | None = None,
) -> ScoredRows:
    """What was said of observations, in the order of the rows that they are from; what was said is used up.

    Parameters
    ----------
    last
        Of each series, the last scores of rows before these; moved on to those of these rows.
    """
    n, at = len(data), observations.rows

    def placed(values: NDArray[Any], usual: Any = np.nan) -> NDArray[Any]:
        if at is None:
            return values
        found = column((n, *values.shape[1:]), values.dtype, usual)
        for of in parts(len(at)):
            found[at[of]] = values[of]
            release(found, values)
        return found

    judged = verdicts.alarm is not None
    anomalous = verdicts.anomalous
    ranks = verdicts.score if judged else _ranked(verdicts.raw, observations, model)
    calibrated = verdicts.calibrated if judged else verdicts.score
    for values in (ranks, calibrated) if verdicts.alarm is None else (ranks, calibrated, verdicts.alarm):
        for of in parts(len(values)):
            values[of][~verdicts.live[of]] = np.nan
            release(values)
    raw, calibrated = placed(ranks), placed(calibrated)
    _carry_on(data, raw, calibrated, {} if last is None else last)
    fired = len({a.id for a in verdicts.alerts if a.fired})
    expected = None
    if data.kind == "metric" and (verdicts.lower is not None or np.isfinite(verdicts.expected).any()):
        expected = placed(verdicts.expected)
    times, series, ids = observations.timestamps, observations.series, verdicts.alert_ids
    if at is not None:
        times, series = _as_they_stand(data)
        ids = Texts(placed(ids.codes, 0), ids.names)
    anomalous = placed(anomalous, False)
    result = ScoredRows(times, series, raw, calibrated, anomalous, ids, fired, model, notes, expected, verdicts.alerts)
    if verdicts.alarm is None:
        return result
    result = replace(result, alarm=placed(verdicts.alarm))
    if verdicts.lower is None or verdicts.upper is None:
        return result
    return replace(result, lower=placed(verdicts.lower), upper=placed(verdicts.upper), channels=data.channels)


def _as_they_stand(data: Dataset) -> tuple[NDArray[np.int64], Texts]:
    """Times (n,) and series of the rows of a data set."""
    times, codes = column((len(data),), np.int64, 0), column((len(data),), np.int32, 0)
    names = []
    for number, s in enumerate(data.series().values()):
        times[s.positions], codes[s.positions] = s.timestamps, number
        names.append(s.name)
    release(times, codes)
    return times, Texts(codes, names)


def _carry_on(
    data: Dataset, raw: NDArray[np.float64], calibrated: NDArray[np.float64], last: dict[str, tuple[float, float]]
) -> None:
    """Let what the time policy does not score repeat the last score of its series."""
    for s in data.series().values():
        before = last.get(s.name, (np.nan, np.nan))
        for of in parts(len(s)):
            rows = s.positions[of]
            raw[rows] = carried(raw[rows], before[0])
            calibrated[rows] = carried(calibrated[rows], before[1])
            before = last[s.name] = float(raw[rows[-1]]), float(calibrated[rows[-1]])
            if len(rows) == PART:
                release(raw, calibrated)


def _ranked(raw: NDArray[np.float64], observations: Recorded, model: Model) -> NDArray[np.float64]:
    """One score (N,) from the members' raw scores (N, M)."""
    if raw.shape[1] == 1:
        return raw[:, 0]
    out = np.empty(len(raw))
    # A series too short to calibrate on its own (its members' scores are scaled alike) is ranked by the first that could.
    usual = next(iter(model.calibrations.values()))
    for name, of in observations.of_series().items():
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
