"""Streams most of whose series come once and never again: a label that is another in every record makes a series of each, and none is ever learnt."""

from __future__ import annotations

from collections import defaultdict

MANY = 100
"""Series of a stream that must have come once before it is told."""

_WHY = (
    "{once:,} of {series:,} series came once and not again for an hour, so nothing is learnt of them and nothing is scored: is a label another in every record? "
    "`tidewatch formats kafka:TOPIC` names it; set fields.labels, or [[intake]] drop_labels"
)


class Once:
    """Takes what each partition holds, says of which streams it is too much."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int], tuple[int, int]] = {}

    def tell(self, stream: str, partition: int, series: int, once: int) -> None:
        """How many series a partition holds, and how many of them came once and never again."""
        self._held[stream, partition] = (series, once)

    def forget(self, stream: str, partition: int) -> None:
        """The partition was given away."""
        self._held.pop((stream, partition), None)

    def found(self) -> dict[str, str]:
        """Stream -> what is to be said of it."""
        of = defaultdict[str, list[tuple[int, int]]](list)
        for (stream, _), held in self._held.items():
            of[stream].append(held)
        sums = {stream: [sum(column) for column in zip(*held, strict=True)] for stream, held in of.items()}
        return {
            stream: _WHY.format(once=once, series=series)
            for stream, (series, once) in sums.items()
            if once >= MANY and 2 * once > series
        }
