"""What may be done from the page: the decisions that the command line makes too, of whoever holds the operators' token.

POST /api/decide   {"stream": "web", "do": "silence", "series": "host-*", "exact": false, "minutes": 60, "why": "...", "by": "ann"}
                   {"stream": "web", "do": "silence", "where": ["env=test"], "weekly": ["sat,sun 22:00-06:00"], "time_zone": "Europe/Berlin"}
                   {"stream": "web", "do": "feedback", "said": "normal", "alert": "5f0c...", "every": "day", "by": "ann"}
                   {"stream": "web", "do": "feedback", "said": "missed", "series": "cpu", "at": "2026-11-22T14:00Z", "until": "2026-11-22T15:00Z"}
                   {"stream": "web", "do": "comment", "alert": "5f0c...", "text": "the disk is being changed", "by": "ann"}
                   {"stream": "web", "do": "undo", "serial": 7}
answer             {"serial": 7, "at": null}, or with "wait": {"serial": 7, "at": {"0": 1200, "1": 1187}}; a "note" where nothing may come of it

With an "id" of its own a wish may be sent again: nothing is decided twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence, Set
from glob import escape
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pipeline.alerts.records import decode_alert
from pipeline.alerts.selecting.feedback import Feedback
from pipeline.errors import TidewatchError
from pipeline.operations.desk import ASKED, MAX_COMMENT, at_desk, comment_on, silence_asked
from pipeline.operations.looking_back.evidence import of_alert
from pipeline.operations.looking_back.replaying import event_time
from pipeline.partition.deciding.what import Acknowledge, Close, Comment, Decision, Forget, Lift, Undo, What
from pipeline.settings import Settings

MAX_MINUTES = 366 * 24 * 60
_WAIT = 10.0


class NoDecision(TidewatchError):
    """What was asked for cannot be understood, or cannot be: the same again never can."""


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody wants done. `exact`: the series is a name, no pattern. A silence lasts `minutes` (an hour), unless `until` or `weekly` say when it is.

    `id`: of this wish; who heard no answer sends it again.
    """

    stream: Annotated[str, Meta(max_length=256)]
    do: Literal["acknowledge", "silence", "lift", "close", "forget", "feedback", "comment", "undo"]
    series: Annotated[str, Meta(max_length=1024)] = ""
    exact: bool = True
    minutes: Annotated[float, Meta(gt=0, le=MAX_MINUTES)] | None = None
    since: Annotated[str, Meta(max_length=40)] = ""
    until: Annotated[str, Meta(max_length=40)] = ""
    where: Annotated[list[Annotated[str, Meta(max_length=500)]], Meta(max_length=20)] = []
    weekly: Annotated[list[Annotated[str, Meta(max_length=60)]], Meta(max_length=20)] = []
    time_zone: Annotated[str, Meta(max_length=60)] = ""
    serial: int = 0
    said: Literal["normal", "noise", "missed"] = "normal"
    alert: Annotated[str, Meta(max_length=64)] = ""
    every: Literal["", "day", "week"] = ""
    at: Annotated[str, Meta(max_length=40)] = ""
    why: Annotated[str, Meta(max_length=500)] = ""
    text: Annotated[str, Meta(max_length=2 * MAX_COMMENT)] = ""
    by: Annotated[str, Meta(max_length=80)] = ""
    id: Annotated[str, Meta(max_length=64)] = ""
    wait: bool = False


_wishes = msgspec.json.Decoder(Wish)


def wish(body: bytes) -> Wish:
    """What a page asks for. Raises NoDecision in words."""
    try:
        asked = _wishes.decode(body)
        _complete(asked)
        if asked.do not in ("feedback", "undo") and not asked.alert:
            what(asked)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        msg = f"this is no decision: {error}"
        raise NoDecision(msg) from None
    except TidewatchError as error:
        raise NoDecision(_as_fields(str(error))) from None
    return asked


_OPTIONS = {
    "--from": "since", "--until": "until", "--where": "where", "--weekly": "weekly", "--time-zone": "time_zone", "--for 2h": "minutes",
    "--for": "minutes", "--at": "at",
}  # fmt: skip


def _as_fields(words: str) -> str:
    """What is said to who types options, to who sends fields.

    >>> _as_fields('a weekly silence ends with --until TIME: leave --for out')
    'a weekly silence ends with until TIME: leave minutes out'
    """
    for option, field in _OPTIONS.items():
        words = words.replace(option, field)
    return words


def _complete(asked: Wish) -> None:
    if asked.do == "feedback":
        missed = asked.said == "missed"
        if missed != (not asked.alert) or missed != bool(asked.series and asked.at):
            msg = "feedback: say normal or noise of an alert, by its id; missed of a series and the time at which there was no alert"
            raise TidewatchError(msg)
        for name in ("at", "until"):
            if text := getattr(asked, name):
                event_time(text, name)
    elif asked.do == "comment":
        if bool(asked.series) == bool(asked.alert):
            msg = "comment: say on which alert, by its id, or on which series"
            raise TidewatchError(msg)
        comment_on(asked.series, asked.text)
    elif asked.do not in ("lift", "undo") and not asked.series and not (asked.do == "silence" and asked.where):
        msg = f"{asked.do}: say of which series"
        raise TidewatchError(msg)


def what(asked: Wish) -> What:
    """The decision's content. Raises TidewatchError."""
    series = escape(asked.series) if asked.exact else asked.series
    if asked.do == "silence":
        minutes = asked.minutes
        if minutes is None:
            minutes = 0.0 if asked.until or asked.weekly else 60.0
        lasts = max(int(60_000 * minutes), 1) if minutes else 0
        return silence_asked(
            series, now=int(time.time() * 1000), lasts=lasts, since=asked.since, until=asked.until, where=asked.where, weekly=asked.weekly,
            zone=asked.time_zone, why=asked.why,
        )  # fmt: skip
    if asked.do == "lift":
        return Lift(asked.serial)
    if asked.do == "comment":
        return comment_on(asked.series, asked.text)
    if asked.do == "acknowledge":
        return Acknowledge(series, asked.why)
    return Close(series, asked.why) if asked.do == "close" else Forget(series, asked.why)


def said_of(asked: Wish, records: Sequence[bytes] | None) -> Feedback | Comment:
    """What is said of the alert with these records. Raises TidewatchError."""
    if not records:
        verb = "comment" if asked.do == "comment" else f"feedback {asked.stream} {asked.said} {asked.alert}"
        msg = f"alert {asked.alert} is not kept here any more: `tidewatch {verb}` finds it"
        raise TidewatchError(msg)
    alert = decode_alert(records[-1])
    if alert.stream != asked.stream:
        msg = f"alert {asked.alert} is of stream {alert.stream}"
        raise TidewatchError(msg)
    if asked.do == "comment":
        return comment_on(alert.series, asked.text, alert.id)
    return of_alert(alert, "noise" if asked.said == "noise" else "normal", every=asked.every, why=asked.why)


async def decide(settings: Settings, asked: Wish, said: Feedback | Comment | None = None) -> dict[str, Any]:
    """Add the decision; its serial, where it was taken if that is waited for, and a note where nothing may come of it. Raises TidewatchError."""
    by = f"{asked.by.strip() or 'somebody'} (page)"
    async with at_desk(settings, asked.stream) as desk:
        made = said or (await desk.undoing(asked.serial) if asked.do == "undo" else what(asked))
        serial = await desk.decide(made, by=by, id=ASKED + asked.id if asked.id else "")
        at, notes = None, [await desk.nothing_comes_of(made)]
        if asked.wait:
            try:
                at = await desk.wait(serial, timeout=_WAIT)
            except TidewatchError as error:  # it is in the list; a worker that starts takes it
                notes.append(str(error))
    note = "; ".join(filter(None, notes))
    return {"serial": serial, "at": at} | ({"note": note} if note else {})


async def decisions(settings: Settings, stream: str) -> list[dict[str, Any]]:
    """All decisions of a stream, the newest first, each in words with where it was taken. Raises TidewatchError."""
    async with at_desk(settings, stream) as desk:
        lines = await desk.lines()
    undone = {line.decision.what.feedback for line in lines if isinstance(line.decision.what, Undo)}
    return [
        {
            "serial": line.decision.serial, "kind": line.decision.kind, "by": line.decision.by, "at": line.decision.at,
            "what": line.words, **_about(line.decision, undone), "taken": {str(p): o for p, o in line.taken.items()},
            "learning": line.learning, "refused": line.refused,
        }
        for line in reversed(lines)
    ]  # fmt: skip


def _about(decision: Decision, undone: Set[int]) -> dict[str, Any]:
    """Of what can be taken back: whether it was; of feedback also which series and times."""
    what = decision.what
    if not isinstance(what, (Feedback, Acknowledge, Comment)):
        return {}
    about: dict[str, Any] = {"undone": decision.serial in undone}
    if isinstance(what, Feedback):
        about |= {
            "feedback": what.said, "series": what.series, "alert": what.alert, "since": what.since, "until": what.until,
        }  # fmt: skip
    return about
