"""What feedback speaks of, and its evidence: an alert as its records tell it, or the strongest observation of a time at which there was none.

A partition does not remember how strong an alert of last week was, nor what it let pass: so whoever gives feedback looks it up, and the decision carries it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from glob import escape
from time import time as wall_clock
from typing import Literal

import numpy as np

from pipeline.alerts.life import at_ms
from pipeline.alerts.records import Alert, rfc3339
from pipeline.alerts.selecting.feedback import LONGEST, Feedback, laxest, laxest_of_level
from pipeline.alerts.subscribe import AlertSubscriber
from pipeline.errors import TidewatchError
from pipeline.operations.looking_back.beginning import Beginning, begun
from pipeline.operations.looking_back.replaying import Place, Replay
from pipeline.operations.state_admin import configured
from pipeline.settings import Settings
from pipeline.steps.batches.outcomes import Scored

_NOT_BY_STRENGTH = {
    "no data": "close it, or set alerts.absent_after for such series",
    "out of range": "close it, or set `valid` of its selector",
}
"""Kinds that no bar decides about, and the mend."""


@dataclass(frozen=True)
class Strongest:
    """The observation of a time that was farthest from what is let pass, by event time (ms); `strength` in decades beyond it.

    `reached`: whether feedback may lower the bar as far. `began`: where the replay did.
    """

    at: int
    strength: float
    score: float
    reached: bool
    began: Beginning


async def find_alert(settings: Settings, stream: str, *, id: str = "", series: str = "", at: int = 0) -> Alert:  # noqa: A002
    """The last record of the alert whose id begins so; where none is given, of the one of a series at an event time.

    Raises
    ------
    TidewatchError
        There is no such alert in the alert topic, or more than one.
    """
    own = configured(settings, stream)
    newest: dict[str, Alert] = {}
    subscriber = AlertSubscriber(
        settings.kafka,
        own.alert_topic,
        start="beginning",
        follow=False,
        streams=(stream,),
        series=escape(series) if series else "*",
    )
    async with subscriber as records:
        async for record in records:
            if record.id.startswith(id) and (id or at_ms(record.starts_at) <= at):
                newest[record.id] = record
    found = [a for a in newest.values() if id or a.status != "resolved" or at <= at_ms(a.last_seen)]
    if len(found) != 1:
        which = f"whose id begins with {id}" if id else f"of series {series} at {rfc3339(at)}"
        many = f"{len(found)} alerts {which} are" if found else f"no alert {which} is"
        msg = f"{many} in {own.alert_topic}; `tidewatch alerts --stream {stream}` lists them with their ids"
        raise TidewatchError(msg)
    return found[0]


def of_alert(
    alert: Alert, said: Literal["normal", "noise"], *, every: Literal["", "day", "week"] = "", why: str = ""
) -> Feedback:
    """What is said of an alert. Raises TidewatchError where no bar can be moved by it."""
    if mend := _NOT_BY_STRENGTH.get(alert.kind):
        msg = f"alert {alert.id} is of the kind {alert.kind}, which does not follow from how rare anything is: {mend}"
        raise TidewatchError(msg)
    since, until = at_ms(alert.starts_at), at_ms(alert.last_seen)
    if every and until - since > LONGEST * 60_000:
        msg = f"alert {alert.id} lasted for more than {LONGEST // 60} hours, which is no time of a day: say it without --every"
        raise TidewatchError(msg)
    strength = alert.peak_strength if isinstance(alert.peak_strength, float) else 0.0
    return Feedback(alert.series, said, since, until, strength=strength, alert=alert.id, every=every, why=why)


def strongest(place: Place, series: str, since: int, until: int, *, partition: int, newest: int) -> Strongest:
    """Replay a partition, and find the strongest observation of a series between two event times, both included; the last one before where they are equal.

    Raises
    ------
    TidewatchError
        None was judged there, or it lies in the future; or it was anomalous, so that no bar kept an alert away.
    """
    if since > 1000 * wall_clock():
        msg = f"{rfc3339(since)} lies in the future: nothing was missed there yet"
        raise TidewatchError(msg)
    place.require(partition)
    offset = _first(place, series, since, until, partition, newest)
    began, replay = begun(place, partition, offset, partial(Replay.of, place, partition, ()), newest=newest)
    best = None if offset < 0 else _best(place, replay, began, series, since, until, partition)
    if best is None and began.snapshot is not None:  # what is meant was not judged: it may be one before it
        began, replay = begun(place, partition, -1, partial(Replay.of, place, partition, ()), newest=newest)
        best = _best(place, replay, began, series, since, until, partition)
    if best is None:
        at = f"at {rfc3339(since)}" if since == until else f"from {rfc3339(since)} to {rfc3339(until)}"
        msg = f"no observation of series {series} {at} was judged in partition {partition}; `tidewatch explain {place.stream.name} {series} --at {rfc3339(since)}` says why"
        raise TidewatchError(msg)
    strength, scored, b = best
    found = int(scored.timestamps[b])
    if scored.alarm[b] >= 0:
        msg = (
            f"series {series} was anomalous at {rfc3339(found)}, so it was not the level that kept an alert away; "
            f"`tidewatch explain {place.stream.name} {series} --at {rfc3339(found)}` says what did"
        )
        raise TidewatchError(msg)
    level = scored.level if scored.moved is None else scored.level - scored.moved
    least = laxest_of_level(level) if scored.budget is None else laxest(scored.budget)
    return Strongest(found, strength, float(scored.score[b]), bool(strength >= least[b]), began)


def _first(place: Place, series: str, since: int, until: int, partition: int, newest: int) -> int:
    """Offset of the first observation of a series between two event times, of the last one before where they are equal; -1: there is none."""
    found, last = -1, 0
    for batch in place.records(partition, newest):
        for observations in place.decoded(batch):
            for name, time, offset in zip(
                observations.series, observations.timestamps.tolist(), observations.offsets.tolist(), strict=True
            ):
                if name != series or time > until:
                    continue
                if since != until and time >= since:
                    return int(offset)
                if since == until and time >= last:
                    found, last = int(offset), time
    return found


def _best(
    place: Place, replay: Replay, began: Beginning, series: str, since: int, until: int, partition: int
) -> tuple[float, Scored, int] | None:
    """Its strength, and where it stands in what was scored."""
    best: tuple[float, Scored, int] | None = None
    over = False
    for batch in place.records_since(partition, began.offset):
        for step, settled in replay.take(batch):
            row = replay.core.state.row_of(series)
            if row is None:
                continue
            scored = settled.scored
            strengths, times = scored.strength, scored.timestamps
            fits = (scored.rows == row) & scored.live & np.isfinite(strengths) & (times <= until)
            fits &= (times >= since) | (since == until)
            for b in np.flatnonzero(fits).tolist():
                if best is None or since == until or strengths[b] > best[0]:
                    best = float(strengths[b]), scored, b
            over |= bool((step.observations.timestamps[step.rows == row] > until).any())
        if over:
            break
    return best
