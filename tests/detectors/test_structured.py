"""Rows taken and put as bytes are the rows that numpy takes and puts field by field."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.structured import put_rows, rows_at

DTYPE = np.dtype([("level", "<f8"), ("edges", "<u2", (3,)), ("flag", "u1")])  # 15 bytes: nothing in it is aligned
CHOSEN = [np.array([4, 0, 3]), np.array([True, False, False, True, False, True]), np.zeros(0, np.intp)]


def states(seed: int) -> np.ndarray:
    """One member's states (6,) in an array of two members' each: not contiguous."""
    both = np.zeros((6, 2), DTYPE)
    both.view(np.uint8)[:] = np.random.default_rng(seed).integers(0, 256, both.view(np.uint8).shape)
    return both[:, 1]


@pytest.mark.parametrize("at", CHOSEN)
def test_what_is_taken_is_a_copy_with_the_same_bytes(at: np.ndarray) -> None:
    array = states(1)
    taken = rows_at(array, at)
    assert taken.dtype == DTYPE
    assert taken.tobytes() == array[at].tobytes()
    assert not np.shares_memory(taken, array)


@pytest.mark.parametrize("at", CHOSEN)
def test_what_is_put_lies_where_it_belongs_and_nowhere_else(at: np.ndarray) -> None:
    array, other = states(1), states(2)
    expected = array.copy()
    expected[at] = other[at]
    put_rows(array, at, other[at])
    assert array.tobytes() == expected.tobytes()
