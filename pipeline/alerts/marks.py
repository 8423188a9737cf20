"""What people said about alerts, as it stands on their records: silenced up to an event time, acknowledged by whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from msgspec import UNSET, UnsetType


@dataclass(slots=True)
class Marks:
    """Of one partition; nothing of it reaches a score or the life of an alert.

    Attributes
    ----------
    silences
        (pattern of series, event time in ms before which it holds).
    acknowledged
        Alert id -> who looks after it.
    """

    silences: Sequence[tuple[str, int]] = ()
    acknowledged: Mapping[str, str] = field(default_factory=dict)

    def silenced(self, series: str, as_of: int) -> bool | UnsetType:
        """True where a silence covers a record; else the record does not speak of it."""
        return any(as_of < until and fnmatchcase(series, pattern) for pattern, until in self.silences) or UNSET

    def by(self, alert: str) -> str | UnsetType:
        """Who acknowledged an alert."""
        return self.acknowledged.get(alert, UNSET)
