"""Restricted Boltzmann machine: what the machine gives a high free energy, and so a low probability, is anomalous.

Smolensky 1986; Hinton, "Training Products of Experts by Minimizing Contrastive Divergence", Neural Computation 14 (2002), and
"A Practical Guide to Training Restricted Boltzmann Machines", 2010. For anomalies: Fiore et al., "Network anomaly detection
with the restricted Boltzmann machine", Neurocomputing 122 (2013).

    Gaussian visible units    F(v) = |v - a|^2 / 2 - sum softplus(b + W'v)
    Bernoulli visible units   F(v) = - a'v         - sum softplus(b + W'v)     v: each column's fitted range as 0..1

Contrastive divergence with k steps is the gradient of F(data) - F(what k Gibbs steps make of the data), the latter held
fast; written so, the shared training loop does it, with Adam's momentum and decoupled weight decay. Departures: Gibbs
steps use the mean of Gaussian visible units instead of a draw, training is trimmed and stops early on the reconstruction
error. Contributions are the squared differences between a value and its mean given the hidden units.

Examples
--------
>>> import numpy as np
>>> from detectors.networks import TrainingConfig
>>> from detectors.rbm import RBM, RBMConfig
>>> rng = np.random.default_rng(0)
>>> rows = rng.normal(size=(400, 1, 5))
>>> detector = RBM(RBMConfig(channels=5, hidden=8, training=TrainingConfig(epochs=5)))
>>> report = detector.fit(rows)
>>> near, far = detector.score(np.array([[[0.0] * 5], [[6.0] * 5]])).raw
>>> bool(near < far)
True
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from detectors.networks import NetworkConfig, NetworkDetector, TrainingConfig
from detectors.torched.training import Batch


class RBMConfig(NetworkConfig):
    """Settings of the restricted Boltzmann machine."""

    visible: Literal["gaussian", "bernoulli"] = "gaussian"
    hidden: int = Field(32, ge=1)
    """Hidden units, binary."""
    steps: int = Field(1, ge=1, le=1000)
    """k: Gibbs steps of contrastive divergence."""
    limit: float = 8.0
    """Values are clipped to this size in training (scaled units); scoring takes them as they are."""
    training: TrainingConfig = TrainingConfig(weight_decay=1e-2)


class _Machine(nn.Module):
    """Weights, and the two conditional means that are all there is to it."""

    low: Tensor
    high: Tensor

    def __init__(self, values: int, config: RBMConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(values, config.hidden).uniform_(-0.02, 0.02))  # (D, H)
        self.visible = nn.Parameter(torch.zeros(values))
        self.hidden = nn.Parameter(torch.zeros(config.hidden))
        # The range of the fitted columns, which Bernoulli units see as 0..1.
        self.register_buffer("low", torch.zeros(values))
        self.register_buffer("high", torch.ones(values))
        self.gaussian = config.visible == "gaussian"

    def shown(self, x: Tensor) -> Tensor:
        """Values (B, D) as the visible units take them."""
        return x if self.gaussian else ((x - self.low) / (self.high - self.low)).clamp(0.0, 1.0)

    def activity(self, v: Tensor) -> Tensor:
        """Mean of the hidden units (B, H)."""
        return torch.sigmoid(torch.addmm(self.hidden, v, self.weight))

    def dream(self, h: Tensor) -> Tensor:
        """Mean of the visible units (B, D)."""
        v = torch.addmm(self.visible, h, self.weight.t())
        return v if self.gaussian else torch.sigmoid(v)

    def free_energy(self, v: Tensor) -> Tensor:
        """Return F(v), (B,)."""
        hidden = nn.functional.softplus(torch.addmm(self.hidden, v, self.weight)).sum(dim=1)
        visible = 0.5 * (v - self.visible).square().sum(dim=1) if self.gaussian else -(v * self.visible).sum(dim=1)
        return visible - hidden


class RBM(NetworkDetector):
    """Scores by the free energy of a restricted Boltzmann machine."""

    name = "rbm"
    summary = "restricted Boltzmann machine: free energy of rows or windows"
    Config = RBMConfig
    config: RBMConfig
    kinds = frozenset({"windows", "rows"})
    tile = 512
    unit_test_params = MappingProxyType(
        {"channels": 5, "hidden": 16, "training": {"epochs": 15, "learning_rate": 0.01}}
    )

    def _build(self) -> nn.Module:
        return _Machine(self.config.window * self.width, self.config)

    def _prepare(self, network: Any, x: Tensor) -> None:
        """Learn the range of each column, without its most extreme hundredths."""
        flat = x.flatten(1).double()
        low, high = (torch.quantile(flat, q, dim=0).float() for q in (0.01, 0.99))
        network.low.copy_(low)
        network.high.copy_(torch.where(high > low, high, low + 1.0))

    def _losses(self, network: Any, batch: Batch) -> Tensor:
        data = network.shown(batch.x.flatten(1).clamp(-self.config.limit, self.config.limit))
        with torch.no_grad():
            v = data
            for _ in range(self.config.steps):
                h = self._draw(network.activity(v), batch.noise)
                v = network.dream(h) if network.gaussian else self._draw(network.dream(h), batch.noise)
        return network.free_energy(data) - network.free_energy(v)  # type: ignore[no-any-return]

    def _held_losses(self, network: Any, batch: Batch) -> Tensor:
        """Reconstruction error: contrastive divergence is no measure of how good a machine is."""
        v = network.shown(batch.x.flatten(1).clamp(-self.config.limit, self.config.limit))
        return (network.dream(network.activity(v)) - v).square().mean(dim=1)  # type: ignore[no-any-return]

    @staticmethod
    def _draw(mean: Tensor, noise: torch.Generator) -> Tensor:
        return (torch.rand(mean.shape, generator=noise).to(mean.device) < mean).to(mean.dtype)

    def _judge(self, network: Any, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        C = self.config.channels
        v = network.shown(x.flatten(1))
        dreamt = network.dream(network.activity(v))
        squares = (dreamt - v).square().view(x.shape)[:, :, :C].mean(dim=1)
        # In units of probability there is nothing to draw a band around.
        expected = dreamt.view(x.shape)[:, -1, :C].contiguous() if network.gaussian else None
        return network.free_energy(v), expected, squares
