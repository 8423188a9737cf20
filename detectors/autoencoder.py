"""Autoencoders of dense layers: what cannot be rebuilt from a narrow code is anomalous.

Hinton, Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 313 (2006); for anomalies:
Sakurada, Yairi, "Anomaly Detection Using Autoencoders with Nonlinear Dimensionality Reduction", MLSDA 2014.
Departure: the training loss is trimmed (`detectors.networks`).

    x (T*C values, F covariates) ── 32 ── 8 ── 32 ── T*C values; score = root mean square of the difference

The covariates of the judged position (time of day) help the encoder and are not rebuilt.

Examples
--------
>>> import numpy as np
>>> from detectors.autoencoder import Autoencoder, AutoencoderConfig
>>> rng = np.random.default_rng(0)
>>> rows = rng.normal(size=(400, 1, 2)) @ rng.normal(size=(2, 6))   # six columns, but two degrees of freedom
>>> detector = Autoencoder(AutoencoderConfig(channels=6, layers=(4, 2, 4)))
>>> report = detector.fit(rows)
>>> odd = np.concatenate([rows[:1], rng.normal(size=(1, 1, 6)) * 3.0])
>>> raw = detector.score(odd).raw
>>> bool(raw[1] > raw[0])
True
"""

from __future__ import annotations

from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from detectors.networks import NetworkConfig, NetworkDetector

Judged = Literal["window", "last"]


class AutoencoderConfig(NetworkConfig):
    """Settings of the dense autoencoder."""

    layers: tuple[int, ...] = Field((32, 8, 32), min_length=1)
    """Widths of the hidden layers, the code among them; input and output follow from window and channels."""
    activation: Literal["tanh", "relu"] = "tanh"
    judged: Judged = "window"
    """Whose reconstruction error is the score: the whole window's, or its last position's."""
    limit: float = 8.0
    """Input is clipped to this many scaled units; the difference is taken to the input as it came."""


class _Network(nn.Module):
    def __init__(self, values: int, covariates: int, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = [values + covariates, *config.layers, values]
        activation = {"tanh": nn.Tanh, "relu": nn.ReLU}[config.activation]
        steps: list[nn.Module] = []
        for a, b in pairwise(widths):
            steps += [nn.Linear(a, b), activation()]
        self.steps = nn.Sequential(*steps[:-1])
        self.limit = config.limit

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(x.clamp(-self.limit, self.limit))  # type: ignore[no-any-return]


class Autoencoder(NetworkDetector):
    """Scores by the reconstruction error of a dense autoencoder, over windows or over rows of a table."""

    name = "autoencoder"
    summary = "dense autoencoder: reconstruction error of windows or rows"
    Config = AutoencoderConfig
    config: AutoencoderConfig
    kinds = frozenset({"windows", "rows"})
    # 48-32-8-32-48 on one core: 2.9 M windows/s in tiles of 256, 4.6 M in tiles of 512 (0.11 ms for a batch of one).
    tile = 512
    unit_test_params = MappingProxyType({"channels": 5, "layers": (4, 2, 4), "training": {"epochs": 30}})

    @property
    def _values(self) -> int:
        return self.config.window * self.config.channels

    def _build(self) -> nn.Module:
        return _Network(self._values, self.config.covariates, self.config)

    def _flat(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (B, T*C), and what the encoder sees: values and the last position's covariates."""
        C = self.config.channels
        if self.config.covariates == 0:
            values = x.flatten(1)
            return values, values
        values = x[:, :, :C].flatten(1)
        return values, torch.cat([values, x[:, -1, C:]], dim=1)

    def _losses(self, network: Any, x: Tensor, generator: torch.Generator) -> Tensor:
        values, seen = self._flat(x)
        rebuilt: Tensor = network(seen)
        return (rebuilt - values).square().mean(dim=1)

    def _judge(self, network: Any, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        C = self.config.channels
        values, seen = self._flat(x)
        rebuilt = network(seen)
        squares = (rebuilt - values).square()
        if self.config.judged == "last":
            squares = squares[:, -C:]
        raw = squares.mean(dim=1).sqrt()
        per_channel = squares.view(len(x), -1, C).mean(dim=1)
        # Shares of the squared score, in the unit of the score: they sum to it.
        shares = per_channel / (C * raw.clamp_min(1e-12))[:, None]
        return raw, rebuilt[:, -C:], shares
