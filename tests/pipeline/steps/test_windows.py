from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_windows import NaiveWindows
from numpy.typing import NDArray

from detectors import calibration, registry
from detectors.model import Model
from detectors.scaling import SeriesScaling
from pipeline.settings import StreamSettings
from pipeline.steps.batches import Observations, Pushed
from pipeline.steps.state import PartitionState
from pipeline.steps.windows import COMPONENT, SeriesWindows

START = 1_404_172_800_000
STEP = 300_000
LIMIT = 20 * STEP
NAMES = ("a", "b", "known", "irregular")


def model(
    T: int, C: int = 1, *, features: bool = False, method: str = "standard", learn_rows: int = 5, kind: str = "metric"
) -> Model:
    known = {n: np.array([[1.0] * C, [2.0] * C]) for n in ("known", "irregular")} if method != "none" else {}
    return Model(
        kind=kind,  # type: ignore[arg-type]
        detectors=(registry.create("constant", window=T, channels=C, covariates=4 * features),),
        calibrator=calibration.create("gaussian-tail"),
        scaling=SeriesScaling(method=method, known=known, learn_rows=learn_rows),
        features=None,
        time_features=("day", "week") if features else (),
        aggregation="mean",
        training_rows={},
        calibrations={},
        interval_ms={"known": STEP, "irregular": 0},
    )


def stream(fill_gaps: int = 3, future_limit: float = LIMIT / 1000) -> StreamSettings:
    return StreamSettings(name="s", model="m", fill_gaps=fill_gaps, future_limit=future_limit)  # type: ignore[arg-type]


class Run:
    """Pushes records (series, time, values) into a partition of its own, in the given cuts."""

    def __init__(self, of: Model, settings: StreamSettings | None = None) -> None:
        self.windows = SeriesWindows(of, settings or stream())
        self.state = PartitionState({COMPONENT: self.windows.dtype}, max_series=100)
        self.counts: Counter[str] = Counter()

    def push(self, records: list[tuple[str, int, list[float]]]) -> Pushed:
        series = [r[0] for r in records]
        observations = Observations(
            offsets=np.arange(len(records)),
            series=series,
            timestamps=np.array([r[1] for r in records], np.int64),
            values=np.array([r[2] for r in records], np.float64).reshape(len(records), -1),
        )
        rows, new = self.state.rows_of(series)
        pushed = self.windows.push(self.state, observations, rows, new)
        self.counts.update(pushed.counts)
        return pushed

    def slot(self, name: str) -> NDArray[Any]:
        row = self.state.row_of(name)
        assert row is not None
        return self.state.arrays[COMPONENT][row]


def at(*positions: float, series: str = "known") -> list[tuple[str, int, list[float]]]:
    """Records of one series at so many steps after the start; the value is the position."""
    return [(series, START + round(p * STEP), [float(p)]) for p in positions]


# The property that matters most: for every cut of the stream, all that comes out and all that is kept equals the oracle's.

ODD_STEPS = (0.0, -1.0, 0.95, 1.04, 1.5, 1.6, 2.0, 3.0, 4.0, 5.0, 9.0, 19.0, 21.0, 60.0, -25.0)


def random_stream(seed: int, n: int, C: int) -> list[tuple[str, int, list[float]]]:
    """n records of four series, calm or rough, with steps back, repetitions, gaps, jumps and enormous values."""
    rng = random.Random(seed)
    odds = rng.choice([0.0, 0.02, 0.3])
    positions = dict.fromkeys(NAMES, 0.0)
    records = []
    for _ in range(n):
        name = rng.choice(NAMES)
        step = rng.choice(ODD_STEPS) if rng.random() < odds else rng.choice([1.0, 1.0, 1.02])
        time = START + round((positions[name] + step) * STEP)
        if rng.random() > odds / 4:  # else the next step starts where this one did: a record out of line
            positions[name] += step
        scale = rng.choice([0.0, 1.0, 1.0, 1e300])
        records.append((name, time, [rng.gauss(0, 1) * scale for _ in range(C)]))
    return records


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


def windows_of(pushed: Pushed) -> list[list[float]]:
    w = pushed.windows
    return [w.packed[s : s + w.x.shape[1], 0].tolist() for s in w.starts]


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


def test_a_gap_is_filled_with_the_last_value_flagged_and_not_scored() -> None:
    #   0  1  2  .  .  5  6  7  8
    #   +  +  +  2  2  W  W  W  W
    #                  f  f  f      the window holds filled values
    run = Run(model(4))
    pushed = run.push(at(0, 1, 2, 5, 6, 7, 8))
    assert windows_of(pushed) == [[2, 2, 2, 5], [2, 2, 5, 6], [2, 5, 6, 7], [5, 6, 7, 8]]
    assert pushed.windows.filled.tolist() == [True, True, True, False]
    assert pushed.windows.index.tolist() == [3, 4, 5, 6]
    assert pushed.windows.ordinals.tolist() == [4, 5, 6, 7]
    assert run.counts["filled"] == 2


def test_filled_values_have_their_own_time_of_day() -> None:
    pushed = Run(model(4, features=True)).push(at(0, 1, 3))
    exact = Run(model(4, features=True)).push(at(0, 1, 2, 3))
    assert pushed.windows.x[0, :, 1:].tolist() == exact.windows.x[0, :, 1:].tolist()


def test_filled_values_keep_the_usual_step_of_their_time() -> None:
    # One batch holds a filled gap, and then a new usual step that is learnt: as if in two.
    def times(*steps: int) -> list[tuple[str, int, list[float]]]:
        return [("known", START + s * STEP, [float(s)]) for s in np.cumsum(steps).tolist()]

    records = times(0, 1, 1, 3, *[7] * 40)
    of = model(100, features=True)
    whole, parted = Run(of), Run(of)
    whole.push(records)
    parted.push(records[:4])
    parted.push(records[4:])
    assert whole.counts["filled"] == 2
    assert (int(whole.slot("known")["decided"]), int(whole.slot("known")["interval"])) == (1, 7 * STEP)
    assert whole.slot("known").tobytes() == parted.slot("known").tobytes()


def test_a_longer_gap_starts_the_window_anew() -> None:
    #   0  1  2  3  .  .  .  .  8  9  10 11
    #   +  +  W  W              +  +  W  W
    run = Run(model(3))
    pushed = run.push(at(0, 1, 2, 3, 8, 9, 10, 11))
    assert windows_of(pushed) == [[0, 1, 2], [1, 2, 3], [8, 9, 10], [9, 10, 11]]
    assert run.counts["restarted"] == 1


def test_a_jump_is_held_over_the_batch_and_confirmed_in_the_next() -> None:
    #   0  1  2  ......... 50h | 51 52 53
    #   +  +  W                | +  W  W     the window starts anew with the held one
    run = Run(model(3))
    pushed = run.push(at(0, 1, 2, 50))
    assert pushed.accepted.tolist() == [True, True, True, False]
    assert windows_of(run.push(at(51, 52, 53))) == [[50, 51, 52], [51, 52, 53]]
    assert run.slot("known")["ordinal"] == 7
    assert (run.counts["held"], run.counts["confirmed"]) == (1, 1)


def test_only_times_that_the_one_before_vouches_for_are_vouched_for() -> None:
    # A first observation may have any time: alone it must not move the partition's event time.
    run = Run(model(3))
    assert run.push(at(10**6) + at(0, 1, series="a")).vouched.tolist() == [False, False, True]
    assert run.push(at(0, 1, 90, 1)).vouched.tolist() == [True, True, False, False]


def test_an_unknown_series_is_scored_once_its_scaling_is_learnt() -> None:
    run = Run(model(2, learn_rows=4))
    pushed = run.push([("new", START + i * STEP, [v]) for i, v in enumerate([1.0, 3.0, 1.0, 3.0, 4.0])])
    assert pushed.windows.index.tolist() == [3, 4]
    assert pushed.windows.x[:, :, 0].tolist() == [[-1.0, 1.0], [1.0, 2.0]]
    rows = pushed.windows.rows
    assert run.windows.unscale(run.state, rows, np.array([[1.0], [-2.0]], np.float32)).tolist() == [[3.0], [0.0]]


def test_enormous_values_can_be_scored() -> None:
    pushed = Run(model(2)).push([("known", START, [1e308]), ("known", START + STEP, [-1e308])])
    assert pushed.windows.x[0, :, 0].tolist() == [1e6, -1e6]


def test_rows_of_a_table_are_all_accepted_and_their_ordinal_is_their_identity() -> None:
    run = Run(model(1, 2, method="none", kind="table"))
    records = [("http", START, [1.0, 2.0]), ("smtp", START - STEP, [3.0, 4.0]), ("http", START, [5.0, 6.0])]
    pushed = run.push(records)
    assert pushed.accepted.all()
    assert pushed.windows.ordinals.tolist() == [1, 1, 2]
    assert pushed.windows.x[:, 0].tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert run.push([("http", START - 99 * STEP, [7.0, 8.0])]).windows.ordinals.tolist() == [3]
    assert run.windows.dtype.itemsize <= 40


def test_a_row_far_ahead_is_scored_but_does_not_vouch_for_its_time() -> None:
    run = Run(model(1, method="none", kind="table"))
    assert run.push(at(0, 1, 500, 2, 3)).vouched.tolist() == [False, True, False, True, True]


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
    values = [100.0, 400.0, 1000.0, 60.0, 7.0]
    observations = Observations(
        offsets=np.arange(5),
        series=["known"] * 4 + ["gauge"],
        timestamps=START + np.arange(5) * STEP,
        values=np.array(values)[:, None],
        totals=np.array([True, True, True, True, False]),
    )
    rows, new = run.state.rows_of(observations.series)
    pushed = run.windows.push(run.state, observations, rows, new)
    assert pushed.accepted.tolist() == [False, True, True, True, True]
    assert pushed.counts["first_total"] == 1
    assert pushed.windows.index.tolist() == [2, 3]
    assert windows_of(pushed) == [[1.0, 2.0], [2.0, 0.2]]
    assert observations.values[1:, 0].tolist() == [1.0, 2.0, 0.2, 7.0]


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


def test_idle_rows_are_those_far_behind_the_watermark() -> None:
    run = Run(model(3))
    run.push([*at(0), *at(5, series="a"), *at(9, series="b")])
    assert run.windows.idle_rows(run.state, START + 9 * STEP, 4 * STEP).tolist() == [0]
    run.state.drop([0])
    assert run.windows.idle_rows(run.state, START + 9 * STEP, 3 * STEP).tolist() == [1]


def test_what_is_kept_beside_the_window_is_small() -> None:
    for C in (1, 3):
        extra = SeriesWindows(model(48, C), stream()).dtype.itemsize - 47 * 8 * C
        assert extra == 48 + 24 * C


def test_pages_of_the_series_are_marked_as_written() -> None:
    run = Run(model(3))
    run.push(at(0))
    run.state.clean()
    run.push(at(1))
    assert any(f.startswith("page:") for f in run.state.snapshot())


def test_behind_missed_records_a_window_starts_anew_however_near_the_event_times_are() -> None:
    series = Run(model(T=4))
    series.push(at(*range(6)))
    assert len(series.push(at(6)).windows) == 1
    series.windows.start_anew(series.state)
    pushed = series.push(at(7, 8, 9))
    assert (len(pushed.windows), pushed.counts["restarted"]) == (0, 1)
    pushed = series.push(at(10))
    assert windows_of(pushed) == [[7.0, 8.0, 9.0, 10.0]]


def test_behind_missed_records_nothing_is_filled_in_and_late_ones_are_late() -> None:
    series = Run(model(T=4))
    series.push(at(*range(6)))
    series.windows.start_anew(series.state)
    pushed = series.push(at(3))
    assert (pushed.counts["late"], pushed.counts["restarted"]) == (1, 0)
    pushed = series.push(at(8, 9))  # 6 and 7 are missing: few enough to be filled in otherwise
    assert (pushed.counts["filled"], pushed.counts["restarted"]) == (0, 1)
    assert series.slot("known")["size"] == 2
    whole, cut = Run(model(T=4)), Run(model(T=4))
    for one in (whole, cut):
        one.push(at(*range(6)))
        one.windows.start_anew(one.state)
    whole.push(at(8, 9, 10, 11))
    for minute in (8, 9, 10, 11):
        cut.push(at(minute))
    assert whole.state.snapshot(everything=True) == cut.state.snapshot(everything=True)


def test_rows_of_a_table_have_no_window_that_could_reach_across() -> None:
    series = Run(model(kind="table", T=1, method="none"))
    series.push(at(0, 1))
    before = series.state.snapshot(everything=True)
    series.windows.start_anew(series.state)
    assert series.state.snapshot(everything=True) == before
