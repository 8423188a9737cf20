"""What was decided about one series, as marks and stretches on its time axis.

A decision has no event time: a partition takes it between two records. The mark stands at the first point from that offset on, which the page finds,
for it has the points; what silences cover is worked out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from pipeline.alerts.selecting.feedback import Feedback
from pipeline.alerts.selecting.silences import Silenced
from pipeline.operations.desk import Line, at_desk
from pipeline.partition.deciding.what import Acknowledge, Comment, Lift, Silence, Undo, What
from pipeline.settings import Settings

MOST = 500
"""Marks of one answer, the newest; stretches of one silence."""


async def marks(
    settings: Settings, stream: str, series: str, partition: int, since: int, until: int
) -> list[dict[str, Any]]:
    """Decisions that speak of a series of a partition, the newest first, as `shown` says them. Raises TidewatchError."""
    async with at_desk(settings, stream) as desk:
        return shown(await desk.lines(), series, partition, since, until)


def shown(lines: Sequence[Line], series: str, partition: int, since: int, until: int) -> list[dict[str, Any]]:
    """Of each decision that speaks of a series: what, who, when, and `offset`, from which on it holds (None: not taken yet).

    Of a silence also `silent`, the stretches of event time between `since` and `until` (ms) that it covers by itself, and `lifted`, the offset from which
    on it is over (None: it is not). Feedback has `of`, the event times that it speaks of; a comment its `text`, and `alert`, the id of the one that it is on
    ("": of the series), which who takes it back has too. What can be taken back says whether it was: `undone`.
    """
    by_serial = {line.decision.serial: line for line in lines}
    lifted = {
        line.decision.what.silence: line.taken.get(partition) for line in lines if isinstance(line.decision.what, Lift)
    }
    undone = {line.decision.what.feedback for line in lines if isinstance(line.decision.what, Undo)}
    out = []
    for line in reversed(lines):
        what = line.decision.what
        refers = by_serial.get(_refers(what))
        meant = what if refers is None else refers.decision.what
        if not _speaks_of(meant, series):
            continue
        mark: dict[str, Any] = {
            "serial": line.decision.serial, "kind": line.decision.kind, "what": line.words, "by": line.decision.by,
            "at": line.decision.at, "offset": line.taken.get(partition),
        }  # fmt: skip
        if isinstance(what, Silence):
            mark |= {"silent": _stretches(what.in_force(0), since, until), "lifted": lifted.get(line.decision.serial)}
        elif isinstance(what, Feedback):
            mark |= {"of": [what.since, what.until]}
        elif isinstance(what, Comment):
            mark |= {"text": what.text}
        if isinstance(meant, Comment):
            mark |= {"alert": meant.alert}
        if isinstance(what, (Feedback, Acknowledge, Comment)):
            mark |= {"undone": line.decision.serial in undone}
        out.append(mark)
    return out[:MOST]


def _refers(what: What) -> int:
    """The decision that it takes back; 0: it stands for itself."""
    return what.silence if isinstance(what, Lift) else what.feedback if isinstance(what, Undo) else 0


def _speaks_of(what: What, series: str) -> bool:
    if isinstance(what, Silence):
        return what.in_force(0).matches(series)
    if isinstance(what, (Feedback, Comment)):
        return what.series == series
    return fnmatchcase(series, getattr(what, "series", "*"))  # settings, and how many partitions there are, are of all


def _stretches(silence: Silenced, since: int, until: int) -> list[tuple[int, int]]:
    """What it covers between two event times, cut to them, the newest where there are too many."""
    since, until = max(since, silence.since), min(until, silence.until or until)
    found = [(since, until)] if silence.calendar is None else list(silence.calendar.windows(since, until))
    return [(max(a, since), min(b, until)) for a, b in found if max(a, since) < min(b, until)][-MOST:]
