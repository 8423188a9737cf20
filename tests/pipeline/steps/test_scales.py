"""A series' own unit."""

from __future__ import annotations

import numpy as np
from window_runs import START, STEP, Run, model


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
