"""Rows that lie beside their pages: whatever is written, lost, dropped and read back, what is stored is what was held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from pipeline.errors import ForeignState
from pipeline.steps.state import PAGE, PartitionState
from pipeline.steps.stored import journal, pieces
from pipeline.steps.stored.journal import COMPACTED, SEGMENTS, Journal
from pipeline.steps.stored.pieces import Piece, folded

COMPONENTS = {
    "windows": np.dtype([("values", "<f8", (3,)), ("count", "<i4")]),
    "alerts": np.dtype([("state", "u1"), ("since", "<i8")]),
}
OTHER = {**COMPONENTS, "windows": np.dtype([("values", "<f8", (2,)), ("count", "<i4")])}


def fresh(components: dict[str, np.dtype[Any]] = COMPONENTS) -> PartitionState:
    return PartitionState(components, max_series=100_000)


def fill(state: PartitionState, names: list[str], value: int) -> None:
    rows, _ = state.rows_of(names)
    state.arrays["windows"]["count"][rows] = value
    state.arrays["alerts"]["since"][rows] = value
    state.touch(rows)


def filled(series: int) -> tuple[PartitionState, dict[str, bytes]]:
    """So many series that are stored, and what is."""
    state = fresh()
    fill(state, [str(i) for i in range(series)], 1)
    return state, checkpoint(state, {})


def checkpoint(state: PartitionState, stored: dict[str, bytes]) -> dict[str, bytes]:
    stored = stored | state.snapshot()
    state.clean()
    return stored


def segments(fields: dict[str, bytes]) -> set[int]:
    return {Piece.unpacked(name, value).number for name, value in fields.items() if name.startswith("rows:") and value}


@contextmanager
def small_numbers() -> Iterator[None]:
    """Pages of six rows, of which up to three go beside it, five segments at most."""
    with (
        patch("pipeline.steps.state.PAGE", 6),
        patch.object(journal, "SEGMENTS", 5),
        patch.object(journal, "COMPACTED", 0.7),
        patch.object(journal, "SPARED", 0.1),
    ):
        yield


class StoredLikeHeld(RuleBasedStateMachine):
    """A state, what is stored of it, and a dict that says what both should hold."""

    names = st.lists(st.integers(0, 40).map(str), min_size=1, max_size=4)

    @initialize()
    def start(self) -> None:
        self.state = fresh()
        self.stored: dict[str, bytes] = {}
        self.plain: dict[str, int] = {}
        self.plain_stored: dict[str, int] = {}
        self.value = 0

    @rule(names=names)
    def write_some(self, names: list[str]) -> None:
        self.value += 1
        fill(self.state, names, self.value)
        self.plain |= dict.fromkeys(names, self.value)

    @rule(first=st.integers(0, 30), count=st.integers(5, 30))
    def write_many(self, first: int, count: int) -> None:
        self.write_some([str(i) for i in range(first, first + count)])

    @rule(names=names)
    def drop(self, names: list[str]) -> None:
        self.state.drop(r for n in names if (r := self.state.row_of(n)) is not None)
        for name in names:
            self.plain.pop(name, None)

    @rule(times=st.integers(1, 4), names=names)
    def checkpoints(self, times: int, names: list[str]) -> None:
        for _ in range(times):
            self.write_some(names)
            self.stored = checkpoint(self.state, self.stored)
        self.plain_stored = dict(self.plain)

    @rule()
    def checkpoint_that_fails(self) -> None:
        self.state.snapshot()

    @rule()
    def write_everything(self) -> None:
        self.stored = self.state.snapshot(everything=True)
        self.state.clean(everything=True)
        self.plain_stored = dict(self.plain)

    @rule()
    def crash(self) -> None:
        self.plain, components = dict(self.plain_stored), self.state.components
        self.state = fresh(components)
        if self.stored:
            self.state.restore(self.stored)

    @rule(names=names)
    def other_components(self, names: list[str]) -> None:
        """One component begins anew with another layout, the others go on."""
        self.state = self.state.carried(
            OTHER if self.state.components == COMPONENTS else COMPONENTS, max_series=100_000
        )
        fill(self.state, list(self.plain), 0)
        self.plain = dict.fromkeys(self.plain, 0)
        self.checkpoints(1, names)

    @invariant()
    def held_is_what_was_written(self) -> None:
        assert holds(self.state) == self.plain

    @invariant()
    def stored_is_what_was_stored(self) -> None:
        if self.stored:
            again = fresh(self.state.components)
            again.restore(self.stored)
            assert holds(again) == self.plain_stored
            assert again.snapshot(everything=True) == folded(self.stored)

    @invariant()
    def stored_with_the_changes_is_what_is_held(self) -> None:
        again = fresh(self.state.components)
        again.restore(self.stored | self.state.snapshot())
        assert again.snapshot(everything=True) == self.state.snapshot(everything=True)

    @invariant()
    def no_more_segments_than_slots(self) -> None:
        assert len(segments(self.stored)) <= journal.SEGMENTS


def holds(state: PartitionState) -> dict[str, int]:
    found = {n: r for n in map(str, range(70)) if (r := state.row_of(n)) is not None}
    for array, column in ((state.arrays["windows"], "count"), (state.arrays["alerts"], "since")):
        values = {n: int(array[column][r]) for n, r in found.items()}
    return values if found else {}


def run(examples: int) -> None:
    """With no search for the shortest failure: that takes minutes."""
    with small_numbers():
        run_state_machine_as_test(
            StoredLikeHeld,
            settings=settings(
                max_examples=examples, stateful_step_count=25, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip


def test_whatever_happens_what_is_stored_is_what_was_held() -> None:
    run(120)


def newest_first(packed: Callable[..., Any]) -> Callable[..., Any]:
    return lambda fields: packed(fields)[::-1]


def unmarked(plan: Callable[..., Any]) -> Callable[..., Any]:
    def planned(*arguments: Any) -> journal.Plan:
        made: journal.Plan = plan(*arguments)
        return made._replace(marks=made.marks[:0])

    return planned


def never_late(plan: Callable[..., Any]) -> Callable[..., Any]:
    def planned(self: Journal, *arguments: Any) -> journal.Plan:
        with patch.object(journal, "SEGMENTS", 1 << 30):
            made: journal.Plan = plan(self, *arguments)
        return made

    return planned


def taken_for_stored(plan: Callable[..., Any]) -> Callable[..., Any]:
    def planned(self: Journal, *arguments: Any) -> journal.Plan:
        made: journal.Plan = plan(self, *arguments)
        self.stored(made)
        return made

    return planned


def kept_for_good(plan: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, dirty, page, kept: plan(self, dirty, page, 1 << 30)


@pytest.mark.parametrize(
    ("where", "name", "defect"),
    [
        pytest.param((pieces, journal), "pieces_of", newest_first, id="segments in the wrong order"),
        pytest.param(Journal, "plan", unmarked, id="a page that is written does not take its rows out of segments"),
        pytest.param(Journal, "plan", never_late, id="more segments than are read at a start"),
        pytest.param(Journal, "plan", taken_for_stored, id="what was planned is taken for stored"),
        pytest.param(Journal, "plan", kept_for_good, id="rows beside a page that is not stored"),
        pytest.param(Journal, "drop", lambda _: lambda self: None, id="a journal that outlives everything"),
    ],
)  # fmt: skip
def test_a_defect_is_found(where: Any, name: str, defect: Callable[..., Any]) -> None:
    with ExitStack() as stack:
        for one in where if isinstance(where, tuple) else (where,):
            stack.enter_context(patch.object(one, name, defect(getattr(one, name))))
        stack.enter_context(pytest.raises((AssertionError, ForeignState, ExceptionGroup)))
        run(200)


def test_few_rows_of_a_page_go_beside_it_and_many_in_it() -> None:
    state, _ = filled(3 * PAGE)
    few = int(PAGE / (1 + COMPACTED))
    fill(state, [str(i) for i in range(few)], 2)
    fill(state, [str(PAGE + i) for i in range(few + 1)], 2)
    assert set(state.snapshot()) == {"scalars", "page:1", "rows:0", "journal"}


def test_a_page_that_was_never_stored_is_written_whole() -> None:
    state, stored = filled(PAGE)
    fill(state, ["new"], 2)
    assert set(state.snapshot()) == {"scalars", "page:1", "names:1"}
    stored = checkpoint(state, stored)
    fill(state, ["newer"], 2)
    assert set(state.snapshot()) == {"scalars", "names:1", "rows:0", "journal"}


def test_nothing_is_said_of_a_journal_where_there_is_none() -> None:
    state, stored = filled(2 * PAGE)
    assert set(stored) == {"scalars", "page:0", "page:1", "names:0", "names:1"}
    assert folded(stored) == stored == state.snapshot(everything=True)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.08, 0.3, 1.0])
def test_rows_cost_at_most_three_times_their_bytes_and_the_journal_stays_short(share: float) -> None:
    """In any order, once pages have been written at different times; before, and then too, the journal is bounded."""
    series, chance = 20_000, np.random.default_rng(1)
    state, _ = filled(series)
    count, row = int(series * share), state.bytes_per_series
    written, longest, checkpoints = [], 0, max(int(3 / share), 4)
    for n in range(checkpoints):
        rows = chance.choice(series, count, replace=False)
        state.arrays["windows"]["count"][rows] = n
        state.touch(rows)
        fields = state.snapshot()
        state.clean()
        written.append(sum(len(v) for k, v in fields.items() if k.startswith(("page:", "rows:", "journal"))))
        longest = max(longest, sum(state._journal.lengths.values()))
    few = 200 / (count * row)  # the head of a segment, and numbers of rows beside rows of 37 bytes
    assert np.mean(written[checkpoints // 2 :]) / (count * row) < 1.02 * (1 + COMPACTED) + 4 / row + few
    assert longest <= (1 / COMPACTED + journal.SPARED) * series
    assert max(written) < 1.1 * (1 + COMPACTED) * count * row + 2 * PAGE * row


def test_where_always_the_same_rows_change_no_pages_are_written() -> None:
    state, stored = filled(100 * PAGE)
    for n in range(30):
        fill(state, [str(i) for i in range(0, 100 * PAGE, 16)], n)
        fields = state.snapshot()
        stored = checkpoint(state, stored)
        assert not [name for name in fields if name.startswith("page:")]
    assert segments(stored) == {30}
    assert (
        7 <= sum(name.startswith("rows:") for name in stored) <= 14
    )  # an eighth of a page each, in pieces; emptied ones are used again


def test_single_rows_fill_no_more_than_the_ring() -> None:
    state, stored = filled(2 * SEGMENTS)
    with patch.object(journal, "SEGMENTS", 64):
        for i in range(300):
            fill(state, [str(7 * i)], 2)
            stored = checkpoint(state, stored)
        assert len(segments(stored)) <= 64
        again = fresh()
        again.restore(stored)
    assert again.snapshot(everything=True) == state.snapshot(everything=True) == folded(stored)


def test_what_a_version_of_fewer_segments_wrote_is_read() -> None:
    state, stored = filled(20 * PAGE)
    with patch.object(journal, "SEGMENTS", 7):
        for i in range(10):
            fill(state, [str(40 * i)], 2)
            stored = checkpoint(state, stored)
    again = fresh()
    again.restore(stored)
    assert again.snapshot(everything=True) == state.snapshot(everything=True)


def journaled() -> dict[str, bytes]:
    state, stored = filled(2 * PAGE)
    for i in range(3):
        fill(state, [str(i)], 7)
        stored = checkpoint(state, stored)
    return stored


@pytest.mark.parametrize("lost", ["rows:0", "rows:1", "rows:2"])
def test_a_lost_segment_is_noticed(lost: str) -> None:
    stored = journaled()
    assert lost in stored
    del stored[lost]
    for read in (fresh().restore, folded):
        with pytest.raises(ForeignState, match=r"incomplete or damaged.*tidewatch state reset"):
            read(stored)


@pytest.mark.parametrize("field", ["rows:2", "journal"])
def test_damage_is_noticed(field: str) -> None:
    stored = journaled()
    whole = stored[field]
    for damage in (b"\xff", whole[:-1], whole[: len(whole) // 2], whole + b"x", b"\0" * 30, whole[:8] + b"\xff" * 20):
        for read in (fresh().restore, folded):
            with pytest.raises(ForeignState):
                read({**stored, field: damage})


def test_a_lost_journal_is_noticed() -> None:
    stored = journaled()
    del stored["journal"]
    for read in (fresh().restore, folded):
        with pytest.raises(ForeignState, match="journal"):
            read(stored)


def test_rows_beyond_the_pages_are_noticed() -> None:
    state, stored = filled(2 * PAGE)
    fill(state, [str(PAGE + 1)], 7)
    stored = checkpoint(state, stored)
    short = {name: value for name, value in stored.items() if name not in ("page:1", "names:1")}
    for read in (fresh().restore, folded):
        with pytest.raises(ForeignState, match="damaged"):
            read(short)


def test_a_journal_of_another_layout_is_refused() -> None:
    state, stored = filled(PAGE)
    fill(state, ["1"], 7)
    other = fresh(OTHER)
    fill(other, [str(i) for i in range(PAGE)], 1)
    with pytest.raises(ForeignState, match="layout"):
        fresh(OTHER).restore(checkpoint(state, stored) | {"page:0": other.snapshot()["page:0"]})


def test_numbers_go_on_when_everything_was_written() -> None:
    state, stored = filled(2 * PAGE)
    fill(state, ["1"], 7)
    checkpoint(state, stored)
    stored = state.snapshot(everything=True)
    state.clean(everything=True)
    assert not segments(stored)
    fill(state, ["2"], 8)
    stored = checkpoint(state, stored)
    assert msgspec.json.decode(stored["journal"]) == [2, 2]
    assert folded(stored) == state.snapshot(everything=True)
