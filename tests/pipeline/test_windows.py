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
from pipeline.batches import Observations, Pushed
from pipeline.settings import StreamSettings
from pipeline.state import PartitionState
from pipeline.windows import COMPONENT, SeriesWindows

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

ODD_STEPS = (0.0, -1.0, 0.95, 1.04, 1.6, 2.0, 3.0, 4.0, 5.0, 9.0, 19.0, 21.0, 60.0, -25.0)


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
