"""What other settings would have said of the newest part of the log: both are replayed from the same record on, and their alerts compared.

What people decided in between (silences, closed alerts, feedback) is left out of both, so that what differs is due to the settings alone. Or the other way
round: all that was decided is in both, but one decision, so that what differs is due to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from pydantic import ValidationError

from pipeline.alerts.records import Alert, rfc3339
from pipeline.errors import SettingsError
from pipeline.offline.training_job import parsed, put
from pipeline.operations.looking_back.beginning import Beginning, begun
from pipeline.operations.looking_back.replaying import Place, Replay
from pipeline.operations.state_admin import configured
from pipeline.partition.stores.base import Checkpoint
from pipeline.partition.stream import Stream, create_stream, load_model
from pipeline.settings import Settings, StreamSettings

_SAID_EVERY = 20_000
_LAST = 256
"""Records of a partition that are looked at for the newest event time."""

Both = tuple[Replay, Replay]
"""What holds, and what is tried."""


@dataclass(frozen=True)
class Begun:
    """An alert that would have fired; `ends_at` None: it is open at the end. `peak_score` as far as its records say."""

    series: str
    starts_at: str
    ends_at: str | None
    severity: str
    kind: str
    summary: str


@dataclass(frozen=True)
class Trial:
    """Alerts of both settings whose onset lies in the compared time; `records` were replayed, each partition's from where `began` says."""

    now: list[Begun]
    then: list[Begun]
    since: str
    until: str
    records: int
    began: dict[int, Beginning]

    @property
    def warm(self) -> bool:
        """Whether nothing that came before is missing, in no partition."""
        return all(of.whole for of in self.began.values())

    @property
    def gone(self) -> list[Begun]:
        """That fire now while their series would not then; one that would begin sooner or later is the same."""
        return _apart(self.now, self.then)

    @property
    def new(self) -> list[Begun]:
        """That would fire then while their series does not now."""
        return _apart(self.then, self.now)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        lists = {name: [vars(b) for b in getattr(self, name)] for name in ("now", "then", "gone", "new")}
        began = [{"partition": p, **of.as_json()} for p, of in sorted(self.began.items())]
        told = {"since": self.since, "until": self.until, "records": self.records, "warm": self.warm}
        return {**lists, **told, "began": began}


def _apart(some: Sequence[Begun], others: Sequence[Begun]) -> list[Begun]:
    """Those that overlap in time with none of the others of their series."""
    of: dict[str, list[Begun]] = {}
    for other in others:
        of.setdefault(other.series, []).append(other)
    return [b for b in some if not any(_overlap(b, other) for other in of.get(b.series, ()))]


def _overlap(one: Begun, other: Begun) -> bool:
    """Both are in RFC 3339 and UTC, so their order is that of their texts."""
    return (other.ends_at is None or one.starts_at <= other.ends_at) and (
        one.ends_at is None or other.starts_at <= one.ends_at
    )


def with_values(settings: Settings, stream: str, sets: Sequence[str]) -> Settings:
    """The settings with other values of one stream's, written as `threshold.level=3`. Raises SettingsError for what is no such setting."""
    own = configured(settings, stream)
    if not sets:
        return settings
    values = own.model_dump(exclude_unset=True)
    for text in sets:
        path, value = parsed(text)
        if path[0] == "threshold" and path[-1] in _STATED:  # one of them says from when on a score is anomalous
            values["threshold"] = {k: v for k, v in values.get("threshold", {}).items() if k not in _STATED}
        put(values, path, value)
    try:
        other = StreamSettings.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        msg = f"--set {'.'.join(map(str, problem['loc']))}: {problem['msg']}; docs/settings.md lists the settings of a stream"
        raise SettingsError(msg) from None
    return settings.model_copy(update={"streams": tuple(other if s.name == stream else s for s in settings.streams)})


_STATED = ("false_alarms", "level")


def streams(tried: Settings, place: Place) -> tuple[Stream, Stream]:
    """What holds now (as decided; the file's where nothing was), and what would hold."""
    in_force = place.in_force()
    other = configured(tried, place.stream.name)
    now = place.streams(in_force) if in_force.settings is not None else place.own
    return now, create_stream(other, load_model(other.model))


def attempt(
    place: Place, now: Stream, then: Stream, *, days: float, newest: int, say: Callable[[str], None] = lambda _: None
) -> Trial:
    """Replay every partition under both, and compare the alerts of the last `days` of event time.

    From a snapshot both go on from what was learnt; where one of them would have to learn first, neither begins at one.
    """

    def both(partition: int, stored: Checkpoint | None) -> Both | None:
        one, other = (Replay.under(place, stream, partition, stored) for stream in (now, then))
        return None if one is None or other is None else (one, other)

    return _compared(place, both, days=days, newest=newest, say=say)


def attempt_without(
    place: Place, serial: int, *, days: float, newest: int, say: Callable[[str], None] = lambda _: None
) -> Trial:
    """The same with all that was decided, and with all but one decision of people. Raises TidewatchError where it is none."""
    place.require_of_people((serial,))

    def both(partition: int, stored: Checkpoint | None) -> Both:
        return Replay.of(place, partition, (), stored), Replay.of(place, partition, (serial,), stored)

    return _compared(place, both, days=days, newest=newest, say=say, without=(serial,))


def _compared(
    place: Place,
    both: Callable[[int, Checkpoint | None], Both | None],
    *,
    days: float,
    newest: int,
    say: Callable[[str], None],
    without: Collection[int] = (),
) -> Trial:
    before: list[Alert] = []
    after: list[Alert] = []
    total, until, known_from = 0, 0, 0
    compared, began = int(days * 86_400_000), dict[int, Beginning]()

    @cache
    def newest_time() -> int:
        return max((_newest_time(place, p) for p in place.bounds), default=0)

    def enough(replays: Both) -> bool:
        return 0 < replays[0].core.watermark <= newest_time() - compared

    for partition, (_, end) in place.bounds.items():
        began[partition], replays = begun(
            place, partition, end, partial(both, partition), newest=newest, without=without, enough=enough
        )
        known = replays[0].core.watermark
        for batch in place.records_since(partition, began[partition].offset) if began[partition].offset < end else ():
            total += len(batch)
            for replay, found in zip(replays, (before, after), strict=True):
                for step, settled in replay.take(batch):
                    found.extend([*replay.said(), *settled.alerts])
                    if len(step.observations):
                        until = max(until, int(step.observations.timestamps.max()))
                found.extend(replay.said())
            known = known or replays[0].core.watermark
            if total % _SAID_EVERY < len(batch):
                say(f"replayed {total:,} records twice")
        if began[partition].offset > 0:  # of what lies before it, nothing is known
            known_from = max(known_from, known)
    since = max(until - compared, known_from)
    return Trial(_fired(before, since), _fired(after, since), rfc3339(since), rfc3339(until), total, began)


def _newest_time(place: Place, partition: int) -> int:
    """Up to when the partition's log goes in event time, as most of its newest series say; 0 where it is empty."""
    newest: dict[str, int] = {}
    for batch in place.records(partition, _LAST):
        for observations in place.decoded(batch):
            for series, time in zip(observations.series, observations.timestamps.tolist(), strict=True):
                newest[series] = max(newest.get(series, time), time)
    return int(np.median(list(newest.values()))) if newest else 0


def _fired(records: list[Alert], since: int) -> list[Begun]:
    """Each alert that fired, as its last record tells, by onset."""
    last: dict[str, Alert] = {}
    for record in records:
        if record.fired:
            last[record.id] = record
    begun = [
        Begun(a.series, a.starts_at, a.ends_at, a.severity, a.kind, a.summary)
        for a in last.values()
        if a.starts_at >= rfc3339(since)
    ]
    return sorted(begun, key=lambda b: (b.starts_at, b.series))
