"""A partition's state: rows found by name, pages that changed, and the way to bytes and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline.errors import ForeignState
from pipeline.steps.state import PAGE, PartitionState, series_of

COMPONENTS = {
    "windows": np.dtype([("values", "<f8", (3,)), ("count", "<i4")]),
    "alerts": np.dtype([("state", "u1"), ("since", "<i8")]),
}


def fresh(max_series: int = 1000) -> PartitionState:
    return PartitionState(COMPONENTS, max_series=max_series)


def fill(state: PartitionState, names: list[str], value: float) -> None:
    rows, _ = state.rows_of(names)
    state.arrays["windows"]["values"][rows] = value
    state.arrays["alerts"]["since"][rows] = int(value)
    state.touch(rows)


def test_rows_are_given_in_order_of_first_appearance_and_kept() -> None:
    state = fresh()
    rows, new = state.rows_of(["b", "a", "b", "c"])
    assert rows.tolist() == [0, 1, 0, 2]
    assert new == [0, 1, 2]
    rows, new = state.rows_of(["c", "a"])
    assert (rows.tolist(), new) == ([2, 1], [])
    assert (len(state), state.row_of("a"), state.row_of("x")) == (3, 1, None)


def test_beyond_the_limit_a_new_series_gets_no_row_and_known_ones_keep_theirs() -> None:
    state = fresh(max_series=2)
    rows, new = state.rows_of(["a", "b", "c", "a"])
    assert rows.tolist() == [0, 1, -1, 0]
    assert new == [0, 1]
    assert state.rows_of(["c", "b"])[0].tolist() == [-1, 1]
    state.max_series = 1
    assert state.rows_of(["c", "b"])[0].tolist() == [-1, 1]


def test_only_what_was_written_to_is_in_a_snapshot() -> None:
    state = fresh()
    fill(state, [f"s{i}" for i in range(3 * PAGE)], 1.0)
    assert set(state.snapshot()) == {"scalars", *(f"{k}:{p}" for k in ("page", "names") for p in range(3))}
    state.clean()
    assert set(state.snapshot()) == {"scalars"}
    fill(state, [f"s{PAGE + i}" for i in range(60)], 2.0)
    assert set(state.snapshot()) == {"scalars", "page:1"}
    assert len(state.snapshot(everything=True)) == 7


def test_a_snapshot_taken_but_not_stored_is_taken_again() -> None:
    state = fresh()
    fill(state, ["a"], 1.0)
    assert state.snapshot() == state.snapshot()


def test_a_dropped_series_leaves_zeros_and_its_row_is_the_next_one_used() -> None:
    state = fresh(max_series=3)
    fill(state, ["a", "b", "c"], 5.0)
    state.clean()
    state.drop([2, 0])
    assert len(state) == 1
    assert not state.arrays["windows"][0]["values"].any()
    assert {"rows:0", "names:0"} <= set(state.snapshot())
    rows, new = state.rows_of(["d", "b", "a"])
    assert rows.tolist() == [0, 1, 2]
    assert new == [0, 2]
    state.drop([1, 1])
    assert state.rows().tolist() == [0, 2]


def test_a_state_of_other_components_is_refused_with_the_mend() -> None:
    state = fresh()
    fill(state, ["a"], 1.0)
    wider = PartitionState({**COMPONENTS, "more": np.dtype("<f8")}, max_series=9)
    with pytest.raises(ForeignState, match=r"another layout .*tidewatch state reset"):
        wider.restore(state.snapshot())
    renamed = PartitionState({"windows": COMPONENTS["windows"], "levels": COMPONENTS["alerts"]}, max_series=9)
    with pytest.raises(ForeignState, match="another layout"):
        renamed.restore(state.snapshot())


@pytest.mark.parametrize("lost", ["names:0", "page:1", "names:1", "scalars"])
def test_a_state_with_a_hole_is_refused(lost: str) -> None:
    state = fresh()
    fill(state, [f"s{i}" for i in range(2 * PAGE)], 1.0)
    fields = state.snapshot()
    del fields[lost]
    with pytest.raises(ForeignState, match=r"incomplete .*tidewatch state reset"):
        fresh().restore(fields)


@pytest.mark.parametrize("field", ["names:0", "page:0", "scalars"])
def test_bytes_that_are_no_state_are_refused(field: str) -> None:
    state = fresh()
    fill(state, ["a"], 1.0)
    for damage in (b"", b"\xff\x00garbage", state.snapshot()[field][:-1]):
        with pytest.raises(ForeignState):
            fresh().restore({**state.snapshot(), field: damage})


def test_a_state_that_was_refused_leaves_what_was_held_untouched() -> None:
    state = fresh()
    fill(state, ["a"], 1.0)
    before = state.snapshot(everything=True)
    with pytest.raises(ForeignState):
        state.restore({**before, "page:0": b"broken"})
    assert state.snapshot(everything=True) == before


def test_the_series_of_a_snapshot_can_be_told_without_its_layout() -> None:
    state = fresh()
    fill(state, ["a", "b", "c"], 1.0)
    state.drop([1])
    assert series_of(state.snapshot()) == ["a", "c"]
    assert series_of({}) == []


def test_what_a_series_costs() -> None:
    assert fresh().bytes_per_series == sum(d.itemsize for d in COMPONENTS.values())


class StoredLikeHeld(RuleBasedStateMachine):
    """Whatever happens, the changed fields put over what was stored before restore exactly what is held."""

    names = st.lists(st.integers(0, 400).map(str), max_size=300)

    @initialize()
    def start(self) -> None:
        self.state = fresh(max_series=300)
        self.stored: dict[str, bytes] = {}
        self.plain: dict[str, float] = {}

    @rule(names=names, value=st.floats(1, 100))
    def write(self, names: list[str], value: float) -> None:
        rows, _ = self.state.rows_of(names)
        known = [n for n, r in zip(names, rows, strict=True) if r >= 0]
        fill(self.state, known, value)
        self.plain |= dict.fromkeys(known, value)
        self.state.scalars["watermark"] = int(value)

    @rule(names=names)
    def drop(self, names: list[str]) -> None:
        self.state.drop(r for n in names if (r := self.state.row_of(n)) is not None)
        for name in names:
            self.plain.pop(name, None)

    @rule()
    def checkpoint(self) -> None:
        self.stored |= self.state.snapshot()
        self.state.clean()

    @rule()
    def crash_and_load(self) -> None:
        self.checkpoint()
        self.state = fresh(max_series=300)
        self.state.restore(self.stored)

    @invariant()
    def held_is_what_was_written(self) -> None:
        found = {
            n: self.state.arrays["windows"]["values"][r, 0]
            for n in self.plain
            if (r := self.state.row_of(n)) is not None
        }
        assert found == self.plain
        assert len(self.state) == len(self.plain)

    @invariant()
    def stored_with_the_changes_restores_the_same(self) -> None:
        again = fresh(max_series=300)
        again.restore(self.stored | self.state.snapshot())
        assert again.snapshot(everything=True) == self.state.snapshot(everything=True)
        assert again.rows().tolist() == self.state.rows().tolist()


TestStoredLikeHeld = StoredLikeHeld.TestCase
TestStoredLikeHeld.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def test_many_series_at_once_have_the_rows_that_they_have_one_by_one() -> None:
    """Free rows first, the lowest of them first; what is held of others moves along as it grows."""
    kept = np.dtype([("a", "<i8"), ("b", "<f4", (3,))])
    together, alone = (PartitionState({"one": kept, "none": np.dtype([])}, max_series=10**6) for _ in range(2))
    for state in (together, alone):
        state.rows_of([f"s{i}" for i in range(300)])
        state.arrays["one"]["a"][:300] = np.arange(300)
        state.drop([7, 3, 200])
    names = [f"n{i}" for i in range(3000)]
    rows, new = together.rows_of(names)
    for name in names:
        alone.rows_of([name])
    assert rows.tolist() == new == [3, 7, 200, *range(300, 3297)]
    assert together.names == alone.names
    assert together.snapshot() == alone.snapshot()
    assert together.arrays["one"]["a"][[2, 299]].tolist() == [2, 299]
