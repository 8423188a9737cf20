"""How far a partition has seen each source whose observations come by way of somebody who may write them twice.

    message: source a, (7, 0) (7, 1) (8, 0)        newest of a: (7, 0)   ──▶  (7, 0) is dropped, the others count; newest of a: (8, 0)

Whoever reads a source and writes it on (the intake) may die before it remembers how far it came, or be a zombie beside its successor. What
it wrote then comes again, in rising position. So a position that is not behind the newest of its source was seen, and is left out before
anything counts it.

The table is part of the state: fields `sources:<n>`, pages of 128. It is bounded: for a source too many, the one goes that was not heard of for
longest, in the order of the log. So it is a function of the log, however that is cut, for a message is never cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.steps.batches.observations import Stretch

PAGE = 128
MAX_SOURCES = 4096
"""Sources whose position a partition keeps."""
PREFIX = "sources:"

_Row = tuple[str, int, int, int]  # source, offset, number, the message that it was last heard in
_rows = msgspec.json.Decoder(list[_Row])


class Positions:
    """Newest position of each source, of one partition."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []
        self._at: dict[str, int] = {}
        self._dirty: set[int] = set()

    def __len__(self) -> int:
        return len(self._rows)

    def newest(self, source: str) -> tuple[int, int]:
        """Offset and number of the last observation that was seen of a source; (-1, -1) of one that is not known."""
        at = self._at.get(source)
        return (-1, -1) if at is None else self._rows[at][1:3]

    def unseen(self, stretches: Sequence[Stretch], offsets: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Which of N observations were not seen before; they are from now on. None: none were.

        Parameters
        ----------
        offsets : (N,)
            Of the messages that the observations are of.
        """
        seen: NDArray[np.bool_] | None = None
        for stretch in stretches:
            new = self._take(stretch, int(offsets[stretch.start]))
            if not new.all():
                seen = np.zeros(len(offsets), np.bool_) if seen is None else seen
                seen[stretch.start : stretch.stop] = ~new
        return None if seen is None else ~seen

    def _take(self, stretch: Stretch, message: int) -> NDArray[np.bool_]:
        known = np.array([self.newest(source) for source in stretch.sources], np.int64)[stretch.source]
        new = (stretch.offset > known[:, 0]) | ((stretch.offset == known[:, 0]) & (stretch.number > known[:, 1]))
        of = np.flatnonzero(new)
        order = of[np.lexsort((stretch.number[of], stretch.offset[of], stretch.source[of]))]
        last = order[np.append(np.diff(stretch.source[order]) != 0, [True] * (len(order) > 0)).astype(np.bool_)]
        for i in last.tolist():
            self._keep(
                (stretch.sources[int(stretch.source[i])], int(stretch.offset[i]), int(stretch.number[i]), message)
            )
        return np.asarray(new)

    def _keep(self, row: _Row) -> None:
        at = self._at.get(row[0])
        if at is None:
            if len(self._rows) < MAX_SOURCES:
                at = len(self._rows)
                self._rows.append(row)
            else:  # a tie, of one message, goes by row
                at = min(range(len(self._rows)), key=lambda r: (self._rows[r][3], r))
                del self._at[self._rows[at][0]]
            self._at[row[0]] = at
        self._rows[at] = row
        self._dirty.add(at // PAGE)

    # As fields of the state

    def fields(self, *, everything: bool) -> dict[str, bytes]:
        """Pages that changed since the last `clean`, or all."""
        pages = range(-(-len(self._rows) // PAGE)) if everything else sorted(self._dirty)
        return {f"{PREFIX}{p}": msgspec.json.encode(self._rows[p * PAGE : (p + 1) * PAGE]) for p in pages}

    def clean(self) -> None:
        """Call when the fields have been stored."""
        self._dirty.clear()

    @classmethod
    def stored(cls, fields: Mapping[str, bytes]) -> Positions:
        """From the fields of a state. Raises KeyError or msgspec.MsgspecError where they are incomplete or damaged."""
        positions = cls()
        for page in range(sum(field.startswith(PREFIX) for field in fields)):
            if len(positions._rows) != page * PAGE:
                raise KeyError(f"{PREFIX}{page - 1}")
            positions._rows += _rows.decode(fields[f"{PREFIX}{page}"])
        positions._at = {row[0]: at for at, row in enumerate(positions._rows)}
        return positions
