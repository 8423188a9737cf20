"""What is kept of one series' alert, in the state and while it is worked on; and what a step of it and a batch look like to the rule.

184 bytes a series, a fixed number whatever happens: an alert that is open, what it takes to open it again, and what was seen when it
was at its worst (so that the record that ends it can still say so).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.alerts.kinds import Look
from pipeline.alerts.records import Change, Severity, Status

INACTIVE, PENDING, FIRING = 0, 1, 2
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")

DTYPE = np.dtype(
    [
        ("onset", "<i8"),  # event time of the first anomalous observation
        ("ordinal", "<i8"),  # its ordinal
        ("anomalous_at", "<i8"),  # event time of the last anomalous observation
        ("heard", "<i8"),  # the series' own event time when it was last heard of
        ("heard_at", "<i8"),  # the partition's event time then
        ("offset", "<i8"),  # of the last observation that was scored
        (
            "normal_since",
            "<i8",
        ),  # event time of the first of the normal observations in a row; pending again: of coming back
        ("next_update", "<i8"),
        ("suppressed_until", "<i8"),  # outlives an alert
        ("peak", "<f8"),
        ("sequence", "<u4"),  # of the next record
        ("normal", "<u4"),  # normal observations in a row
        ("status", "u1"),
        ("severity", "u1"),
        ("kind", "u1"),  # index into KINDS; 0: not told
        (
            "begun_as",
            "u1",
        ),  # the kind at the onset, part of the id; 0: of an alert from before kinds, whose id knows none
        ("onset_channel", "<u2"),
        ("id", "V16"),  # of an alert taken up from the alert topic; zeros: it follows from the onset
        (
            "quiet_until",
            "<i8",
        ),  # while there is none: an anomaly before then reopens the alert that the other fields are of; 0: none
        # Of the channel that led; NaN: not known. Of a table, which tells of its worst row only: what was seen there in the second and third column.
        ("onset_observed", "<f8"),
        ("onset_expected", "<f8"),
        ("peak_at", "<i8"),  # 0: no peak is known (taken from a state that knew none)
        ("peak_observed", "<f8"),
        ("peak_expected", "<f8"),
        ("anomalous", "<u4"),  # anomalous observations so far
        ("members", "<u4"),  # bit m: member m said so
        ("leading", "V9"),  # up to LEADING channels and their shares at the peak, `packed_shares`
        ("untold", "u1"),  # 1: it was silenced when its last record was written
        ("strength", "<f8"),  # highest so far: decades beyond what is let pass, whatever people said of it
    ]
)
"""What is kept of a series; all zeros: no alert, and none to open again."""
COMPUTED_ID = bytes(16)
MEMBERS = 32
"""Bits that there are for members."""
LEADING = 3
"""Channels whose names are remembered."""
_SHARES = struct.Struct("<" + "HB" * LEADING)


@dataclass(slots=True)
class Life:
    """One series' element of `DTYPE` while it is worked on; fields in the same order."""

    onset: int = 0
    ordinal: int = 0
    anomalous_at: int = 0
    heard: int = 0
    heard_at: int = 0
    offset: int = 0
    normal_since: int = 0
    next_update: int = 0
    suppressed_until: int = 0
    peak: float = 0.0
    sequence: int = 0
    normal: int = 0
    status: int = INACTIVE
    severity: int = 0
    kind: int = 0
    begun_as: int = 0
    onset_channel: int = 0
    id: bytes = COMPUTED_ID
    quiet_until: int = 0
    onset_observed: float = 0.0
    onset_expected: float = 0.0
    peak_at: int = 0
    peak_observed: float = 0.0
    peak_expected: float = 0.0
    anomalous: int = 0
    members: int = 0
    leading: bytes = bytes(_SHARES.size)
    untold: int = 0
    strength: float = 0.0

    @classmethod
    def of(cls, lives: NDArray[Any], row: int) -> Life:
        """The life of a row of (rows,) `DTYPE`."""
        return cls(*lives[row].item())

    def values(self) -> tuple[Any, ...]:
        """What is kept of it: an element of `DTYPE`."""
        return tuple(getattr(self, field) for field in Life.__slots__)

    def copy(self) -> Life:
        """As it is now."""
        return replace(self)

    def become(self, other: Life) -> None:
        """Take over all fields."""
        for field in Life.__slots__:
            setattr(self, field, getattr(other, field))


def packed_shares(shares: Sequence[tuple[int, float]]) -> bytes:
    """The first `LEADING` of (channel, share 0..1) as 9 bytes: whole per cents, at least one where there is any.

    >>> shares_of(packed_shares([(7, 0.625), (1, 0.37)]))
    [(7, 0.62), (1, 0.37)]
    """
    flat: list[int] = []
    for channel, share in list(shares)[:LEADING]:
        flat += [min(channel, 65_535), min(max(round(share * 100), 1), 100)]
    return _SHARES.pack(*flat, *[0] * (2 * LEADING - len(flat)))


def shares_of(leading: bytes) -> list[tuple[int, float]]:
    """What `packed_shares` packed."""
    flat = _SHARES.unpack(leading)
    return [(c, p / 100) for c, p in zip(flat[::2], flat[1::2], strict=True) if p]


@dataclass(frozen=True, slots=True)
class Step:
    """A record to be published: which observation caused it, and the life as it was then.

    `cause` is the place of the observation in the batch (half-way between two: a record that none came of), `row` -1 where it is of no series
    but of a partition, `together` then of how many series of how many. `window` its index into Scored (-1: no observation is spoken of), `next` the
    alert that begins where this one ended for it, `reopens_until` the end of its quiet time where it resolved (0: none).
    """

    cause: float
    row: int
    window: int
    status: Status
    change: Change
    as_of: int
    offset: int
    life: Life
    next: Life | None = None
    reopens_until: int = 0
    together: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """The observations that are looked at, series by series, as columns of plain Python values."""

    windows: list[int]
    """Index into Scored; -1: not scored, or in probation, and heard of all the same (unless its range says something)."""
    causes: list[int]
    times: list[int]
    accepted: list[bool]
    """Whether the time policy believes the event time."""
    offsets: list[int]
    ordinals: list[int]
    scores: list[float]
    beyond: list[float]
    """The alarm: how many decades rarer than what is let pass."""
    strengths: list[float]
    """The same, before feedback moved what is let pass."""
    opens: list[bool]
    """Anomalous at the level: begins an alert."""
    keeps: list[bool]
    """Anomalous at the level less the hysteresis: keeps one going."""
    live: list[bool]
    """Judged by its score. Of the others only whether they are in range says anything."""
    outside: list[bool]
    """Out of the valid range: anomalous whatever else is said."""
    clock: list[int]
    """The partition's event time at each."""
    parts: list[tuple[int, int, int]]
    """(row, first, behind the last) of each series; rows rise. An empty part: its alert may have fallen silent."""
    members: list[int]
    """Who says so: bit m for member m."""
    look: Callable[[int, int | None, float], Look]
    """What observation i looks like (a scored one), given how many observations ago the alert began, 0 for the onset itself, and what
    was usual then; None: its kind is not asked for (`UNUSUAL` stands there)."""
    waited: list[bool] | None = None
    """It came earlier, and waited for older ones; None: none did."""


NOTHING = Judged([], [], [], [], [], [], [], [], [], [], [], [], [], [], [], [], lambda _i, _since, _usual: Look(0))
"""No observation at all."""
