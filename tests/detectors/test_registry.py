"""Detectors by name, brought when they are asked for."""

from __future__ import annotations

import subprocess
import sys

from detectors.registry import DETECTORS


def test_a_detector_stands_under_its_own_name() -> None:
    assert {name: kind.name for name, kind in DETECTORS.items()} == {name: name for name in DETECTORS}
    assert "zscore" in DETECTORS
    assert "z" not in DETECTORS
    assert len(DETECTORS) == len(list(DETECTORS))


def test_a_detector_of_numpy_alone_is_trained_and_scores_without_torch() -> None:
    code = (
        "import sys, numpy as np; from detectors.recipes import METRIC; from detectors.registry import create\n"
        "rows = (np.arange(400) * 60_000, np.random.default_rng(0).normal(size=400))\n"
        "model = METRIC.of('zscore').train_metric({'a': rows})\n"
        "model.detectors[0].score(np.zeros((1, model.window, 1 + len(model.time_features)), np.float32))\n"
        "print('torch' in sys.modules); create('lstm'); print('torch' in sys.modules); create('gru'); print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False", "False", "True"]  # an LSTM is known by its shapes until it is fitted; a GRU is not
