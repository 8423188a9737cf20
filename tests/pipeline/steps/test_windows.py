from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_windows import NaiveWindows
from state_rows import changed_rows
from window_runs import LIMIT, START, STEP, Run, at, model, random_stream, stream, windows_of

from pipeline.settings import StreamSettings
from pipeline.steps.batches.observations import Observations
from pipeline.steps.windows import COMPONENT, SeriesWindows

# The property that matters most: for every cut of the stream, all that comes out and all that is kept equals the oracle's.


@pytest.mark.parametrize(
    ("T", "C", "features", "method"),
    [(4, 1, True, "standard"), (1, 1, False, "standard"), (7, 2, False, "standard"), (3, 1, True, "none")],
)
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 300),
    policy=st.sampled_from([(3, LIMIT), (0, LIMIT), (3, 0), (2, 2 * STEP)]),
    edges=st.sets(st.integers(1, 299), max_size=12),
)
def test_every_cut_of_a_stream_equals_one_record_at_a_time(
    T: int, C: int, features: bool, method: str, seed: int, n: int, policy: tuple[int, int], edges: set[int]
) -> None:
    records = random_stream(seed, n, C)
    fill_gaps, limit = policy
    cuts = [slice(a, b) for a, b in pairwise([0, *sorted(e for e in edges if e < n), n])]
    of = model(T, C, features=features, method=method)
    naive = NaiveWindows(
        T,
        C,
        time_features=features,
        known_scaling=None if method == "none" else dict(of.scaling.known),
        learn_rows=5,
        intervals=dict(of.interval_ms),
        fill_gaps=fill_gaps,
        future_limit=limit,
    )
    expected = [naive.push(*record) for record in records]
    run = Run(of, stream(fill_gaps, limit / 1000))
    for cut in cuts:
        pushed, outcomes = run.push(records[cut]), expected[cut]
        w = pushed.windows
        assert pushed.accepted.tolist() == [o.accepted for o in outcomes]
        assert pushed.vouched.tolist() == [o.vouched for o in outcomes]
        assert pushed.anew.tolist() == [o.anew for o in outcomes]
        assert pushed.ordinals.tolist() == [o.ordinal for o in outcomes]
        assert [pushed.packed[a:b].tolist() for a, b in pushed.spans.tolist()] == [o.so_far for o in outcomes]
        scored = [i for i, o in enumerate(outcomes) if o.x is not None]
        assert w.index.tolist() == scored
        assert w.ordinals.tolist() == [outcomes[i].ordinal for i in scored]
        assert w.filled.tolist() == [outcomes[i].filled for i in scored]
        for b, i in enumerate(scored):
            assert w.x[b].tobytes() == outcomes[i].x.tobytes()  # type: ignore[union-attr]
            assert w.packed[w.starts[b] : w.starts[b] + T].tolist() == outcomes[i].window
    assert {k: v for k, v in run.counts.items() if v} == {k: v for k, v in naive.counts.items() if v}
    for name in {r[0] for r in records}:
        assert run.slot(name).tobytes() == naive.slot(name, run.windows.dtype).tobytes(), name


# The time lines


def test_a_window_ends_in_each_observation_once_it_is_full() -> None:
    #   0  1  2  3  4
    #   +  +  +  W  W
    run = Run(model(4))
    pushed = run.push(at(0, 1, 2, 3, 4))
    assert windows_of(pushed) == [[0, 1, 2, 3], [1, 2, 3, 4]]
    assert pushed.windows.x[:, :, 0].tolist() == [[-0.5, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.5]]  # centre 1, scale 2
    assert pushed.windows.index.tolist() == [3, 4]
    assert pushed.windows.ordinals.tolist() == [4, 5]
    assert run.counts["warming"] == 3


def test_windows_stand_in_log_order_whatever_the_series() -> None:
    mixed = [r for pair in zip(at(0, 1, 2, 3), at(0, 1, 2, 3, series="irregular"), strict=True) for r in pair]
    pushed = Run(model(3)).push(mixed)
    assert pushed.windows.index.tolist() == [4, 5, 6, 7]
    assert pushed.windows.rows.tolist() == [0, 1, 0, 1]


def test_rows_of_a_table_are_all_accepted_and_their_ordinal_is_their_identity() -> None:
    run = Run(model(1, 2, method="none", kind="table"))
    records = [("http", START, [1.0, 2.0]), ("smtp", START - STEP, [3.0, 4.0]), ("http", START, [5.0, 6.0])]
    pushed = run.push(records)
    assert pushed.accepted.all()
    assert pushed.windows.ordinals.tolist() == [1, 1, 2]
    assert pushed.windows.x[:, 0].tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert run.push([("http", START - 99 * STEP, [7.0, 8.0])]).windows.ordinals.tolist() == [3]
    assert run.windows.dtype.itemsize <= 40


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 80), edges=st.sets(st.integers(1, 79), max_size=6))
def test_rows_of_a_table_do_not_depend_on_the_cut(seed: int, n: int, edges: set[int]) -> None:
    records, of = random_stream(seed, n, 3), model(1, 3, method="none", kind="table")
    whole, cut = Run(of), Run(of)
    expected = whole.push(records)
    parts = [cut.push(records[a:b]) for a, b in pairwise([0, *sorted(e for e in edges if e < n), n])]
    assert np.concatenate([p.windows.x for p in parts]).tobytes() == expected.windows.x.tobytes()
    assert np.concatenate([p.windows.ordinals for p in parts]).tolist() == expected.windows.ordinals.tolist()
    assert np.concatenate([p.vouched for p in parts]).tolist() == expected.vouched.tolist()
    assert cut.state.arrays[COMPONENT].tobytes() == whole.state.arrays[COMPONENT].tobytes()
    assert expected.windows.x[:, 0].tolist() == np.clip([r[2] for r in records], -1e6, 1e6).astype("f4").tolist()


def test_running_totals_are_scored_as_rates() -> None:
    run = Run(model(2, method="none"), StreamSettings(name="s", model="m", format="otlp"))  # type: ignore[arg-type]
    values = [100.0, 400.0, 1000.0, 60.0, 360.0, 7.0]
    observations = Observations(
        offsets=np.arange(6),
        series=["known"] * 5 + ["gauge"],
        timestamps=START + np.arange(6) * STEP,
        values=np.array(values)[:, None],
        kinds=np.array([1, 1, 1, 1, 1, 0], np.uint8),
    )
    rows, new = run.state.rows_of(observations.series)
    pushed = run.windows.push(run.state, observations, rows, new)
    assert pushed.accepted.tolist() == [False, True, True, False, True, True]
    assert pushed.counts["first_total"] == 2
    assert pushed.windows.index.tolist() == [2, 4]
    assert windows_of(pushed) == [[1.0, 2.0], [2.0, 1.0]]
    assert observations.values[[1, 2, 4, 5], 0].tolist() == [1.0, 2.0, 1.0, 7.0]


def test_status_says_how_far_a_series_is_and_why_not_further() -> None:
    run = Run(model(6, learn_rows=4))
    run.push([*at(0, 1, 2), *at(0, series="a"), *at(*range(20), series="b")])
    assert [f"{p.series}: {p}" for p in run.windows.status(run.state)] == [
        "known: warming 3/6, 3 more needed (window)",
        "a: warming 1/6, 5 more needed (window)",
        "b: scored",
    ]
    run.push(at(3, 4, 5, 15, 16))
    assert str(run.windows.status(run.state)[0]) == "warming 2/6, 4 more needed (gap)"
    run = Run(model(2, learn_rows=4))
    run.push(at(0, 1, series="a"))
    assert str(run.windows.status(run.state)[0]) == "warming 2/4, 2 more needed (scaling)"


def test_what_is_kept_beside_the_window_is_small() -> None:
    for C in (1, 3):
        extra = SeriesWindows(model(48, C), stream()).dtype.itemsize - 47 * 8 * C
        assert extra == 56 + 24 * C + 17 * (C == 1)


def test_rows_of_the_series_are_marked_as_written() -> None:
    run = Run(model(3))
    run.push(at(0))
    run.state.clean()
    assert changed_rows(run.state) == set()
    run.push(at(1))
    assert changed_rows(run.state) == {0}


def test_rows_of_a_table_have_no_window_that_could_reach_across() -> None:
    series = Run(model(kind="table", T=1, method="none"))
    series.push(at(0, 1))
    before = series.state.snapshot(everything=True)
    series.windows.start_anew(series.state)
    assert series.state.snapshot(everything=True) == before
