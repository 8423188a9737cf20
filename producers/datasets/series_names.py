"""Which columns tell series apart, where nobody said: the fewest that make times unique, usual names first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from producers.datasets import names
from producers.datasets.columns import MOST_COLUMNS, ROWS_EACH, Cells, numbers_of, plain
from producers.datasets.numbers import switches

AGAIN = 0.02
"""Share of the rows whose time may stand in another row too, in one series: clocks set back, rows written twice."""
_STRONG = frozenset(names.SERIES[: names.SERIES.index("id")])
"""Names that tell series apart even where no time comes again."""


def names_one(cells: Cells, name: str) -> bool:
    """Whether a column that is called as what tells series apart holds one word everywhere, `up` too, which else is a switch."""
    if not cells.is_text(name) or plain(name) not in names.SERIES or cells.different(name, 1) > 1:
        return False
    return switches(cells.present(name, 1)) is not None and cells.plain_numbers(name) is None


def series_columns(cells: Cells, times: NDArray[np.int64], taken: Iterable[str]) -> tuple[tuple[str, ...], float]:
    """The columns that together tell series apart, and the share of the rows whose time still comes again within a series.

    Usual names first: the fewest of them that make times unique. Where no time comes again, only a column of a usual name of several
    values, each in several rows, is taken.
    """
    if cells.sheet.series:
        return cells.sheet.series, 0.0
    n, free = len(times), [name for name in cells.names if name not in set(taken)]
    place = {name: i for i, name in enumerate(names.SERIES)}
    codes: dict[str, NDArray[np.int32]] = {}
    for name in free:
        if plain(name) in names.UNITS or pa.types.is_nested(cells.table[name].type):
            continue  # of the value, not of the series; lists
        words = plain(name).split("_")
        named = plain(name) in place or words[-1] == "id"
        if (named and (not cells.is_numeric(name) or _whole(cells, name))) or not cells.is_numeric(name):
            code, values = pd.factorize(cells.text(name)[0])
            if 1 < len(values) <= max(2, n // 2):
                codes[name] = code.astype(np.int32)
    ranked = sorted(codes, key=lambda c: (place.get(plain(c), len(names.SERIES)), free.index(c)))
    strong = [
        c
        for c in ranked
        if plain(c) in _STRONG and n >= ROWS_EACH * (codes[c].max() + 1) and switches(cells.present(c)) is None
    ]
    again = _again(times, [])
    if again <= AGAIN:
        chosen: list[str] = []
        groups = 1
        for name in strong:
            more = _groups([codes[c] for c in [*chosen, name]])
            if not cells.is_numeric(name) and more > groups and n >= ROWS_EACH * more:
                chosen, groups = [*chosen, name], more
        return tuple(chosen), 0.0
    best: tuple[tuple[str, ...], float] = ((), again)
    for size in range(1, min(len(ranked), MOST_COLUMNS) + 1):
        for some in combinations(ranked[:12], size):
            left = _again(times, [codes[c] for c in some])
            if left <= AGAIN / 2 and left < best[1]:
                best = some, left
                if left == 0.0:
                    break
        if best[0]:
            break
    return best


def _whole(cells: Cells, name: str) -> bool:
    number = numbers_of(cells, name)
    return bool(np.isfinite(number).all() and not (number % 1).any())


def _groups(codes: Sequence[NDArray[np.int32]]) -> int:
    return len(pd.DataFrame(dict(enumerate(codes))).drop_duplicates())


def _again(times: NDArray[np.int64], codes: Sequence[NDArray[np.int32]]) -> float:
    if _all_rise(times, codes):
        return 0.0
    frame = pd.DataFrame({"t": times, **{str(i): c for i, c in enumerate(codes)}})
    again = frame.duplicated()
    return float(again.mean()) if again.sum() > 1 else 0.0


def _all_rise(times: NDArray[np.int64], codes: Sequence[NDArray[np.int32]]) -> bool:
    """Whether times only rise within each group: then none comes again. Asked first, as it takes a tenth of the memory of finding those that do."""
    group, groups = np.zeros(len(times), np.int64), 1
    for code in codes:
        many = int(code.max(initial=0)) + 1
        groups *= many
        if groups > np.iinfo(np.int64).max:
            return False
        group = group * many + code
    if groups == 1:
        return bool((times[1:] > times[:-1]).all())
    if groups < 1 << 15:
        group = group.astype(np.int16)  # sorted by its digits
    order = np.argsort(group, kind="stable")
    group, in_order = group[order], times[order]
    return bool(((in_order[1:] > in_order[:-1]) | (group[1:] != group[:-1])).all())
