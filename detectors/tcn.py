"""Dilated TCN forecaster: causal convolutions with dilations 1, 2, 4, 8 predict the next observation.

Bai, Kolter, Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling",
arXiv:1803.01271: residual blocks of two weight-normalised causal convolutions. Departures: no dropout (the
networks are small and stop early), and only what reaches the last position is computed.

The last point is exact, not an approximation: behind a block only every second position, counted from the end, is ever
looked at again, so the others are dropped and the next dilation of 2 becomes a dilation of 1. Half the positions a block
remain.

    block 1, dilation 1    . . . . . . . .
    block 2, dilation 2      .   .   .   .
    block 3, dilation 4          .       .
    forecast                             .

Examples
--------
>>> import numpy as np
>>> from detectors.networks import TrainingConfig
>>> from detectors.tcn import TCN, TCNConfig
>>> wave = np.sin(np.arange(200) / 3.0)
>>> windows = np.lib.stride_tricks.sliding_window_view(wave, 12)[:, :, None]
>>> detector = TCN(TCNConfig(window=12, hidden=8, blocks=2, training=TrainingConfig(epochs=3)))
>>> report = detector.fit(windows)
>>> detector.score(windows[:5]).expected.shape
(5, 1)
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.forecaster import Forecaster, ForecasterConfig, Steps
from detectors.programs import PLUS, RELU, Program, Rows, Weights, filled

if TYPE_CHECKING:
    from torch import nn


class TCNConfig(ForecasterConfig):
    """Settings of the TCN forecaster."""

    hidden: int = Field(16, ge=1)
    """Channels of every convolution."""
    blocks: int = Field(4, ge=1, le=20)
    """Residual blocks; block i has dilation 2^i. Receptive field: 1 + 2 (kernel - 1) (2^blocks - 1)."""
    kernel: int = Field(3, ge=2)


class TCN(Forecaster):
    """Scores by how far an observation lies from what dilated causal convolutions expect after the ones before it."""

    name = "tcn"
    summary = "dilated TCN forecaster: residual of the next observation's prediction"
    Config = TCNConfig
    config: TCNConfig
    tile = 128
    captured = True
    unit_test_params = MappingProxyType(
        {"window": 12, "hidden": 8, "blocks": 2, "training": {"epochs": 15, "learning_rate": 0.01}}
    )

    def _encoder_shapes(self) -> tuple[dict[str, tuple[int, ...]], int]:
        c, shapes = self.config, dict[str, tuple[int, ...]]()
        for i in range(c.blocks):
            wide, of = (c.hidden if i else self.step_width), f"encoder.blocks.{i}"
            for name, channels in (("first", wide), ("second", c.hidden)):
                shapes[f"{of}.{name}.direction"] = c.kernel, channels, c.hidden
                shapes[f"{of}.{name}.gain"] = shapes[f"{of}.{name}.bias"] = (c.hidden,)
            if wide != c.hidden:
                shapes |= {f"{of}.around.weight": (c.hidden, wide), f"{of}.around.bias": (c.hidden,)}
        return shapes, c.hidden

    def _encode(self, program: Program, weights: Weights, steps: Steps, state: Rows) -> bool:
        pitch = self.step_width
        x = program.room(len(steps) * pitch)
        for t, step in enumerate(steps):
            step(x.part(t * pitch, pitch))
        *others, last = (_Block.of(weights, f"encoder.blocks.{i}.") for i in range(self.config.blocks))
        for block in others:
            x, pitch = block.compose(program, x, pitch)
        last.compose(program, x, pitch, state)
        return True

    def _encoder(self) -> tuple[nn.Module, int]:
        from detectors.torched.forecasting import TCNEncoder, TimeFirst

        c = self.config
        return TimeFirst(TCNEncoder(self.step_width, c.hidden, c.blocks, c.kernel)), c.hidden


class _Convolution(NamedTuple):
    """A causal convolution, as part of a program."""

    taps: NDArray[np.float32]
    """(K, C, filters), the newest first."""
    bias: NDArray[np.float32]

    @classmethod
    def of(cls, weights: Weights, name: str) -> _Convolution:
        return cls(weights[name + "taps"], weights[name + "bias"])

    def compose(self, program: Program, x: Rows, pitch: int, at: int, into: Rows) -> Rows:
        """Put what it says at position `at` of x, `pitch` rows each, into a program."""
        taps = self.taps[: at + 1][::-1]  # the farthest first
        table = np.zeros((len(self.bias), len(taps), pitch), np.float32)
        table[:, :, : taps.shape[1]] = taps.transpose(2, 0, 1)
        seen = x.part((at + 1 - len(taps)) * pitch, len(taps) * pitch)
        return program.layer(seen, table.reshape(len(table), -1), self.bias, into)


class _Block(NamedTuple):
    """A residual block, as part of a program."""

    first: _Convolution
    second: _Convolution
    around: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    """Weights and bias of the way around the convolutions; None: it leaves what comes as it is."""

    @classmethod
    def of(cls, weights: Weights, name: str) -> _Block:
        around = weights.get(name + "around.weight"), weights.get(name + "around.bias")
        return cls(
            _Convolution.of(weights, name + "first."),
            _Convolution.of(weights, name + "second."),
            None if around[0] is None or around[1] is None else (around[0], around[1]),
        )

    def compose(self, program: Program, x: Rows, pitch: int, state: Rows | None = None) -> tuple[Rows, int]:
        """Put it into a program: of x, `pitch` rows for a position, what it says at every second, counted from the last, or at the last one into `state`; with its own pitch."""
        n, wide = x.n // pitch, filled(len(self.second.bias))
        kept = range((n - 1) % 2, n, 2) if state is None else range(n - 1, n)
        out = program.room(len(kept) * wide) if state is None else state
        between, kernel = program.room(n * wide), len(self.second.taps)
        for t in sorted({of - lag for of in kept for lag in range(min(kernel, of + 1))}):
            program.each(RELU, self.first.compose(program, x, pitch, t, between.part(t * wide, wide)))
        for i, t in enumerate(kept):
            y = out.part(i * wide, wide)
            told = self.second.compose(program, between, wide, t, program.room(wide) if program.keeps else y)
            program.each(RELU, told, y.part(0, told.n))
            seen = x.part(t * pitch, self.first.taps.shape[1])
            if self.around is not None:
                seen = program.layer(seen, *self.around)
            program.each(RELU, program.each(PLUS, seen, y))
        return out, wide
