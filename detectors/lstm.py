"""LSTM forecaster: a recurrent network reads the context and predicts the next observation.

Malhotra, Vig, Shroff, Agarwal, "Long Short Term Memory Networks for Anomaly Detection in Time Series", ESANN 2015.
Departures: one layer instead of two stacked ones, one step ahead instead of several, and no Gaussian of the errors
(calibration does that per series, and without the assumption).

Examples
--------
>>> import numpy as np
>>> from detectors.lstm import LSTM, LSTMConfig
>>> from detectors.networks import TrainingConfig
>>> wave = np.sin(np.arange(200) / 3.0)
>>> windows = np.lib.stride_tricks.sliding_window_view(wave, 12)[:, :, None]
>>> detector = LSTM(LSTMConfig(window=12, hidden=8, training=TrainingConfig(epochs=3)))
>>> report = detector.fit(windows)
>>> spike = windows[:2].copy()
>>> spike[1, -1] += 5.0
>>> raw = detector.score(spike).raw
>>> bool(raw[1] > raw[0])
True
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from detectors.forecaster import Forecaster, ForecasterConfig, Steps
from detectors.programs import Program, Rows, Weights, filled

if TYPE_CHECKING:
    from torch import nn


class LSTMConfig(ForecasterConfig):
    """Settings of the LSTM forecaster."""

    hidden: int = Field(32, ge=1)
    """Units of the LSTM."""


class LSTM(Forecaster):
    """Scores by how far an observation lies from what an LSTM expects after the ones before it."""

    name = "lstm"
    summary = "LSTM forecaster: residual of the next observation's prediction"
    Config = LSTMConfig
    config: LSTMConfig
    tile = 128
    captured = True
    unit_test_params = MappingProxyType({"window": 12, "hidden": 8, "training": {"epochs": 15, "learning_rate": 0.01}})

    def _encoder_shapes(self) -> tuple[dict[str, tuple[int, ...]], int]:
        H, gates = self.config.hidden, 4 * self.config.hidden
        shapes: dict[str, tuple[int, ...]] = {
            "lstm.weight_ih_l0": (gates, self.step_width),
            "lstm.weight_hh_l0": (gates, H),
            "lstm.bias_ih_l0": (gates,),
            "lstm.bias_hh_l0": (gates,),
        }
        return shapes, H

    def _encode(self, program: Program, weights: Weights, steps: Steps, state: Rows) -> bool:
        W, H = self.step_width, self.config.hidden
        table = np.concatenate([weights["lstm.weight_ih_l0"], weights["lstm.weight_hh_l0"]], axis=1)
        bias, kept = weights["lstm.bias_l0"], len(steps) if program.keeps else 1
        gates, memory = program.room(kept * filled(4 * H)), program.room(kept * H)
        seen = [program.room(W + H) for _ in steps]  # the step's, and what was said in the one before
        for t, step in enumerate(steps):
            step(seen[t].part(0, W))
            of = seen[t] if t else seen[t].part(0, W)
            at = t if program.keeps else 0
            here = program.layer(of, table[:, : of.n], bias, gates.part(at * filled(4 * H), filled(4 * H)))
            program.cell(
                here, memory.part(at * H, H), seen[t + 1].last(H) if t + 1 < len(steps) else state, begins=not t
            )
        return True

    def _encoder(self) -> tuple[nn.Module, int]:
        from detectors.torched.forecasting import LSTMEncoder

        return LSTMEncoder(self.step_width, self.config.hidden), self.config.hidden
