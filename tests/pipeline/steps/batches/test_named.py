"""Names as numbers: they are the texts that they stand for, and find the rows that these find."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.steps.batches.named import Named, taken
from pipeline.steps.batches.observations import Observations
from pipeline.steps.state import PartitionState

TEXTS = ["", *(f"s{i}" for i in range(9))]
COMPONENTS = {"windows": np.dtype([("count", "<i4")])}


def named(numbers: list[int], texts: list[str] = TEXTS) -> Named:
    return Named(np.array(numbers, np.int64), texts)


def test_they_are_a_sequence_of_their_texts() -> None:
    some = named([3, 1, 3])
    assert some == ["s2", "s0", "s2"]
    assert some != ["s2", "s0"]
    assert (len(some), some[1], some[-1], list(some[1:]), "s0" in some) == (3, "s0", "s2", ["s0", "s2"], True)
    assert list(taken(some, np.array([1, 2]))) == taken(list(some), np.array([1, 2])) == ["s0", "s2"]


def test_observations_are_cut_taken_and_merged_with_them() -> None:
    def of(offsets: list[int], numbers: list[int]) -> Observations:
        n = len(offsets)
        return Observations(np.array(offsets), named(numbers), np.arange(n), np.zeros((n, 1)))

    some = of([0, 2, 4], [1, 2, 3])
    assert some.part(1, 3).series == ["s1", "s2"]
    assert some.take(np.array([0, 2])).series == ["s0", "s2"]
    assert Observations.merged(some, of([1, 3], [5, 1])).series == ["s0", "s4", "s1", "s0", "s2"]


numbers = st.lists(st.integers(1, 9), max_size=12)
steps = st.one_of(
    st.tuples(st.sampled_from("abcdef"), numbers), st.tuples(st.just("drop"), numbers), st.tuples(st.just("restore"), st.just([]))
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=12), st.integers(3, 12))
def test_rows_found_by_number_are_those_found_by_name(steps: list[tuple[str, list[int]]], limit: int) -> None:
    by_number, by_name = (PartitionState(COMPONENTS, max_series=limit) for _ in range(2))
    # Lists of names in orders of their own, as of readers side by side; more than are remembered.
    lists = {which: ["", *np.random.default_rng(ord(which)).permutation(TEXTS[1:]).tolist()] for which in "abcdef"}
    for which, some in steps:
        if which == "drop":
            rows = [i for i in dict.fromkeys(some) if i < len(by_name.names)]
            for state in (by_number, by_name):
                state.drop(rows)
        elif which == "restore":
            by_number.restore(by_number.snapshot(everything=True))
        else:
            found, new = by_number.rows_of(named(some, lists[which]))
            expected, also_new = by_name.rows_of([lists[which][i] for i in some])
            assert (found.tolist(), new) == (expected.tolist(), also_new)
        assert by_number.names == by_name.names


def test_names_that_came_since_have_rows_too() -> None:
    state, texts = PartitionState(COMPONENTS, max_series=1000), ["", "a"]
    assert state.rows_of(named([1, 1], texts))[0].tolist() == [0, 0]
    for i in range(300):  # the list grows, as a reader's does
        texts.append(f"b{i}")
        assert state.rows_of(named([i + 2, 1], texts))[0].tolist() == [i + 1, 0]
    state.drop([0])
    assert state.rows_of(named([2, 1], texts))[0].tolist() == [1, 0]
    assert state.rows_of(named([1], ["", "b7"]))[0].tolist() == [8]
