"""A column in one buffer is a list of byte strings to whoever looks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.steps.batches.binary import BinaryColumn, concatenated

strings = st.lists(st.tuples(st.none() | st.binary(max_size=4), st.none() | st.binary(max_size=4)), max_size=6)


def columns_of(pairs: list[tuple[bytes | None, bytes | None]]) -> tuple[BinaryColumn, BinaryColumn]:
    """Keys and values as a batch has them: one behind the other, with something between."""
    data, places = b"", np.empty((2, 2, len(pairs)), np.int64)
    for i, pair in enumerate(pairs):
        for j, value in enumerate(pair):
            data += b"-"
            places[j, :, i] = len(data), -1 if value is None else len(data) + len(value)
            data += value or b""
    keys, values = (BinaryColumn(data, *of) for of in places)
    return keys, values


@given(pairs=strings, start=st.integers(0, 6), stop=st.integers(0, 6))
def test_it_is_what_a_list_is(pairs: list[tuple[bytes | None, bytes | None]], start: int, stop: int) -> None:
    for column, wanted in zip(columns_of(pairs), ([k for k, _ in pairs], [v for _, v in pairs]), strict=True):
        assert list(column) == column.listed() == [column[i] for i in range(len(column))] == wanted
        assert list(column[start:stop]) == wanted[start:stop]
        assert column.has_none == (None in wanted)
        assert column.size == sum(len(v) for v in wanted if v is not None)
        assert column.longest == max((len(v) for v in wanted if v is not None), default=0)


@given(parts=st.lists(st.tuples(strings, st.booleans()), min_size=1, max_size=4))
def test_parts_concatenated_are_all_of_them(parts: list[tuple[list[tuple[bytes | None, bytes | None]], bool]]) -> None:
    given_as = [([k for k, _ in p], [v for _, v in p]) if listed else columns_of(p) for p, listed in parts]
    keys, values = concatenated(given_as)
    assert list(zip(keys, values, strict=True)) == [pair for p, _ in parts for pair in p]
    assert isinstance(values, BinaryColumn) != any(listed for _, listed in parts)


def test_a_number_that_is_no_place_is_told() -> None:
    with pytest.raises(IndexError):
        columns_of([(b"k", b"v")])[0][1]
