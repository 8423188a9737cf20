"""Several values of one message as one series of several channels: which metrics are its channels, by the ends of their names.

    cpu_usage_user{host="a"}  3.1 ┐                                                  series cpu{host="a"}
    cpu_usage_idle{host="a"} 96   ├── channels = ["usage_user", "usage_idle"] ──▶    values [3.1, 96]
    cpu_usage_nice{host="a"}  0   ┘                                                  left out: 1 no channel

What belongs together is what has the same time and, without the channel, the same name. A series is whole in a message or it is none: one that lacks
a channel is refused, as a record of the native form with too few values is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from producers.formats.base import GAUGE, Parsed, Reason, Unusable, shown

NO_CHANNEL = "no channel"
"""What is `skipped` of metrics that are none of the channels."""
REPEATED = "repeated channel"

_BETWEEN = "_./:-"  # a channel's name and what stands before it
_KEPT = 1 << 17


class Row(NamedTuple):
    """Values (C) of one series at one time, ms; an empty name is named by the record's key."""

    series: str
    timestamp: int
    values: list[float]


def check_channels(names: Sequence[str]) -> None:
    """Raise ValueError where names of channels name none, or one twice."""
    for i, name in enumerate(names):
        if not name or set(name) & set("{}\0"):
            msg = (
                f"{name[:60]!r} is no name of a channel; name the field, or the end of the metric's name, as usage_user"
            )
            raise ValueError(msg)
        if name in names[:i]:
            msg = f"channel {name[:60]} is named twice"
            raise ValueError(msg)


class Channels:
    """Puts the points of messages together.

    Parameters
    ----------
    names
        The channels, in the order of the model. A metric is the channel whose name is its own, or the end of it behind one of `_ . / : -`; where two
        fit, the longer one.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._longest_first = sorted(range(len(names)), key=lambda i: -len(names[i]))
        self._order = range(len(names))
        self._known: dict[str, tuple[str, int]] = {}

    def rows(self, parsed: Parsed) -> list[Row]:
        """The series of one message, in the order in which each first stands there; what cannot be used is told in `parsed`."""
        found: dict[tuple[str, int], dict[int, float]] = {}
        known = self._known
        for name, timestamp, value, kind, _ in parsed.points:
            series, channel = known.get(name) or self._of(name)
            if channel < 0:
                parsed.skip(NO_CHANNEL)
                continue
            values = found.get((series, timestamp))
            if values is None:
                values = found[series, timestamp] = {}
            if kind != GAUGE:
                why = f"{shown(name)} counts up, and channels are judged by their values, not their rates"
                parsed.refused.append(Unusable(Reason.WRONG_TYPE, why))
            elif channel in values:
                parsed.skip(REPEATED)
            else:
                values[channel] = value
        rows = []
        for (series, timestamp), values in found.items():
            if len(values) == len(self.names):
                rows.append(Row(series, timestamp, [values[c] for c in self._order]))
            else:
                missing = [name for c, name in enumerate(self.names) if c not in values]
                told = f"{', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}"
                why = f"{shown(series)} has {len(values)} of {len(self.names)} channels; there is no {told}"
                parsed.refused.append(Unusable(Reason.WRONG_CHANNELS, why))
        return rows

    def _of(self, series: str) -> tuple[str, int]:
        """The name without the channel, and which it is; -1: none. It is kept."""
        if len(self._known) > _KEPT:  # whoever makes up names must not fill the memory
            self._known.clear()
        found = self._known[series] = self._split(series)
        return found

    def _split(self, series: str) -> tuple[str, int]:
        metric, brace, labels = series.partition("{")
        for c in self._longest_first:
            name = self.names[c]
            if metric == name:
                return f"{brace}{labels}", c
            if metric.endswith(name) and metric[-len(name) - 1] in _BETWEEN:
                return f"{metric[: -len(name) - 1]}{brace}{labels}", c
        return series, -1
