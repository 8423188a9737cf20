"""What kind of anomaly a window shows: one bounded rule over the newest rows of one channel and what was expected of the last one.

    window (T,) ── before the onset ──┬── since, at most STRETCH rows ──┐
                        reference     │                                 ▼
                        (spread,      └── expected, or what was usual ──▶ first rule that fits: kind
                         range)

The rules stand in docs/alerts.md as a table, in the order in which they are tried. They are for people and for telling one anomaly
from the next; whether something is anomalous at all was decided before. Nothing is learnt and nothing remembered here: equal windows
give equal answers.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

KINDS = (
    "", "unusual", "spike", "drop", "level up", "level down", "drift up", "drift down", "noise", "flat", "missing cycle", "missing cycle",
    "out of range", "no data",
)  # fmt: skip
"""By number; 0: not told. The order is part of the state's format: new ones come at the end."""
_SIDES = (0, 0, 1, -1, 1, -1, 1, -1, 0, 0, -1, 1, 0, 0)
"""Of each: 1 is above what was expected, -1 below, 0 neither. A cycle's missing peak is below, a missing trough above."""
(
    UNUSUAL,
    SPIKE,
    DROP,
    LEVEL_UP,
    LEVEL_DOWN,
    DRIFT_UP,
    DRIFT_DOWN,
    NOISE,
    FLAT,
    NO_PEAK,
    NO_TROUGH,
    OUT_OF_RANGE,
    NO_DATA,
) = range(1, 14)
_PASSING = frozenset({0, UNUSUAL, SPIKE, DROP})
_STAYED, _DRIFTS = frozenset({NO_PEAK, NO_TROUGH}), frozenset({DRIFT_UP, DRIFT_DOWN})

LASTING = 5
"""Newest rows that must lie on one side for a level; between two looks at an alert that goes on."""
STRETCH = 8
"""Newest rows in which a stuck value or noise is looked for."""
_HUGE = 1e100
"""From which on windows are made smaller: their squares would overflow."""
_REFERENCE = 8
"""Rows before the onset from which on they say what is usual."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one observation looks like.

    Attributes
    ----------
    kind
        Number in `KINDS`.
    channel
        The one that leads.
    observed, expected
        Of that channel; NaN where not known. Where the detector expects nothing, what is usual in the window before it.
    shares
        Channel (or column) and share in the score, 0..1, the greatest first; empty where there is one channel, or no member tells.
    others
        Of rows of a table: what was observed in the second and third column that lead (`FeatureEncoder.number_of`).
    """

    kind: int
    channel: int = 0
    observed: float = float("nan")
    expected: float = float("nan")
    shares: list[tuple[int, float]] = field(default_factory=list)
    others: tuple[float, float] | None = None


def side(kind: int) -> int:
    """1 up, -1 down, 0 neither."""
    return _SIDES[kind]


def numbered(name: str, direction: str | None) -> int:
    """The kind that a record names; 0 where it is not known. A missing cycle's direction says which of the two it is.

    >>> numbered("missing cycle", "down"), numbered("missing cycle", "up"), numbered("of a later version", None)
    (10, 11, 0)
    """
    if name == KINDS[NO_TROUGH]:
        return NO_TROUGH if direction == "up" else NO_PEAK
    return KINDS.index(name) if name in KINDS else 0


def same(one: int, other: int) -> bool:
    """Whether an anomaly of the one kind may come back as the other: same side, or the same shape; what is not told may be anything.

    >>> same(SPIKE, LEVEL_UP), same(SPIKE, DROP), same(SPIKE, NOISE), same(UNUSUAL, NOISE)
    (True, False, False, True)
    """
    return min(one, other) <= UNUSUAL or one == other or _SIDES[one] == _SIDES[other] != 0


def refined(kind: int, look: int, *, worst: bool = True) -> int:
    """The kind of an alert that goes on, after another look at it: what passes may turn out to be something that lasts, and what seemed to stay a slow drift,
    where it is farther off than ever (`worst`): a day's own way up or down is none.

    >>> refined(SPIKE, LEVEL_UP), refined(NO_TROUGH, DRIFT_UP), refined(NO_TROUGH, DRIFT_UP, worst=False), refined(LEVEL_UP, DRIFT_UP)
    (4, 6, 11, 4)
    """
    if worst and kind in _STAYED and look in _DRIFTS and _SIDES[kind] == _SIDES[look]:
        return look
    return look if kind in _PASSING and look not in _PASSING and _may_become(kind, look) else kind


def another(kind: int, look: int) -> bool:
    """Whether a look at an alert shows that it is lastingly about something else now. Noise goes to either side."""
    to_a_side = kind == NOISE and _SIDES[look]
    return look not in _PASSING and not same(kind, look) and not _may_become(kind, look) and not to_a_side


def _may_become(kind: int, look: int) -> bool:
    """A first far value may have been the beginning of noise, of being stuck, or of a level on its own side."""
    return kind in _PASSING and (_SIDES[look] == 0 or _SIDES[kind] in (0, _SIDES[look]))


def kind_of(window: NDArray[np.float64], expected: float, since: int, *, floor: float = float("nan")) -> int:
    """The kind of what the last row of a window shows.

    Parameters
    ----------
    window : (T,)
        One channel in the unit of the input, oldest first; the last one is the observation.
    expected
        What it should have been; NaN: not known.
    since
        Rows between the alert's onset and the last row; 0: it is the onset.
    floor
        Below which the series cannot go; NaN: not known.
    """
    if (size := float(np.abs(window).max())) > _HUGE:  # a power of two changes no digit
        small = 2.0 ** -math.frexp(size)[1]
        window, expected, floor = window * small, expected * small, floor * small
    n, now = len(window), window[-1]
    before = window[: max(n - since - 1, 0)]
    new = window[-min(since + 1, LASTING) :]
    if now < floor:
        return OUT_OF_RANGE
    run = _run(window)
    if _stuck(window, run):
        return FLAT
    if since >= LASTING and _noisy(window[-STRETCH:], before) and not _on_one_side(window[-since - 1 :], expected):
        return NOISE
    if since and run >= min(since + 1 + LASTING, n):
        return UNUSUAL  # one value since before the onset: it is what was expected that moves
    off = median(new) - expected if len(new) == LASTING else now - expected
    if not off or off != off:
        return UNUSUAL
    if _drifting(window, off):
        return DRIFT_UP if off > 0 else DRIFT_DOWN
    if len(new) == LASTING:
        beyond = (new - expected) / off
        clear = abs(off) > 3 * _step(before if len(before) >= _REFERENCE else window)
        if clear and beyond[-1] > 0.5 and np.count_nonzero(beyond > 0.5) >= LASTING - 1:
            return LEVEL_UP if off > 0 else LEVEL_DOWN
    elif not since and len(before) >= _REFERENCE and _not_moved(before, now, off):
        return NO_TROUGH if off > 0 else NO_PEAK
    if len(before) >= _REFERENCE and abs(off) < _step(before):
        return UNUSUAL  # so far goes any row: it is several together that are odd
    return SPIKE if off > 0 else DROP


def median(rows: NDArray[np.float64]) -> float:
    """Of one channel's rows (k,); NaN of none, and where one is. `np.median` says the same and takes several times as long for so few."""
    values = rows.tolist()
    return statistics.median(values) if values and not any(map(math.isnan, values)) else math.nan


def _run(window: NDArray[np.float64]) -> int:
    """Newest rows that are one value."""
    other = np.flatnonzero(window != window[-1])
    return len(window) - 1 - int(other[-1]) if len(other) else len(window)


def _stuck(window: NDArray[np.float64], run: int) -> bool:
    """The newest rows are one value, inside the range of those before, which hardly ever repeat."""
    before = window[:-run]
    if run < STRETCH or len(before) < _REFERENCE:
        return False
    return bool(before.min() < window[-1] < before.max() and np.count_nonzero(np.diff(before) == 0) * 5 <= len(before))


def _noisy(new: NDArray[np.float64], before: NDArray[np.float64]) -> bool:
    """The newest rows jump to and fro, five of the seven jumps twice as far as is usual: a single spike makes two."""
    if len(before) <= _REFERENCE:
        return False
    jumps = np.diff(new)
    turns = np.count_nonzero(jumps[1:] * jumps[:-1] < 0)
    return bool(sorted(np.abs(jumps).tolist())[2] > 2 * _step(before) > 0 and turns >= 3)


def _on_one_side(new: NDArray[np.float64], expected: float) -> bool:
    """The newest rows since the onset are all above what is expected, or all below it: wherever they jump, they have moved."""
    sides = np.sign(new[-STRETCH:] - expected)
    return bool(abs(sides.sum()) == len(sides))


def _step(rows: NDArray[np.float64]) -> float:
    """How far it usually is from one row to the next."""
    return median(np.abs(np.diff(rows)))


def _drifting(window: NDArray[np.float64], off: float) -> bool:
    """The window goes the deviation's way, evenly, and by at least half as much."""
    n = len(window)
    if n < 2 * _REFERENCE:
        return False
    t = np.arange(n) - (n - 1) / 2
    slope = (window * t).sum() / (t * t).sum()
    left = window - window.mean() - slope * t
    moved, spread = slope * math.copysign(n - 1, off), np.ptp(window)
    even = (left * left).sum() <= 0.15 * ((window - window.mean()) ** 2).sum()
    return bool(moved >= abs(off) / 2 and even and np.abs(np.diff(window)).max() <= spread / 4)


def _not_moved(before: NDArray[np.float64], now: float, off: float) -> bool:
    """The last row is where the rows just before it were, within what is common: what was expected has gone away from it."""
    near = abs(now - median(before[-4:])) <= abs(off) / 4
    return bool(near and before.min() <= now <= before.max())
