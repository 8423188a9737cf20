"""What a scored observation looks like: which channel leads, what was seen and expected of it, who says so, and of which kind it is.

In: the columns of a batch (`Scored`), out: a `Look` at one of them when it is asked for. Few are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.model import Model
from pipeline.alerts import kinds
from pipeline.alerts.kinds import Look
from pipeline.alerts.row import LEADING, MEMBERS
from pipeline.steps.batches.outcomes import Scored

FEWEST, MOST = 16, 512
"""Observations whose shares are found in one go: where one is looked at, those beside it often are."""
NOBODY = np.zeros(0, np.intp)
AT_LEVEL = 4.0
"""How rare, in decades, what reaches the level of a judgement's alarm counts as, where one scale for all is needed."""


class Looks:
    """Looks at the observations of one batch; writes nothing, and none depends on the others.

    Parameters
    ----------
    model
        Its kind, members, and the columns of a table.
    outside : (B, C) bool
        What is out of its valid range; None: nothing has one.
    originals
        Rows of a table as they came, of all observations.
    wanted
        Which of `Scored` may be looked at.
    """

    def __init__(
        self,
        model: Model,
        scored: Scored,
        outside: NDArray[np.bool_] | None = None,
        originals: Sequence[Sequence[float | str]] | None = None,
        wanted: NDArray[np.intp] = NOBODY,
    ) -> None:
        self._originals = originals
        self._model = model
        self._scored = scored
        self._outside = outside
        self._wanted = np.sort(wanted)
        self._size, self._asked = FEWEST, 0
        self._leading: dict[int, list[tuple[int, float]]] = {}

    def at(self, b: int, since: int | None, usual: float) -> Look:
        """A look at observation b of `Scored`.

        Parameters
        ----------
        since
            Observations since the alert began, 0 for its onset; None: do not tell the kind.
        usual
            What the leading channel usually was when the alert began, for detectors that expect nothing; NaN at the onset.
        """
        shares = self.shares(b)
        if self._model.kind == "table":
            return self._row(b, shares)
        scored, window = self._scored, self._window(b)
        out = None if self._outside is None or not self._outside[b].any() else self._outside[b]
        if out is not None:  # of several that are out of range the one that leads, where it is among them
            channel = shares[0][0] if shares and out[shares[0][0]] else int(np.argmax(out))
            shares = [(channel, 1.0)] if len(out) > 1 else []
        else:
            channel = shares[0][0] if shares else self._farthest(b, window)
        observed = float(scored.observed[b, channel])
        expected = np.nan if scored.expected is None else float(scored.expected[b][channel])
        if expected != expected:
            expected = usual if usual == usual else kinds.median(window[:-1, channel])
        floor = np.nan if scored.floor is None else float(scored.floor[b, channel])
        if out is not None:
            kind = kinds.OUT_OF_RANGE
        else:
            kind = kinds.UNUSUAL if since is None else kinds.kind_of(window[:, channel], expected, since, floor=floor)
        return Look(kind, channel, observed, expected, shares)

    def _row(self, b: int, led: list[tuple[int, float]]) -> Look:
        """A look at a row of a table: what was seen in the columns that lead, and what is usual in the first of them."""
        encoder = self._model.features
        if encoder is None or self._originals is None or not led or not encoder.usual:
            return Look(kinds.UNUSUAL, led[0][0] if led else 0, shares=led)
        row = self._originals[int(self._scored.index[b])]
        seen = [encoder.number_of(c, row[c]) for c, _ in led] + [np.nan] * (LEADING - len(led))
        column = led[0][0]
        usual = encoder.number_of(column, encoder.usual[column])
        return Look(kinds.UNUSUAL, column, seen[0], usual, led, (seen[1], seen[2]))

    def shares(self, b: int) -> list[tuple[int, float]]:
        """The `LEADING` channels (of a table: named columns) and their shares in the score, the greatest first; empty where there is nothing to share."""
        if self._scored.contributions is None:
            return []
        if b not in self._leading:
            at = self._near(b)
            leading = zip(*self._leading_of(self._scored.contributions[at]), strict=True)
            for k, (order, shares) in zip(at.tolist(), leading, strict=True):
                self._leading[k] = [(c, share) for c, share in zip(order, shares, strict=True) if share > 0]
        self._asked += 1
        return self._leading[b]

    def _near(self, b: int) -> NDArray[np.intp]:
        """Of which observations what leads is found together with that of b: of the more, the more of the last ones were asked about."""
        self._size = min(2 * self._size, MOST) if 2 * self._asked >= self._size else FEWEST
        self._asked = 0
        at = self._wanted[int(np.searchsorted(self._wanted, b)) :][: self._size]
        return at if len(at) and at[0] == b else np.array([b])

    def _leading_of(self, parts: NDArray[np.float32]) -> tuple[list[list[int]], list[list[float]]]:
        """Of contributions (k, C) which channels lead, and their shares."""
        if self._model.features is not None:
            parts = self._model.features.by_feature(parts)
        if parts.shape[1] < 2:
            return [[]] * len(parts), [[]] * len(parts)
        order = np.argsort(-parts, axis=1, kind="stable")[:, :LEADING]
        total = parts.sum(axis=1, dtype=np.float64)
        of = np.where((total > 0) & (total < np.inf), total, np.inf)
        return order.tolist(), (np.take_along_axis(parts, order, axis=1) / of[:, None]).tolist()

    def _window(self, b: int) -> NDArray[np.float64]:
        """What the detectors saw, at most (T, C), in the unit of the input."""
        first, behind = self._scored.spans[b].tolist()
        return self._scored.packed[first:behind]

    def _farthest(self, b: int, window: NDArray[np.float64]) -> int:
        """The channel that is farthest from what was expected, or from what is usual, by its own spread in the window."""
        if window.shape[1] == 1:
            return 0
        middle = np.median(window, axis=0)
        spread = np.median(np.abs(window - middle), axis=0)
        expected = middle if self._scored.expected is None else self._scored.expected[b]
        off = np.abs(self._scored.observed[b] - np.where(np.isnan(expected), middle, expected))
        return int(np.argmax(np.nan_to_num(off / np.maximum(spread, 1e-9 * np.abs(middle) + 1e-300))))


def members_of(scored: Scored, at: NDArray[np.intp]) -> NDArray[np.int64]:
    """Of observations `at` (k,) the members that say so, or whose own calibrated score reaches the level, as bits."""
    if scored.said is not None:
        said = scored.said[at, :MEMBERS]
    else:
        level = np.where(np.isnan(scored.level[at]), AT_LEVEL, scored.level[at])
        said = scored.calibrated[at, :MEMBERS] >= level[:, None]
    return np.asarray(said @ (1 << np.arange(said.shape[1])))
