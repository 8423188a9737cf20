"""A short way to write the part of a log that alerts see: scored observations of some series, as columns of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np

from detectors.baselines import Constant
from detectors.calibration import Empirical
from detectors.model import Model
from detectors.scaling import SeriesScaling
from pipeline.alerts.life import AlertLife
from pipeline.settings import AlertSettings, StreamSettings, ThresholdSettings
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.outcomes import Heard, Scored, Windows
from pipeline.steps.state import PartitionState

MINUTE = 60_000
T0 = 1_404_172_800_000  # 2014-07-01T00:00:00Z


def stream(hysteresis=1.0, name="taxi", **policy):
    """A policy of which a story is short: three normal observations end an alert, none comes back, nobody is waited for, severity
    goes by the score."""
    policy = {"resolve_count": 3, "quiet": 0, "warning": 0.0, "critical": 6.0, "absent_after": "off"} | policy
    durations = {
        k: timedelta(minutes=v) if isinstance(v, (int, float)) and k in _DURATIONS else v for k, v in policy.items()
    }
    return StreamSettings(
        name=name,
        model=Path("unused.tidewatch"),
        threshold=ThresholdSettings(hysteresis=hysteresis),
        alerts=AlertSettings(**durations),
    )


_DURATIONS = ("hold", "resolve_after", "quiet", "suppression", "silence", "update_every", "absent_after")


def metric_model(**changes):
    facts = {
        "kind": "metric",
        "detectors": (Constant(Constant.Config(window=3)),),
        "calibrator": Empirical(),
        "scaling": SeriesScaling(),
        "features": None,
        "time_features": (),
        "aggregation": "mean",
        "training_rows": {},
        "calibrations": {},
        "interval_ms": {"a": 5 * MINUTE},
        "hash": "ab" * 32,
    }
    return Model(**{**facts, **changes})


@dataclass
class Row:
    """One observation of the log. `score=None`: it came, but was not scored (warming); not `accepted`: nor was its time believed."""

    series: str
    minute: float
    score: float | None = 0.0
    level: float = 4.0
    live: bool = True
    accepted: bool = True
    observed: tuple[float, ...] = (1.0,)
    expected: tuple[float, ...] | None = None
    contributions: tuple[float, ...] | None = None
    original: list | None = None

    @property
    def time(self):
        return T0 + round(self.minute * MINUTE)


@dataclass
class Log:
    """Runs rows through AlertLife in any cut."""

    settings: StreamSettings
    model: Model = field(default_factory=metric_model)

    def __post_init__(self):
        self.life = AlertLife(self.settings, self.model, topic="taxi.observations", partition=1)
        self.state = PartitionState({"alerts": self.life.dtype}, max_series=1000)
        self.watermark = 0
        self.offset = 100
        self.ordinals = {}
        self.history = {}

    def columns(self, rows):
        """Observations, Heard and Scored of a batch."""
        series = [r.series for r in rows]
        state_rows, _ = self.state.rows_of(series)
        times = np.array([r.time for r in rows], np.int64)
        values = np.array([r.observed for r in rows], np.float64).reshape(
            len(rows), len(rows[0].observed) if rows else 1
        )
        offsets = np.arange(self.offset, self.offset + len(rows))
        originals = [r.original for r in rows] if any(r.original for r in rows) else None
        observations = Observations(offsets, series, times, values, originals)
        accepted = np.array([r.accepted for r in rows], np.bool_)
        clock = np.where(accepted, times, 0)
        watermarks = np.maximum.accumulate(np.concatenate([[self.watermark], clock]))[1:].astype(np.int64)
        ordinals = []
        for r in rows:
            self.ordinals[r.series] = self.ordinals.get(r.series, 0) + 1
            ordinals.append(self.ordinals[r.series])
        at = np.array([i for i, r in enumerate(rows) if r.score is not None], np.intp)
        picked = [rows[i] for i in at]
        T = self.model.window
        windows_of = [self.window(r.series, r.observed, T) for r in rows]
        packed = np.concatenate([windows_of[i] for i in at]) if len(at) else np.zeros((0, values.shape[1]))
        index = np.arange(len(at)) * T
        windows = Windows(
            at,
            state_rows[at],
            np.zeros((len(at), T, 1), np.float32),
            np.array(ordinals, np.int64)[at],
            packed,
            index.astype(np.intp),
            np.zeros(len(at), np.bool_),
        )
        expected = [r.expected for r in picked]
        contributions = [r.contributions for r in picked]
        score = np.array([r.score for r in picked], np.float64)
        level = np.array([r.level for r in picked], np.float64)
        scored = Scored(
            index=at,
            rows=state_rows[at],
            ordinals=windows.ordinals,
            offsets=offsets[at],
            timestamps=times[at],
            observed=values[at],
            raw=score[:, None] * 2,
            calibrated=score[:, None],
            score=score,
            expected=np.array(expected, np.float64) if picked and expected[0] is not None else None,
            contributions=np.array(contributions, np.float32) if picked and contributions[0] is not None else None,
            level=level,
            alarm=score - level,
            live=np.array([r.live for r in picked], np.bool_),
            packed=packed,
            spans=np.stack([index, index + T], axis=1).astype(np.intp),
        )
        self.offset += len(rows)
        if len(watermarks):
            self.watermark = int(watermarks[-1])
        return observations, Heard(state_rows, accepted, watermarks), scored

    def window(self, series, observed, T):
        """The last T observations of a series; its first one stands for those before it."""
        held = self.history.setdefault(series, [observed] * T)
        held.append(observed)
        del held[:-T]
        return np.array(held, np.float64)

    def batch(self, rows):
        return self.life.advance(self.state, *self.columns(rows))

    def run(self, rows, cuts=()):
        alerts = []
        for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            alerts += self.batch(rows[a:b])
        return alerts


def story(alerts):
    """What a reader sees, in short: status, reason, minute."""
    return [(a.status, a.reason, minute(a.as_of)) for a in alerts]


def minute(text):
    at = int(np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64))
    return (at - T0) / MINUTE


def scores(series, values, *, start=0, step=5, **facts):
    """Observations of one series, one value each."""
    return [Row(series, start + step * i, v, **facts) for i, v in enumerate(values)]
