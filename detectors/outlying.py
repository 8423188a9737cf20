"""How far out the rows of a table lie: several detectors' raw scores as one that ranks, and how rare that is, by which an alarm decides.

    raw scores (B, M) ──▶ score (B,): frozen ──▶ calibrated (B,): its tail among the rows learnt from, and the usual ones since
                          ranks                  decides

Distances, not ranks, make the score: among rows of a table that are learnt from, anomalies are common, and beyond the highest of them a rank says no more.
The logarithm keeps one wild column from deciding alone, its square lets a member that is sure outweigh those that see nothing. Of one
member its raw score is the score.

All rows that are learnt from say what is usual, those too that the members were fitted on: they are the more, and anomalies among them often stand
together at one end. Rows that a member was fitted on lie nearer to what it knows than new ones will, so their raw scores are stretched to the middle of the
rows held back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.calibration import Calibrator, Empirical, EmpiricalConfig

TAIL = EmpiricalConfig(generation=30_000, shape=0.0, poison_level=3.0, adapt_after=10_000)
"""How rare a score is. What one row in a thousand reaches is hardly learnt: an attack of a thousand rows must not hide its end, or the next one.
Rows that all lie beyond it, 10,000 of them in a row, are the new normal. No heavy tail: the score is a logarithm already."""

PART = 512
"""Rows whose shares are put together at a time: they stay in the cache."""


@dataclass(frozen=True)
class Usual:
    """What one series' scores are measured by.

    Attributes
    ----------
    middle, high : (M,) float64
        Raw scores that half, and a tenth, of the rows learnt from reach.
    tail : () of the calibrator's dtype
        State of the tail after these rows.
    """

    middle: NDArray[np.float64]
    high: NDArray[np.float64]
    tail: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of B rows.

    Attributes
    ----------
    score : (B,) float64
        Ranks. NaN where a member's raw score is.
    calibrated : (B,) float64
        How rare it is, 0..12; NaN there too.
    parts : (B, M) float64
        What each member adds to the score, not negative.
    """

    score: NDArray[np.float64]
    calibrated: NDArray[np.float64]
    parts: NDArray[np.float64]

    @property
    def members(self) -> NDArray[np.bool_]:
        """(B, M) who says so: adds at least half of what the one adds that adds the most."""
        most = self.parts.max(axis=1, keepdims=True)
        return np.asarray((self.parts >= most / 2) & (most > 0))

    def of(self, at: NDArray[np.intp]) -> Said:
        """What is said of rows `at` (k,)."""
        return Said(self.score[at], self.calibrated[at], self.parts[at])

    def shares(self, each: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
        """What each column adds (B, C), of what it adds to each member's raw score (B, C); of members that do not tell, nothing. None: nobody does."""
        told = [(m, of) for m, of in enumerate(each) if of is not None]
        if not told:
            return None
        out = np.empty(told[0][1].shape, np.float32)
        parts = np.nan_to_num(self.parts)
        for start in range(0, len(out), PART):
            some = slice(start, start + PART)
            adds = np.zeros(out[some].shape)
            for m, of in told:
                total = of[some].sum(axis=1, dtype=np.float64)
                adds += of[some] * (parts[some, m] / np.where(total > 0, total, 1.0))[:, None]
            out[some] = adds
        return out


@dataclass(frozen=True)
class Outlying:
    """The combined score of a table's members, for every known series.

    Attributes
    ----------
    members
        M.
    series
        Name -> what is usual. Others are measured by `anyone`, and their tail is learnt in the stream.
    calibrator
        Of the tail; settings only.
    """

    members: int
    series: Mapping[str, Usual]
    calibrator: Calibrator

    @classmethod
    def fit(cls, raw: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Outlying:
        """Learn from raw scores of each series: of rows (n, M) that the members were fitted on, and of rows (k, M) held back; one series has any."""
        calibrator, series = Empirical(TAIL), {}
        members = 0
        for name, (fitted, held) in raw.items():
            members = held.shape[1]
            of = np.concatenate([_stretched(fitted, held), held])
            of = of[np.isfinite(of).all(axis=1)]
            if len(of):
                middle, high = np.quantile(of, [0.5, 0.9], axis=0)
                series[name] = Usual(middle, high, calibrator.fit(score(of, middle, high)))
        return cls(members, series, calibrator)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is learnt, series by series: `middle` and `high` (S, M), the tails' bytes (S, bytes)."""
        usual = list(self.series.values())
        tails = np.array([u.tail for u in usual], self.calibrator.dtype)
        return {
            "middle": np.array([u.middle for u in usual]),
            "high": np.array([u.high for u in usual]),
            "tail": tails.view(np.uint8).reshape(len(usual), -1),
        }

    @classmethod
    def from_arrays(
        cls,
        names: Sequence[str],
        calibrator: Calibrator,
        middle: NDArray[np.float64],
        high: NDArray[np.float64],
        tail: NDArray[np.uint8],
    ) -> Outlying:
        """Of what `arrays` gave of the series of these names."""
        tails = np.ascontiguousarray(tail).view(calibrator.dtype).reshape(-1).copy()
        known = {name: Usual(middle[i], high[i], tails[i : i + 1].reshape(())) for i, name in enumerate(names)}
        return cls(middle.shape[1], known, calibrator)

    @property
    def dtype(self) -> np.dtype[Any]:
        """What is kept of one series."""
        return np.dtype(
            [("middle", "<f8", (self.members,)), ("high", "<f8", (self.members,)), ("tail", self.calibrator.dtype)]
        )

    @property
    def anyone(self) -> Usual:
        """By which a series that is not known is measured: the known one with the most rows."""
        return max(self.series.values(), key=lambda usual: int(usual.tail["known"]))

    def begin(self, kept: NDArray[Any], row: int, name: str | None) -> None:
        """Put what is known of a series into its row of `kept` (rows,) `dtype`; of `None` nothing is known."""
        known = None if name is None else self.series.get(name)
        usual = self.anyone if known is None else known
        kept["middle"][row], kept["high"][row] = usual.middle, usual.high
        kept["tail"][row] = np.zeros((), self.calibrator.dtype) if known is None else known.tail

    def calibrate(
        self, kept: NDArray[Any], rows: NDArray[np.intp], raw: NDArray[np.float64], learn: NDArray[np.bool_]
    ) -> Said:
        """What is said of raw scores (B, M) of series in `rows` (B,); moves tails on (`Calibrator.calibrate`)."""
        middle, high = kept["middle"][rows], kept["high"][rows]
        found = score(raw, middle, high)
        return Said(
            found,
            self.calibrator.calibrate(kept["tail"], rows, found, learn),
            np.maximum(parts(raw, middle, high), 0.0),
        )


def score(raw: NDArray[np.float64], middle: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores (B,) of raw ones (B, M), unbounded: how far above the middle each member's lies, in distances of its tenth highest.

    `middle` and `high` are (M,) or (B, M). NaN where a member's is.
    """
    return raw[:, 0] if raw.shape[1] == 1 else parts(raw, middle, high).mean(axis=1)


def parts(raw: NDArray[np.float64], middle: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each member adds to the scores (B, M)."""
    far = (raw - middle) / np.maximum(high - middle, 1e-3 * np.abs(high) + 1e-12)
    # Below the middle nothing is anomalous; a little slope keeps the order.
    return np.asarray(np.where(far > 0, np.log1p(np.maximum(far, 0.0)) ** 2, 1e-3 * far))


def _stretched(fitted: NDArray[np.float64], held: NDArray[np.float64]) -> NDArray[np.float64]:
    """Raw scores (n, M) of fitted rows, not lower in the middle than those (k, M) of rows held back."""
    if not (len(fitted) and len(held)):
        return fitted
    near, far = np.median(fitted, axis=0), np.median(held, axis=0)
    stretch = np.where(near > 0, np.maximum(far, near) / np.where(near > 0, near, 1.0), 1.0)
    return np.asarray(np.where(near > 0, fitted * stretch, fitted + np.maximum(far - near, 0.0)))
