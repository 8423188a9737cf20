"""What may be done from the page: the decisions that the command line makes too, of whoever holds the operators' token.

POST /api/decide   {"stream": "web", "do": "silence", "series": "host-*", "exact": false, "minutes": 60, "why": "...", "by": "ann"}
                   {"stream": "web", "do": "silence", "where": ["env=test"], "weekly": ["sat,sun 22:00-06:00"], "time_zone": "Europe/Berlin"}
answer             {"serial": 7, "at": null}, or with "wait": {"serial": 7, "at": {"0": 1200, "1": 1187}}
"""

from __future__ import annotations

import time
from glob import escape
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pipeline.errors import TidewatchError
from pipeline.operations.desk import at_desk, silence_asked, told
from pipeline.partition.decisions import Acknowledge, Close, Forget, Lift, What
from pipeline.settings import Settings

MAX_MINUTES = 366 * 24 * 60
_WAIT = 10.0


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody wants done. `exact`: the series is a name, no pattern. A silence lasts `minutes`, unless `until` or `weekly` say when it is."""

    stream: Annotated[str, Meta(max_length=256)]
    do: Literal["acknowledge", "silence", "lift", "close", "forget"]
    series: Annotated[str, Meta(max_length=1024)] = ""
    exact: bool = True
    minutes: Annotated[float, Meta(gt=0, le=MAX_MINUTES)] = 60.0
    since: Annotated[str, Meta(max_length=40)] = ""
    until: Annotated[str, Meta(max_length=40)] = ""
    where: Annotated[list[Annotated[str, Meta(max_length=500)]], Meta(max_length=20)] = []
    weekly: Annotated[list[Annotated[str, Meta(max_length=60)]], Meta(max_length=20)] = []
    time_zone: Annotated[str, Meta(max_length=60)] = ""
    serial: int = 0
    why: Annotated[str, Meta(max_length=500)] = ""
    by: Annotated[str, Meta(max_length=80)] = ""
    wait: bool = False


_wishes = msgspec.json.Decoder(Wish)


def wish(body: bytes) -> Wish:
    """What a page asks for. Raises TidewatchError in words."""
    try:
        asked = _wishes.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        msg = f"this is no decision: {error}"
        raise TidewatchError(msg) from None
    if asked.do != "lift" and not asked.series and not (asked.do == "silence" and asked.where):
        msg = f"{asked.do}: say of which series"
        raise TidewatchError(msg)
    return asked


def what(asked: Wish) -> What:
    """The decision's content. Raises TidewatchError."""
    series = escape(asked.series) if asked.exact else asked.series
    if asked.do == "silence":
        lasts = 0 if asked.until or asked.weekly else int(60_000 * asked.minutes)
        return silence_asked(
            series, now=int(time.time() * 1000), lasts=lasts, since=asked.since, until=asked.until, where=asked.where, weekly=asked.weekly,
            zone=asked.time_zone, why=asked.why,
        )  # fmt: skip
    if asked.do == "lift":
        return Lift(asked.serial)
    if asked.do == "acknowledge":
        return Acknowledge(series, asked.why)
    return Close(series, asked.why) if asked.do == "close" else Forget(series, asked.why)


async def decide(settings: Settings, asked: Wish) -> dict[str, Any]:
    """Add the decision; its serial, and where it was taken if that is waited for. Raises TidewatchError."""
    by = f"{asked.by.strip() or 'somebody'} (page)"
    async with at_desk(settings, asked.stream) as desk:
        serial = await desk.decide(what(asked), by=by)
        at = None
        if asked.wait:
            try:
                at = await desk.wait(serial, timeout=_WAIT)
            except TidewatchError:  # it is in the list; a worker that starts takes it
                at = None
    return {"serial": serial, "at": at}


async def decisions(settings: Settings, stream: str) -> list[dict[str, Any]]:
    """All decisions of a stream, the newest first, each in words with where it was taken. Raises TidewatchError."""
    async with at_desk(settings, stream) as desk:
        lines = await desk.lines()
    return [
        {
            "serial": line.decision.serial, "by": line.decision.by, "at": line.decision.at,
            "what": told(line.decision.what), "taken": {str(p): o for p, o in line.taken.items()},
        }
        for line in reversed(lines)
    ]  # fmt: skip
