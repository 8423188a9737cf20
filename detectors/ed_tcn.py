"""Encoder-decoder TCN: causal convolutions and pooling on the way in, upsampling on the way out.

Lea, Flynn, Vidal, Reiter, Hager, "Temporal Convolutional Networks for Action Segmentation and Detection", CVPR 2017.

    (T, C) ─ conv ─ pool ─▶ (T/2, 16) ─ conv ─ pool ─▶ (T/4, 8) ─ conv ─ pool ─▶ (T/8, 2) ─ upsample ─ conv ─▶ ... ─▶ (T, C)

`ed-tcn` is told nothing and scores by reconstruction; its few channels at T/8 are the code. `ed-tcn-classifier` is fitted
on labels: the mean over time of what the decoder says of each position. Of a row of a table the features are the
sequence. Departures: weight-normalised convolutions (`detectors.torched.convolution`) and ReLU for the paper's normalised ReLU;
one label for a window instead of one for each position.

Examples
--------
>>> import numpy as np
>>> from detectors.ed_tcn import EDTCN, EDTCNConfig
>>> from detectors.networks import TrainingConfig
>>> wave = np.sin(np.arange(200) / 3.0)
>>> windows = np.lib.stride_tricks.sliding_window_view(wave, 12)[:, :, None]
>>> detector = EDTCN(EDTCNConfig(window=12, filters=(8, 2), training=TrainingConfig(epochs=2)))
>>> report = detector.fit(windows)
>>> detector.score(windows[:5]).raw.shape
(5,)
"""

from __future__ import annotations

from itertools import pairwise
from types import MappingProxyType
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from detectors.base import Width
from detectors.classifier import Classifier, ClassifierConfig, SequenceClassifier
from detectors.reconstruction import Reconstruction, ReconstructionConfig
from detectors.torched.convolution import CausalConv


class EDTCNConfig(ReconstructionConfig):
    """Settings of the encoder-decoder TCN."""

    window: int = Field(48, ge=1, le=1_000_000)
    filters: tuple[Width, ...] = Field((16, 8, 2), min_length=1, max_length=32)
    """Filters of each convolution on the way in; each halves the length."""
    kernel: int = Field(5, ge=2)


class _EncoderDecoder(nn.Module):
    """From (T, B, W) to (T, B, out)."""

    def __init__(self, width: int, out: int, filters: tuple[int, ...], kernel: int) -> None:
        super().__init__()
        widths = [width, *filters]
        back = [*reversed(filters), filters[0]]
        self.down = nn.ModuleList(CausalConv(a, b, kernel) for a, b in zip(widths, filters, strict=False))
        self.up = nn.ModuleList(CausalConv(a, b, kernel) for a, b in pairwise(back))
        self.out = nn.Linear(filters[0], out)

    def forward(self, x: Tensor) -> Tensor:
        y, lengths = x, []
        for conv in self.down:
            lengths.append(len(y))
            y = _pool(nn.functional.relu(conv(y)))
        for conv, length in zip(self.up, reversed(lengths), strict=True):
            # Each position twice; of an odd length the first once.
            y = y[:, None].expand(-1, 2, -1, -1).flatten(0, 1)[-length:].contiguous()
            y = nn.functional.relu(conv(y))
        return self.out(y)  # type: ignore[no-any-return]


def _pool(x: Tensor) -> Tensor:
    """Larger of each two positions of x (T, B, C), counted from the last; of an odd length the first stays alone."""
    if len(x) % 2:
        x = torch.cat([x[:1], x])
    return x.view(-1, 2, *x.shape[1:]).amax(dim=1)


class EDTCN(Reconstruction):
    """Scores by the reconstruction error of an encoder-decoder TCN."""

    name = "ed-tcn"
    summary = "encoder-decoder TCN: reconstruction error of windows or rows"
    Config = EDTCNConfig
    config: EDTCNConfig
    tile = 64
    unit_test_params = MappingProxyType(
        {"window": 12, "filters": (8, 3), "kernel": 3, "training": {"epochs": 15, "learning_rate": 0.01}}
    )

    def _build(self) -> nn.Module:
        c = self.config
        C = 1 if c.window == 1 else c.channels
        return _EncoderDecoder(C + c.covariates, C, c.filters, c.kernel)

    def _rebuild(self, network: Any, seen: Tensor) -> Tensor:
        c = self.config
        C = 1 if c.window == 1 else c.channels
        sequence = seen[:, : self.values].view(len(seen), -1, C).transpose(0, 1)  # (T, B, C), of a row (C, B, 1)
        known = seen[:, self.values :].expand(len(sequence), -1, -1)  # (T, B, F)
        rebuilt = network(torch.cat([sequence, known], dim=2))
        return rebuilt.transpose(0, 1).flatten(1)  # type: ignore[no-any-return]


class EDTCNClassifierConfig(ClassifierConfig):
    """Settings of the encoder-decoder TCN classifier."""

    filters: tuple[Width, ...] = Field((16, 32), min_length=1, max_length=32)
    """Filters of each convolution on the way in; each halves the length."""
    kernel: int = Field(5, ge=2)


class _MeanOverTime(nn.Module):
    def __init__(self, over: nn.Module) -> None:
        super().__init__()
        self.over = over

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.over(x)).mean(dim=0)  # (B, H)


class EDTCNClassifier(Classifier):
    """Scores by the log-odds of an encoder-decoder TCN that was fitted on labels."""

    name = "ed-tcn-classifier"
    summary = "supervised: encoder-decoder TCN fitted on labels, log-odds of windows or rows"
    Config = EDTCNClassifierConfig
    config: EDTCNClassifierConfig
    unit_test_params = MappingProxyType(
        {"channels": 5, "filters": (8, 8), "kernel": 3, "training": {"epochs": 15, "learning_rate": 0.01, "trim": 0.0}}
    )

    def _build(self) -> nn.Module:
        c = self.config
        hidden = c.filters[0]
        encoder = _MeanOverTime(_EncoderDecoder(self.sequence_width, hidden, c.filters, c.kernel))
        return SequenceClassifier(encoder, hidden, c.limit)
