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

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from detectors.convolution import ResidualBlock, every_second
from detectors.forecaster import Forecaster, ForecasterConfig
from detectors.programs import Program, Rows


class TCNConfig(ForecasterConfig):
    """Settings of the TCN forecaster."""

    hidden: int = Field(16, ge=1)
    """Channels of every convolution."""
    blocks: int = Field(4, ge=1, le=20)
    """Residual blocks; block i has dilation 2^i. Receptive field: 1 + 2 (kernel - 1) (2^blocks - 1)."""
    kernel: int = Field(3, ge=2)


class Encoder(nn.Module):
    """Residual blocks with dilations 1, 2, 4 ... over a sequence (T, B, W); what the last position says, (B, H)."""

    def __init__(self, width: int, hidden: int, blocks: int, kernel: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(hidden if i else width, hidden, kernel) for i in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """From (T, B, W), contiguous, to (B, H)."""
        y = x
        for i, block in enumerate(self.blocks):
            # Training computes all: the last bits of gradients depend on how many positions there are.
            y = block(every_second(y) if i else y) if self.training else block(y, halved=True)
        return y[-1]  # (B, H)


class _TimeFirst(nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x.transpose(0, 1).contiguous())  # type: ignore[no-any-return]


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

    def _encode(self, program: Program, encoder: Any, steps: Sequence[Callable[[Rows], None]], state: Rows) -> bool:
        pitch = self.step_width
        x = program.room(len(steps) * pitch)
        for t, step in enumerate(steps):
            step(x.part(t * pitch, pitch))
        *others, last = encoder.encoder.blocks
        for block in others:
            x, pitch = block.compose(program, x, pitch)
        last.compose(program, x, pitch, state)
        return True

    def _encoder(self) -> tuple[nn.Module, int]:
        c = self.config
        return _TimeFirst(Encoder(self.step_width, c.hidden, c.blocks, c.kernel)), c.hidden
