"""Why there was, or was not, an alert at one observation: the log is replayed up to it, and what the steps say of it is put into words."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from pipeline.alerts.records import Alert, rfc3339
from pipeline.alerts.row import FIRING
from pipeline.errors import TidewatchError
from pipeline.operations.looking_back.beginning import Beginning, begun
from pipeline.operations.looking_back.replaying import Place, Replay
from pipeline.partition.settling import Settled, Step
from pipeline.steps.batches.observations import Observations

_REFUSED = {
    "late": "it came late: a newer observation of the series had been there already, so it is counted and not judged",
    "duplicate": "it is a repetition: an observation of that time had been there already",
    "held": "it lies far in the future of its series and waits for the next one to confirm the jump",
    "dropped_future": "it lay far in the future of its series, and the next one did not confirm the jump",
    "first_total": "it is the first total of a counter: a rate needs two",
}


NEW = "not known yet"
"""Of a series: nothing was learnt of it yet."""


@dataclass(frozen=True)
class Start:
    """Where a replay began, and what was known of the series there."""

    at: Beginning
    known: str


@dataclass
class Explanation:
    """What is known of one observation; None, or empty, where there is no such thing.

    Attributes
    ----------
    verdict
        Why there was, or was not, an alert, in a sentence.
    replayed_from, warm
        The offset at which the replay began; whether nothing that came before is missing: it began where the log did, or at a snapshot.
    snapshot
        When the snapshot was made that it began at; None: it began at none.
    began
        How far the series was where the replay began.
    """

    stream: str
    series: str
    partition: int
    offset: int
    at: str
    verdict: str
    observed: list[float]
    replayed_from: int
    warm: bool
    decision: int
    status: str
    score: float | None = None
    level: float | None = None
    alarm: float | None = None
    expected: list[float] | None = None
    lower: list[float] | None = None
    upper: list[float] | None = None
    members: dict[str, dict[str, float]] = field(default_factory=dict)
    contributions: list[float] | None = None
    window: list[list[float]] | None = None
    alerts: list[dict[str, Any]] = field(default_factory=list)
    snapshot: str | None = None
    began: str = NEW
    silences: list[int] = field(default_factory=list)
    selectors: list[int] = field(default_factory=list)
    """Those of the settings that match the series, from 1."""
    moved: float = 0.0
    """Decades by which feedback had raised what is let pass."""
    feedback: list[dict[str, Any]] = field(default_factory=list)
    """What of it was in force: serial, said, bar."""


def explain(
    place: Place, series: str, at: int, *, partition: int, newest: int, without: Collection[int] = ()
) -> Explanation:
    """Explain the last observation of a series at or before an event time (ms); `without` decisions of these serials, as if they had not been made.

    Raises
    ------
    TidewatchError
        The records that are replayed hold no observation of the series up to then.
        One of the decisions that are to be left out was not taken, or cannot be left out.
    """
    place.require(partition)
    place.require_of_people(without)
    offset = _find(place, series, at, partition, newest)
    replay_from = partial(Replay.of, place, partition, without)
    beginning, replay = begun(place, partition, offset, replay_from, newest=newest, without=without)
    start = Start(beginning, _known(replay, series))
    meant: int | None = None
    for batch in place.records_since(partition, beginning.offset):
        if meant is None:
            for _ in replay.take(batch.before(offset) if batch.next_offset > offset else batch):
                pass
        if batch.next_offset <= offset:
            continue
        rest = batch.since(offset)
        if meant is None:
            for observations in replay.observations(rest.before(offset + 1)):
                i = _meant(observations, series, at)
                meant = int(observations.timestamps[i])
                for _ in replay.process(observations.take(np.arange(i))):
                    pass
                for before, step, settled in _singly(
                    replay, series, observations.take(np.arange(i, len(observations)))
                ):
                    if _is_meant(step, series, offset, meant):
                        return _told(place, replay, series, partition, offset, before, step, settled, start)
            if not replay.core.waits:
                msg = f"the observation at offset {offset} of partition {partition} was left out: it came before, or the partition holds max_series others"
                raise TidewatchError(msg)
            rest = rest.since(offset + 1)
        for observations in replay.observations(rest):
            for before, step, settled in _singly(replay, series, observations):
                if _is_meant(step, series, offset, meant):
                    return _told(place, replay, series, partition, offset, before, step, settled, start)
    if meant is not None:
        msg = f"the observation at offset {offset} of partition {partition} waits for older ones yet (lateness); ask again when more has come"
        raise TidewatchError(msg)
    msg = f"the log of partition {partition} ended before offset {offset} while it was read; ask again"
    raise TidewatchError(msg)


def _singly(replay: Replay, series: str, observations: Observations) -> Iterator[tuple[str, Step, Settled]]:
    """Process observations one at a time; how it stood with the series' alert before each."""
    for part in replay.core.parts(replay.core.unseen(observations)):
        for k in range(len(part)):
            before = _status(replay, series)
            yield before, *replay.settled(part.take(np.array([k])))


def _is_meant(step: Step, series: str, offset: int, time: int | None) -> bool:
    of = step.observations
    if not len(of) or of.series[0] != series or of.timestamps[0] != time:
        return False
    return bool(of.came[0] == offset)


def _find(place: Place, series: str, at: int, partition: int, newest: int) -> int:
    """Offset of the observation that is meant."""
    found: tuple[int, int] | None = None
    seen = 0
    for batch in place.records(partition, newest):
        for observations in place.decoded(batch):
            times = observations.timestamps.tolist()
            for i, name in enumerate(observations.series):
                if name == series:
                    seen += 1
                    if times[i] <= at and (found is None or times[i] >= found[0]):
                        found = times[i], int(observations.offsets[i])
    if found is None:
        first = place.from_offset(partition, newest)
        what = (
            f"its {seen:,} observations there are all later"
            if seen
            else "none of its records is there: see whether the name is right, or look further back with --records"
        )
        msg = f"partition {partition} of {place.stream.input_topic}, read from offset {first}, has no observation of series {series} at or before {rfc3339(at)}; {what}"
        raise TidewatchError(msg)
    return found[1]


def _meant(observations: Observations, series: str, at: int) -> int:
    """Of a record's observations the last one of the series at or before the time; a record may hold many."""
    times = observations.timestamps.tolist()
    of = [i for i, name in enumerate(observations.series) if name == series and times[i] <= at]
    return max(of, key=lambda i: (times[i], i))


def _known(replay: Replay, series: str) -> str:
    """How far a series is as the replay stands."""
    core = replay.core
    row = core.state.row_of(series)
    if row is None:
        return NEW
    progress = next(p for p in core.stream.windows.status(core.state) if p.series == series)
    if progress.cause:
        return str(progress)
    return "warm" if core.learning.live(core.state)[row] else "in probation"


def _status(replay: Replay, series: str) -> str:
    core = replay.core
    row = core.state.row_of(series)
    if row is None or not core.life.active(core.state, row):
        return "inactive"
    return "firing" if core.state.arrays["alerts"]["status"][row] == FIRING else "pending"


def _told(
    place: Place,
    replay: Replay,
    series: str,
    partition: int,
    offset: int,
    before: str,
    step: Step,
    settled: Settled,
    start: Start,
) -> Explanation:
    core = replay.core
    at = int(step.observations.timestamps[0])
    silences = [s.serial for s in replay.in_force.silences if s.matches(series) and s.end(at)]
    alerts = [a for a in settled.alerts if a.series == series]
    beginning = start.at
    told = Explanation(
        stream=place.stream.name,
        series=series,
        partition=partition,
        offset=offset,
        at=rfc3339(at),
        verdict="",
        observed=step.observations.values[0].tolist(),
        replayed_from=beginning.offset,
        warm=beginning.whole,
        snapshot=None if beginning.snapshot is None else rfc3339(beginning.snapshot.at),
        began=start.known,
        decision=replay.in_force.serial,
        status=_status(replay, series),
        alerts=[_alert(a) for a in alerts],
        silences=silences,
        selectors=[k + 1 for k in core.selectors.policy(series).selectors],
    )
    if len(settled.scored):
        _scored(told, replay, settled)
    if (row := core.state.row_of(series)) is not None:
        now = int(step.observations.timestamps[0])
        told.feedback = core.bars.in_force(core.state, row, now, core.selectors.policy(series).budget)
    told.verdict = _verdict(told, replay, before, step, settled)
    return told


def _scored(told: Explanation, replay: Replay, settled: Settled) -> None:
    s, b = settled.scored, 0
    told.score, told.level, told.alarm = _number(s.score[b]), _number(s.level[b]), _number(s.alarm[b])
    told.moved = 0.0 if s.moved is None else float(s.moved[b])
    told.members = {
        d.name: {"raw": float(s.raw[b, m]), "calibrated": float(s.calibrated[b, m])}
        for m, d in enumerate(replay.core.stream.model.detectors)
        if np.isfinite(s.raw[b, m])
    }
    told.expected = None if s.expected is None else s.expected[b].tolist()
    band = s.band(np.array([b]))
    if band is not None:
        told.lower, told.upper = band[0][0].tolist(), band[1][0].tolist()
    told.contributions = None if s.contributions is None else s.contributions[b].tolist()
    start, stop = s.spans[b].tolist()
    told.window = s.packed[start:stop].tolist()


def _verdict(told: Explanation, replay: Replay, before: str, step: Step, settled: Settled) -> str:
    core, s, b = replay.core, settled.scored, 0
    if told.alerts:
        said = ", ".join(f"{a['change'] or a['reason']} ({a['status']}, {a['severity']})" for a in told.alerts)
        quiet = f"; nobody is told: silenced by decision {', '.join(map(str, told.silences))}" if told.silences else ""
        return f"a record was published: {said}{quiet}"
    if not step.pushed.accepted[0]:
        for name, why in _REFUSED.items():
            if settled.counts.get(name):
                return f"no alert: {why}"
        return "no alert: it is not judged"
    if not len(s):
        if faults := [reason for _, _, reason in settled.unscorable]:
            return f"no alert: no detector could score it ({faults[0]})"
        progress = {p.series: p for p in core.stream.windows.status(core.state)}.get(told.series)
        return f"no alert: its series is {progress if progress and progress.cause else 'not scored yet'}"
    if not s.live[b]:
        row = core.state.row_of(told.series)
        more = 0 if row is None else int(core.state.arrays["admission"]["probation"][row]) - int(s.ordinals[b])
        return (
            f"no alert: the series is in probation, {more} more observations of it are needed"
            if more > 0
            else "no alert: of this series too little is known yet for an alarm"
        )
    if s.alarm[b] < 0:
        how = (
            f"its score {s.score[b]:.2f} is below the level {s.level[b]:.2f}"
            if np.isfinite(s.level[b])
            else f"it is {-s.alarm[b]:.2f} decades less rare than the false-alarm budget asks for"
        )
        if s.strength[b] >= 0:
            serials = ", ".join(str(f["serial"]) for f in told.feedback)
            how += f", which feedback has raised by {told.moved:.2f} decades (decision {serials})"
        return (
            f"no alert: {how}" if before == "inactive" else f"the alert that is {before} goes on towards its end: {how}"
        )
    if (
        s.expected is not None
        and not core.selectors.deviates(core.state, s.rows, s.observed, np.asarray(s.expected))[b]
    ):
        policy = core.selectors.policy(told.series).alerts
        return (
            f"no alert: its score is anomalous, but it does not deviate from what was expected as the settings ask (direction {policy.direction}, at "
            f"least {policy.min_deviation:g} and {100 * policy.min_relative_deviation:g} %)"
        )
    if told.status == "pending":
        return "no alert yet: it is anomalous, and the alert is pending until the hold duration is over"
    if before in ("firing", "pending"):
        return f"it is anomalous and belongs to the alert that was {before} already"
    return "it is anomalous, and the series' suppression after its last alert is not over yet"


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id, "sequence": alert.sequence, "status": alert.status, "severity": alert.severity,
        "reason": alert.reason, "change": alert.change, "kind": alert.kind, "summary": alert.summary,
    }  # fmt: skip


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
