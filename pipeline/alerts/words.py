"""An alert in one sentence: which series, what, by how much, since when or how long. Times in UTC."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from msgspec import UNSET

from pipeline.alerts.records import Alert, Moment, Share

_VERBS = {
    "spike": "jumped to {observed}",
    "drop": "fell to {observed}",
    "level up": "moved to a higher level, at its worst {observed}",
    "level down": "moved to a lower level, at its worst {observed}",
    "drift up": "drifted up to {observed}",
    "drift down": "drifted down to {observed}",
    "noise": "became noisy, at its worst {observed}",
    "flat": "stuck at {observed}",
    "missing cycle": "stayed at {observed}",
    "out of range": "went out of its range, to {observed}",
    "unusual": "was unusual over several observations, the farthest {observed}",
}
_UP, _DOWN = {"spike", "level up", "drift up"}, {"drop", "level down", "drift down"}
"""Kinds of one side, which were told of the beginning; the farthest value may lie on the other."""
_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


WORTH = 0.05
"""Share in the score below which a column of a table that does not lead is not spoken of."""


def summary(alert: Alert) -> str:
    """The sentence.

    Numbers are of the peak: what was farthest from what was expected. Nothing in it is newer than the record.
    """
    if alert.together is not UNSET:
        many, partition = alert.together, alert.evidence.partition
        if alert.status != "resolved":
            return f"{many.series} of {many.of} series of partition {partition} sent no data{_when(alert)}."
        return (
            f"Many series of partition {partition} sent no data{_when(alert)}; {many.series} of {many.of} do not yet."
        )
    return f"{alert.series}{_channel(alert.peak)} {_what(alert)}{_because(alert)}{_when(alert)}.{_said(alert)}"


def _said(alert: Alert) -> str:
    if alert.feedback is UNSET:
        return ""
    said = alert.feedback
    return f" {said.what.capitalize()}, says {said.by}{f': {said.why}' if said.why else ''}."


def _what(alert: Alert) -> str:
    if alert.kind == "no data":
        return "sent no data"
    peak = alert.peak
    of_columns = bool(alert.channels) and alert.channels[0].usual is not UNSET  # of a table: they are told behind it
    if peak is None or peak.observed is None or of_columns or alert.kind not in _VERBS:
        return "was anomalous" if alert.status == "resolved" else "is anomalous"
    against = _DOWN if (alert.deviation or 0.0) > 0 else _UP if (alert.deviation or 0.0) < 0 else ()
    verb = "went to {observed}" if alert.kind in against else _VERBS[alert.kind]
    return verb.format(observed=number(peak.observed)) + _compared(alert, peak)


def _compared(alert: Alert, peak: Moment) -> str:
    if peak.expected is None or peak.observed is None or alert.deviation is None or alert.kind == "flat":
        return ""
    expected = number(peak.expected, beside=peak.observed)
    if number(peak.observed) == expected:  # by nothing that can be seen
        return ""
    if alert.deviation_percent is None or abs(alert.deviation_percent) >= 1000:
        by = number(abs(alert.deviation))
    else:
        by = f"{abs(alert.deviation_percent):.3g} %"
    return f", {by} {'above' if alert.deviation > 0 else 'below'} the expected {expected}"


def _because(alert: Alert) -> str:
    """Channels and columns that led, where no single one says it all."""
    if alert.peak is not None and len(alert.channels) < 2:
        return ""
    if alert.channels and alert.channels[0].usual is not UNSET:
        told = "; ".join(_share(s) for k, s in enumerate(alert.channels) if not k or s.share >= WORTH)
    else:
        told = ", ".join(_share(s) for s in alert.channels)
    return f" ({told})" if told else ""


def _share(of: Share) -> str:
    """A channel, or a column with what it holds and what it usually does, and its share.

    >>> _share(Share("hot", 0.49, 4.0, 0.0)), _share(Share("hot", 0.49, float("nan"), 0.0))
    ('hot 4, usually 0: 49%', 'hot, usually 0: 49%')
    """
    if of.usual is UNSET or of.observed is UNSET:
        return f"{of.name} {of.share:.0%}"
    if of.observed != of.observed:  # it was not kept: the state was lost while the alert was open
        return f"{of.name}, usually {_value(of.usual)}: {of.share:.0%}"
    return f"{of.name} {_value(of.observed)}, usually {_value(of.usual)}: {of.share:.0%}"


def _value(value: float | str | None) -> str:
    if value is None:
        return "a value never seen"
    return number(value) if isinstance(value, int | float) else repr(value)


def _when(alert: Alert) -> str:
    since = when(alert.starts_at)
    if alert.change == "reopened":
        return f", again at {when(alert.as_of)} UTC (first at {when(alert.starts_at, after=alert.as_of)})"
    if alert.status != "resolved":
        lasted = f", for {span(alert.lasted_ms)} so far" if alert.lasted_ms else ""
        return f", since {since} UTC{lasted}"
    last, length = alert.last_seen, alert.lasted_ms
    if alert.kind == "no data":  # nothing was seen until it was over
        last = alert.as_of
        length = (datetime.fromisoformat(last) - datetime.fromisoformat(alert.starts_at)) // timedelta(milliseconds=1)
    if length <= 0:
        return f", at {since} UTC"
    return f", from {since} to {when(last, after=alert.starts_at)} UTC ({span(length)})"


def _channel(peak: Moment | None) -> str:
    return f" {peak.channel}" if peak is not None and peak.channel else ""


def number(value: float, *, beside: float = 0.0) -> str:
    """With four significant digits, more only for whole numbers; `beside` a larger one, with as many decimals as that has.

    >>> number(1234567.0), number(0.123456), number(98.7654321), number(-3.0), number(9999.7)
    ('1,234,567', '0.1235', '98.77', '-3', '10,000')
    >>> number(3.509e-06, beside=2.0), number(1.2345, beside=97.5), number(-12.34567, beside=0.1)
    ('0', '1.23', '-12.35')
    """
    if abs(value) < abs(beside) < math.inf:
        value = round(value, 3 - math.floor(math.log10(abs(beside)))) + 0.0  # + 0.0: never -0
    if abs(value) < 1e15 and (value == round(value) or abs(value) >= 1_000):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def span(ms: int) -> str:
    """How long, in its two greatest units.

    >>> span(7_500_000), span(59_000), span(250), span(90_000_000)
    ('2 h 5 min', '59 s', '250 ms', '1 d 1 h')
    """
    parts: list[str] = []
    for unit, name in _UNITS:
        if ms >= unit or parts:
            count, ms = divmod(ms, unit)
            parts.append(f"{count} {name}" if count else "")
    return " ".join(p for p in parts[:2] if p) or f"{ms} ms"


def when(text: str, *, after: str = "") -> str:
    """A time of a record to the minute, or as exact as it is; without the date where that is the one of `after`.

    >>> when("2014-07-01T12:35:00.000Z"), when("2014-07-01T12:35:01.500Z", after="2014-07-01T12:00:00.000Z")
    ('2014-07-01 12:35', '12:35:01.500')
    """
    date, _, time = text.removesuffix("Z").partition("T")
    time = time.removesuffix(":00.000").removesuffix(".000")
    return time if after.partition("T")[0] == date else f"{date} {time}"
