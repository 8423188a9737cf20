"""A series' own unit."""

from __future__ import annotations

import numpy as np
import pytest
from window_runs import START, STEP, Run, model, random_stream

from pipeline.steps.windows import COMPONENT


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


@pytest.mark.parametrize(
    ("T", "C", "features"), [(1, 1, False), (5, 1, False), (5, 1, True), (4, 3, False), (4, 2, True)]
)
@pytest.mark.parametrize("method", ["standard", "none"])
def test_compiled_windows_are_those_of_numpy_to_the_bit(T: int, C: int, features: bool, method: str) -> None:
    cut = 0
    for seed in range(8):
        run = Run(model(T, C, features=features, method=method))
        windows = run.push(random_stream(seed, 60, C)).windows
        values = windows.packed[windows.starts[:, None] + np.arange(T)]
        if method != "none":
            scaling = run.state.arrays[COMPONENT]["scaling"][windows.rows]
            with np.errstate(over="ignore"):
                values = (values - scaling[:, :1]) / scaling[:, 1:]
        expected = np.empty(values.shape, np.float32)
        np.clip(values, -1e6, 1e6, out=expected, casting="same_kind")
        cut += len(windows)
        assert windows.x[:, :, :C].tobytes() == expected.tobytes()
    assert cut > 100


def test_of_an_unknown_series_the_range_is_taken_to_be_four_standard_deviations() -> None:
    run = Run(model(2, method="min-max", learn_rows=4))
    run.push([("new", START + i * STEP, [v]) for i, v in enumerate([8.0, 12.0, 8.0, 12.0])])
    assert run.slot("new")["scaling"].tolist() == [[6.0], [8.0]]
