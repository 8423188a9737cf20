"""Memory fetched ahead changes nothing, wherever it lies; and windows are the same whether the numbers of a series lie close together or not."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from detectors.compiling import OPTIONS
from detectors.kernels.ahead import fetch, fetch_line
from pipeline.steps.kernels.windows import cut, put
from pipeline.steps.scales import CLIP

compiled = numba.njit(**OPTIONS)  # type: ignore[attr-defined]


@compiled
def fetch_all(array, rows, size):  # type: ignore[no-untyped-def]
    for row in rows:
        fetch(array, row, size)
        fetch_line(array, row, -size)


@pytest.mark.parametrize("shape", [(8,), (4, 2), (2, 2, 2), (0, 0, 1)])
def test_fetching_what_is_there_or_far_away_changes_nothing(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    before = array.tobytes()
    fetch_all(array, np.array([0, 1, 7, -3, 1 << 50, -(1 << 50)]), 1000)
    fetch_all(array[:, None], np.array([0]), 0)
    assert array.tobytes() == before


@compiled
def cut_into(x, before, new, values, minutes, scaling, table):  # type: ignore[no-untyped-def]
    cut(x, before, new, values, minutes, scaling, table)


@compiled
def put_into(to, of):  # type: ignore[no-untyped-def]
    put(to, of)


@pytest.mark.parametrize("new", [1, 7, 48])
def test_a_window_is_the_same_bit_by_bit_however_its_numbers_lie(new: int) -> None:
    rng = np.random.default_rng(new)
    wide = rng.normal(size=(48, 3)) * 10.0 ** rng.integers(-3, 6, (48, 3))
    wide[5, 1], wide[6, 1], wide[7, 1] = np.inf, -np.inf, np.nan
    scaling, before = np.array([[[0.3], [2.0]], [[0.1], [1.7]]])[0], rng.normal(size=48).astype(np.float32)
    strided, dense = wide[:, 1:2], np.ascontiguousarray(wide[:, 1:2])
    found = []
    for values in (strided, dense):
        for x in (np.empty(48, np.float32), np.empty(96, np.float32)[::2]):
            cut_into(x, before, new, values, np.zeros(0, np.uint16), scaling, np.zeros((1, 0), np.float32))
            found.append(x.tobytes())
    with np.errstate(invalid="ignore"):
        expected = np.clip((dense[:, 0] - 0.3) / 2.0, -CLIP, CLIP).astype(np.float32)
    assert set(found) == {np.concatenate([before[new:], expected[48 - new :]]).tobytes()}


def test_numbers_are_copied_however_they_lie() -> None:
    of = np.arange(9.0)
    for to in (np.zeros(9), np.zeros(18)[::2], np.zeros(9)[::-1]):
        put_into(to, of)
        assert to.tolist() == of.tolist()
