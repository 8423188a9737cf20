from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.steps.totals import FIELDS, rates, rates_of_deltas


def rates_of(points: list[tuple[int, int, float]], cuts: list[int]) -> tuple[list[float], list[int], bytes]:
    """Rates of points (row, time, total), in batches that end at the cuts."""
    slots = np.zeros(3, FIELDS)
    out: list[float] = []
    elapsed: list[int] = []
    for start, stop in zip([0, *cuts], [*cuts, len(points)], strict=True):
        if part := points[start:stop]:
            row, time, total = zip(*part, strict=True)
            rate, since = rates(
                slots, np.array(row, np.intp), np.array(time, np.int64), np.array(total), np.zeros(len(row), np.int64)
            )
            out += rate.tolist()
            elapsed += since.tolist()
    return out, elapsed, slots.tobytes()


def test_totals_become_rates_per_second_and_a_restart_has_none() -> None:
    #   total   5 ─10s─ 25 ─10s─ 125 ─5s─ 10 (restarted) ─0s─ 11 ─ -5s ─ 12 ─10s─ 32
    points = [(0, 1_000, 5.0), (0, 11_000, 25.0), (0, 21_000, 125.0), (0, 26_000, 10.0), (0, 26_000, 11.0)]
    out, elapsed, _ = rates_of([*points, (0, 21_000, 12.0), (0, 31_000, 32.0)], [])
    assert out == pytest.approx([np.nan, 2.0, 10.0, np.nan, np.nan, np.nan, 2.0], nan_ok=True)
    assert elapsed == [1_000, 10_000, 10_000, 5_000, 0, -5_000, 10_000]


def test_what_is_not_finite_is_no_rate() -> None:
    out, _, _ = rates_of([(0, 1, -1e308), (0, 2, 1e308), (0, 3, 1e308)], [])
    assert out == pytest.approx([np.nan, np.nan, 0.0], nan_ok=True)


def test_no_totals_have_no_rates() -> None:
    assert rates_of([], [])[:2] == ([], [])
    slots = np.zeros(2, FIELDS)
    rate, elapsed = rates(slots, np.empty(0, np.intp), np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))
    assert (rate.tolist(), elapsed.tolist()) == ([], [])


def test_a_count_that_began_behind_the_point_before_has_no_rate_though_it_is_higher() -> None:
    slots, none = np.zeros(1, FIELDS), np.zeros(4, np.intp)
    times = np.array([10_000, 20_000, 30_000, 40_000], np.int64)
    rate, _ = rates(slots, none, times, np.array([5.0, 25.0, 90.0, 110.0]), np.array([0, 0, 25_000, 25_000], np.int64))
    assert rate.tolist() == pytest.approx([np.nan, 2.0, np.nan, 2.0], nan_ok=True)


def test_a_sender_that_gives_each_point_its_own_time_as_its_start_says_nothing_by_it() -> None:
    slots, rows, times = np.zeros(1, FIELDS), np.zeros(3, np.intp), np.array([10_000, 20_000, 30_000], np.int64)
    rate, _ = rates(slots, rows, times, np.array([5.0, 25.0, 35.0]), times)
    assert rate.tolist() == pytest.approx([np.nan, 2.0, 1.0], nan_ok=True)


def test_deltas_are_rates_over_their_own_time() -> None:
    times, begun = np.array([10_000, 30_000, 30_000, 40_000]), np.array([0, 10_000, 30_000, 50_000])
    out = rates_of_deltas(times, np.array([20.0, 20.0, 1.0, 1.0]), begun)
    assert out.tolist() == pytest.approx([2.0, 1.0, np.nan, np.nan], nan_ok=True)


points = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 50), st.floats(-1e308, 1e308)), max_size=30)


@settings(max_examples=150)
@given(points=points, cuts=st.lists(st.integers(0, 30), max_size=4))
def test_rates_do_not_depend_on_the_cut(points: list[tuple[int, int, float]], cuts: list[int]) -> None:
    whole, one_by_one = rates_of(points, []), rates_of(points, list(range(1, len(points))))
    cut = rates_of(points, sorted(min(c, len(points)) for c in cuts))
    assert repr(cut) == repr(whole) == repr(one_by_one)
