"""From the steps of an alert's life, and from scores, to what is published: ids, what was wrong, evidence, bands."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from detectors.model import Model
from pipeline.alerts import words
from pipeline.alerts.kinds import KINDS, NO_DATA
from pipeline.alerts.records import (
    REASONS,
    Acknowledged,
    Alert,
    Band,
    Channels,
    DetectorRef,
    Evidence,
    Feature,
    Moment,
    Reason,
    Said,
    Score,
    Share,
    Together,
    rfc3339,
    stable_hash,
)
from pipeline.alerts.row import COMPUTED_ID, FIRING, MEMBERS, SEVERITIES, Life, Step, shares_of
from pipeline.alerts.selecting.selectors import Selectors
from pipeline.alerts.selecting.silences import NOTHING, Quiet, Silenced
from pipeline.settings import StreamSettings
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.outcomes import Scored
from pipeline.steps.state import PartitionState

TOP_FEATURES = 5
_REMEMBERED = 100_000
"""Series of which it is remembered what silences them."""
_PERCENT = 100_000.0
"""Per cents from which on they say nothing."""


@dataclass(slots=True)
class Marks:
    """What people said about alerts, as it stands on the records of one partition; nothing of it reaches a score or the life of an alert.

    Attributes
    ----------
    silences
        Those that are in force.
    acknowledged
        Alert id -> who said that they look after it, the last one at the end: that is who does.
    """

    silences: Sequence[Silenced] = ()
    acknowledged: Mapping[str, tuple[Acknowledged, ...]] = field(default_factory=dict)
    _quiet: dict[str, Quiet] = field(default_factory=dict)

    def quiet(self, series: str) -> Quiet:
        """What silences a series."""
        if not self.silences:
            return NOTHING
        if (found := self._quiet.get(series)) is None:
            if len(self._quiet) >= _REMEMBERED:
                self._quiet.clear()
            found = self._quiet[series] = Quiet(s for s in self.silences if s.matches(series))
        return found

    def silenced(self, series: str, as_of: int) -> bool | UnsetType:
        """True where a silence covers a record; else the record does not speak of it."""
        return self.quiet(series).covers(as_of) or UNSET

    def by(self, alert: str) -> str | UnsetType:
        """Who looks after an alert."""
        said = self.acknowledged.get(alert)
        return said[-1].by if said else UNSET


class RecordWriter:
    """Alert and score records of one partition of one stream; keeps nothing.

    Parameters
    ----------
    stream
        For its name.
    model
        For the detector's name and version, the features' names and the usual intervals.
    topic, partition
        Where the observations come from; part of the evidence.
    selectors
        For the labels of each series.
    """

    def __init__(
        self, stream: StreamSettings, model: Model, topic: str, partition: int, selectors: Selectors | None = None
    ) -> None:
        self._selectors = Selectors(stream) if selectors is None else selectors
        self._stream = stream
        self._model = model
        self._topic = topic
        self._partition = partition
        self.marks = Marks()
        self._detector = DetectorRef(model.detector_name, model.detector_version, model.hash)
        self.names = names_of(model)
        self.members = tuple(d.name for d in model.detectors[:MEMBERS])

    def scores(self, state: PartitionState, scored: Scored) -> Iterator[Score]:
        """The score record of every scored observation, in order."""
        names, bands = state.names, self._bands(scored, np.arange(len(scored)))
        table = self._model.kind == "table"
        columns = zip(
            scored.rows.tolist(),
            scored.timestamps.tolist(),
            scored.offsets.tolist(),
            scored.score.tolist(),
            scored.calibrated.tolist(),
            scored.raw.tolist(),
            scored.level.tolist(),
            scored.live.tolist(),
            scored.alarm.tolist(),
            itertools.repeat(0.0) if scored.moved is None else scored.moved.tolist(),
            strict=False,
        )
        for b, (row, timestamp, offset, score, calibrated, raw, level, live, alarm, moved) in enumerate(columns):
            yield Score(
                stream=self._stream.name,
                series=cast("str", names[row]),
                timestamp=timestamp,
                partition=self._partition,
                offset=offset,
                score=score,
                calibrated=[_number(v) for v in calibrated],
                raw=[_number(v) for v in raw],
                threshold=_number(level),
                live=live,
                alarm=_alarm(level, alarm),
                moved=moved or UNSET,
                observed=None if table else _channels(scored.observed[b]),
                expected=None if table else _expected(scored, b),
                band=None if bands is None else _band(bands[0][b], bands[1][b]),
            )

    def alerts(
        self, state: PartitionState, observations: Observations, scored: Scored, steps: list[Step]
    ) -> list[Alert]:
        """The records of steps, in their order; the windows that they speak of are evidence."""
        spoken = np.array([s.window for s in steps if s.window >= 0], np.intp)
        bands = self._bands(scored, spoken) if len(spoken) else None
        features = self._features(scored, spoken)
        at = iter(range(len(spoken)))
        alerts = []
        for step in steps:
            k = next(at) if step.window >= 0 else -1
            series = self.all_of_partition if step.row < 0 else cast("str", state.names[step.row])
            if k < 0:
                alerts.append(self.unspoken(step, series))
                continue
            evidence = self._evidence(series, observations, scored, step, None if features is None else features[k])
            band = None if bands is None else _band(bands[0][k], bands[1][k])
            alerts.append(self._record(step, series, evidence, scored, band))
        return alerts

    @property
    def all_of_partition(self) -> str:
        """What stands for a series where many of the partition are spoken of."""
        return f"(partition {self._partition})"

    def together(self, since: int) -> Life:
        """The alert that many series say nothing, since an event time of the partition."""
        id_ = stable_hash(self._stream.name, self.all_of_partition, since, KINDS[NO_DATA])
        return Life(
            onset=since,
            anomalous_at=since,
            status=FIRING,
            severity=2,
            kind=NO_DATA,
            begun_as=NO_DATA,
            id=bytes.fromhex(id_),
        )

    def unspoken(self, step: Step, series: str, said: Said | UnsetType = UNSET) -> Alert:
        """The record of a step that no observation caused; `said`: what somebody said that ended it."""
        return self._record(step, series, Evidence(self._topic, self._partition, step.offset), said=said)

    def _record(
        self,
        step: Step,
        series: str,
        evidence: Evidence,
        scored: Scored | None = None,
        band: Band | None = None,
        said: Said | UnsetType = UNSET,
    ) -> Alert:
        stream, b, life = self._stream.name, step.window, step.life
        id_ = self.id_of(series, life)
        metric = scored is not None and self._model.kind == "metric"
        alert = Alert(
            id=id_,
            fingerprint=stable_hash(stream, series),
            sequence=life.sequence,
            status=step.status,
            reason=cast("Reason", REASONS.get(step.change, step.change)),
            severity=SEVERITIES[life.severity],
            stream=stream,
            series=series,
            as_of=rfc3339(step.as_of),
            starts_at=rfc3339(life.onset),
            last_seen=rfc3339(life.anomalous_at),
            ends_at=rfc3339(life.anomalous_at) if step.status == "resolved" else None,
            observed=_channels(scored.observed[b]) if scored is not None and metric else None,
            expected=_expected(scored, b) if scored is not None and metric else None,
            band=band,
            score=None if scored is None else float(scored.score[b]),
            peak_score=life.peak,
            threshold=None if scored is None else _number(float(scored.level[b])),
            alarm=UNSET if scored is None else _alarm(float(scored.level[b]), float(scored.alarm[b])),
            peak_strength=life.strength or UNSET,
            moved=UNSET if scored is None or scored.moved is None else float(scored.moved[b]) or UNSET,
            feedback=said,
            detector=self._detector,
            evidence=evidence,
            change=step.change,
            **self._description(life),
            reopens_until=rfc3339(step.reopens_until) if step.reopens_until else None,
            next_id=None if step.next is None else self.id_of(series, step.next),
            silenced=self.marks.silenced(series, step.as_of),
            acknowledged=self.marks.by(id_),
            together=UNSET if step.together is None else Together(*step.together),
            labels=dict(self._selectors.policy(series).labels) or UNSET,
        )
        return msgspec.structs.replace(alert, summary=words.summary(alert))

    def _description(self, life: Life) -> dict[str, Any]:
        """What was wrong: fields of an alert, from what its row remembers."""
        shares = shares_of(life.leading)
        told: dict[str, Any] = {
            "kind": KINDS[life.kind],
            "lasted_ms": max(life.anomalous_at - life.onset, 0),
            "observations": life.anomalous,
            "members": [name for m, name in enumerate(self.members) if life.members >> m & 1],
        }
        names = self.names
        if len(names) > 1:
            told["channels"] = [Share(names[c], share) for c, share in shares if c < len(names)]
        if self._model.kind == "table":
            seen = (life.peak_observed, life.onset_observed, life.onset_expected)
            encoder = self._model.features
            if encoder is not None and encoder.usual and life.peak_at and life.begun_as != NO_DATA:
                told["channels"] = [
                    Share(names[c], share, encoder.value_of(c, number), encoder.usual[c])
                    for (c, share), number in zip(shares, seen, strict=False)
                ]
            return told
        if not life.peak_at:
            return told
        deviation = life.peak_observed - life.peak_expected
        told["peak"] = self._moment(life.peak_at, shares[0][0] if shares else 0, life.peak_observed, life.peak_expected)
        if life.begun_as:
            told["onset"] = self._moment(life.onset, life.onset_channel, life.onset_observed, life.onset_expected)
        if deviation == deviation:
            told["direction"] = None if not deviation else "up" if deviation > 0 else "down"
            told["deviation"] = _number(deviation)
            told["deviation_percent"] = _percent(deviation, life.peak_expected)
        return told

    def _moment(self, at: int, channel: int, observed: float, expected: float) -> Moment:
        name = self.names[channel] if 1 < len(self.names) > channel else None
        return Moment(rfc3339(at), _number(observed), _number(expected), name)

    def id_of(self, series: str, of: Life) -> str:
        """The id of an alert: the one it was taken up with, else the hash of what it is about, where it began and as what."""
        if of.id != COMPUTED_ID:
            return of.id.hex()
        begun = of.ordinal if self._model.kind == "table" else of.onset
        # Alerts from before kinds have none in their id, and keep it.
        kind = (KINDS[of.begun_as],) if of.begun_as else ()
        return stable_hash(self._stream.name, series, self._detector.name, self._detector.version, begun, *kind)

    def _evidence(
        self,
        series: str,
        observations: Observations,
        scored: Scored,
        step: Step,
        features: NDArray[np.float32] | None,
    ) -> Evidence:
        b = step.window
        if self._model.kind == "metric":
            first, behind = scored.spans[b].tolist()
            shared = None if scored.contributions is None or scored.observed.shape[1] == 1 else scored.contributions[b]
            return Evidence(
                self._topic,
                self._partition,
                step.offset,
                window=scored.packed[first:behind].tolist(),
                interval_ms=self._model.interval_ms.get(series) or None,
                contributions=None if shared is None or np.isnan(shared).any() else shared.tolist(),
            )
        names = self._model.features.names if self._model.features is not None else ()
        originals = observations.originals
        row = None if originals is None else dict(zip(names, originals[int(scored.index[b])], strict=False))
        return Evidence(
            self._topic,
            self._partition,
            step.offset,
            row=cast("dict[str, float | str | None] | None", row),
            features=None if features is None else _greatest(names, row or {}, features),
        )

    def _features(self, scored: Scored, at: NDArray[np.intp]) -> NDArray[np.float32] | None:
        """Contributions of named columns (k, names) of windows `at`."""
        if self._model.features is None or scored.contributions is None or not len(at):
            return None
        return self._model.features.by_feature(scored.contributions[at])

    def _bands(self, scored: Scored, at: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Lower and upper edge (k, C) of windows `at`; None where there is no notion of them."""
        return None if self._model.kind == "table" else scored.band(at)


def names_of(model: Model) -> tuple[str, ...]:
    """Names of a model's channels, or of a table's columns."""
    if model.features is not None:
        return tuple(model.features.names)
    known = dict(model.facts).get("channels", ())
    return tuple(known) if len(known) == model.channels else tuple(f"channel {c + 1}" for c in range(model.channels))


def _percent(deviation: float, expected: float) -> float | None:
    """Of what was expected; None where it says nothing because that is next to nothing."""
    percent = 100 * deviation / abs(expected) if expected else np.inf
    return round(percent, 1) if abs(percent) <= _PERCENT else None


def _number(value: float) -> float | None:
    return value if value - value == 0 else None  # NaN and infinity have no JSON


def _alarm(level: float, alarm: float) -> float | UnsetType:
    """The alarm where it is a judgement's; elsewhere score and threshold say the same."""
    return UNSET if level - level == 0 or alarm - alarm != 0 else alarm


def _channels(values: NDArray[np.float64]) -> Channels:
    return [_number(v) for v in values.tolist()]


def _expected(scored: Scored, b: int) -> Channels | None:
    """What was expected of one observation; None where nothing was, whatever stands beside it in its batch."""
    if scored.expected is None or np.isnan(scored.expected[b]).all():
        return None
    return _channels(scored.expected[b])


def _band(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> Band | None:
    return Band(_channels(lower), _channels(upper)) if np.isfinite(lower).any() else None


def _greatest(names: tuple[str, ...], row: dict[str, float | str], contributions: NDArray[np.float32]) -> list[Feature]:
    """The columns that contributed most; of equal ones the first."""
    order = np.argsort(-contributions, kind="stable")[:TOP_FEATURES]
    return [Feature(names[k], row.get(names[k]), float(contributions[k])) for k in order if contributions[k] > 0]
