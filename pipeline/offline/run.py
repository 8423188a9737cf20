"""The stream's own steps over recorded data: what the pipeline would have said, row by row.

Evaluation and `tidewatch score` call this. It is the code of the stream (`pipeline.partition.core.PartitionCore`): windows, scaling,
calibration, thresholds and the life of alerts, so what is measured here is what runs there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from detectors.model import Model, aggregate
from pipeline.alerts.records import Alert
from pipeline.errors import SettingsError
from pipeline.offline.scoring.recorded import Recorded
from pipeline.offline.scoring.room import column, release
from pipeline.offline.scoring.texts import Texts
from pipeline.partition.core import PartitionCore
from pipeline.partition.settling import Settled, Step
from pipeline.partition.stream import Stream, create_stream
from pipeline.settings import AlertSettings, StreamSettings
from pipeline.settings.wrong import in_words
from pipeline.steps.batches.observations import Observations
from pipeline.steps.judgement import HISTORY, decides
from pipeline.steps.scoring import MemberScores

BATCH, CELLS, WINDOW_CELLS = 16_384, 1 << 20, 1 << 22
"""Observations pushed at a time, fewer where they are wide: so many numbers; no result depends on it."""


@dataclass(frozen=True)
class Verdicts:
    """What was said of N observations, in their order. NaN where an observation was not scored.

    Attributes
    ----------
    raw : (N, M) float64
        Of each member.
    score : (N,) float64
        Ranks; where the members alone decide, the aggregated calibrated score, 0..12.
    calibrated : (N,) float64
        The aggregated calibrated score.
    level : (N,) float64
        The threshold that held.
    expected : (N, C) float64
        Of metrics, NaN where no member expects anything; of tables (N, 0).
    live : (N,) bool
        Scored, and past training part and probation.
    alert_ids : N texts
        The alert whose span, from first to last anomalous observation, an observation lies in; "" for none. Of an alert that is open
        an observation is anomalous down to `threshold.hysteresis` below the level, so spans may reach further than `anomalous`.
    alerts
        Every record of every alert, in order.
    counts
        What the time policy did, how many were scored.
    """

    raw: NDArray[np.float64]
    score: NDArray[np.float64]
    calibrated: NDArray[np.float64]
    level: NDArray[np.float64]
    expected: NDArray[np.float64]
    live: NDArray[np.bool_]
    alert_ids: Texts
    alerts: list[Alert] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    alarm: NDArray[np.float64] | None = None
    """(N,) where an alarm decides; a judgement's has a band: `lower` and `upper` (N, C)."""
    lower: NDArray[np.float64] | None = None
    upper: NDArray[np.float64] | None = None

    def release(self) -> None:
        """Let the memory go of columns that lie in files."""
        release(self.raw, self.score, self.calibrated, self.level, self.expected, self.alarm, self.lower, self.upper)

    @property
    def anomalous(self) -> NDArray[np.bool_]:
        """(N,) live, and the alarm at 0 or the score at the level, or above."""
        return self.live & (self.score >= self.level if self.alarm is None else self.alarm >= 0)


def offline_stream(model: Model, settings: Mapping[str, Any] | StreamSettings | None = None) -> Stream:
    """A stream over recorded data with this model; settings as in tidewatch.toml, the product's defaults otherwise. Raises SettingsError."""
    if not isinstance(settings, StreamSettings):
        try:
            settings = StreamSettings(name="offline", model=Path("none"), **dict(settings or {}))
        except ValidationError as error:
            raise SettingsError(in_words(error, StreamSettings, None)) from error
    # Different series of a file may speak of different years: none is silent, absent or idle because another one went on.
    years = {"silence": "3650d", "absent_after": "off"} | settings.alerts.model_dump(
        exclude={"silence"}, exclude_unset=True
    )
    settings = settings.model_copy(update={"alerts": AlertSettings.model_validate(years)})
    return create_stream(settings, model)


def run(
    stream: Stream, observations: Observations | Recorded, on_progress: Callable[[int, int], None] | None = None
) -> Verdicts:
    """Push recorded observations through the stream's steps.

    Parameters
    ----------
    observations
        In log order. `offsets` must be 0..N-1.
    on_progress
        Told after every batch how many of how many observations are done.
    """
    verdicts = judge(stream.core(0), observations, on_progress)
    _name_alerts(verdicts, observations)
    return verdicts


def judge(
    core: PartitionCore,
    observations: Observations | Recorded,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    last: bool = True,
) -> Verdicts:
    """Push observations that come next, and what is said of them; no row is given an alert's name.

    Parameters
    ----------
    core
        What is known of those before, none of which waits for its order.
    observations
        Their `offsets` go on from those before, one by one.
    last
        None comes behind them.
    """
    stream = core.stream
    N, M, C = len(observations), len(stream.model.detectors), observations.values.shape[1]
    nan = float("nan")
    verdicts = Verdicts(
        raw=column((N, M), np.float64, nan),
        score=column((N,), np.float64, nan),
        calibrated=column((N,), np.float64, nan),
        level=column((N,), np.float64, nan),
        expected=column((N, C if stream.model.kind == "metric" else 0), np.float64, nan),
        live=np.zeros(N, np.bool_),
        alert_ids=Texts.empty(N),
    )
    if decides(stream.model, stream.settings):
        verdicts = replace(verdicts, alarm=column((N,), np.float64, nan))
        if stream.model.judgement is not None:
            verdicts = replace(verdicts, lower=column((N, C), np.float64, nan), upper=column((N, C), np.float64, nan))
    before = observations.first if isinstance(observations, Recorded) else int(observations.offsets[0]) if N else 0
    size = max(1, min(BATCH, CELLS // max(1, C), WINDOW_CELLS // (stream.model.window * max(1, C))))
    for start in range(0, N, size):
        done = core.process(observations.part(start, start + size), partial(_scores, core))
        done += core.wait_no_longer() if last and start + size >= N else []
        for step, settled in done:
            _write(verdicts, step, settled, stream.model, before)
        verdicts.release()
        if on_progress is not None:
            on_progress(min(start + size, N), N)
    return verdicts


def _scores(core: PartitionCore, step: Step) -> MemberScores:
    """Raw scores of the step's windows; NaN of those of which nothing comes.

    Where a judgement decides, what was learnt from has no score and is in the calibration already: half of a file, and the members are what takes the time.
    """
    windows, scorer = step.pushed.windows, core.stream.scorer
    if not core.learning.by_judgement:
        return scorer.score_now(windows.x)
    until = core.state.arrays[HISTORY]["until"][windows.rows]
    training = core.state.arrays["admission"]["training"][windows.rows]
    learnt = (step.observations.timestamps[windows.index] <= until) & (windows.ordinals <= training)
    if not learnt.any():
        return scorer.score_now(windows.x)
    news = np.flatnonzero(~learnt)
    found = scorer.score_now(windows.x[news])
    raw = np.full((len(learnt), found.raw.shape[1]), np.nan)
    raw[news] = found.raw
    return MemberScores(raw, None, None, {int(news[i]): reason for i, reason in found.faults.items()})


def _write(verdicts: Verdicts, step: Step, settled: Settled, model: Model, before: int) -> None:
    scored = settled.scored
    at = step.observations.came[scored.index] - before
    usable = np.isfinite(scored.raw).all(axis=1)
    verdicts.raw[at] = scored.raw
    verdicts.calibrated[at] = np.where(usable, aggregate(scored.calibrated, model.aggregation), np.nan)
    judged = usable if model.judgement is None else usable | np.isnan(scored.level)
    verdicts.score[at] = np.where(judged, scored.score, np.nan)
    if verdicts.alarm is not None:
        verdicts.alarm[at] = np.where(judged, scored.alarm, np.nan)
    if verdicts.lower is not None and verdicts.upper is not None and (band := scored.band(np.arange(len(scored)))):
        verdicts.lower[at], verdicts.upper[at] = band
    verdicts.level[at] = scored.level
    verdicts.live[at] = scored.live
    if scored.expected is not None and verdicts.expected.shape[1]:
        verdicts.expected[at] = scored.expected
    verdicts.alerts.extend(settled.alerts)
    verdicts.counts.update(settled.counts)
    verdicts.counts["of too many series"] += len(step.rejected)


def _name_alerts(verdicts: Verdicts, observations: Observations | Recorded) -> None:
    """Give the observations between an alert's first and last anomalous one its id; of one that came back, each time by itself."""
    spans: dict[tuple[str, int], tuple[Alert, Alert]] = {}
    times_over: Counter[str] = Counter()
    for alert in verdicts.alerts:
        span = (alert.id, times_over[alert.id])
        spans[span] = spans.get(span, (alert, alert))[0], alert
        times_over[alert.id] += alert.status == "resolved"
    if not spans:
        return
    of_series = Texts.of(observations.series).rows()
    rising: dict[str, tuple[NDArray[np.int64], bool]] = {}
    for first, last in spans.values():
        rows = of_series[first.series]
        if first.series not in rising:
            times = observations.timestamps if len(rows) == len(observations) else observations.timestamps[rows]
            rising[first.series] = times, bool((times[1:] >= times[:-1]).all())
        times, in_order = rising[first.series]
        begin = int(np.searchsorted(rows, first.evidence.offset))
        end = int(np.searchsorted(times, _ms(last.last_seen), "right")) if in_order else len(rows)
        within = rows[begin:end]
        if not in_order:
            within = within[times[begin:] <= _ms(last.last_seen)]
        verdicts.alert_ids.put(within[verdicts.live[within]], first.id)


def _ms(text: str) -> int:
    return int(np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64))
