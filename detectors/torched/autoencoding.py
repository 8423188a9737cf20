"""The network of the dense autoencoders, and what their training adds."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from detectors.torched.training import Batch

if TYPE_CHECKING:
    from detectors.autoencoder import AutoencoderConfig

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


class DenseNetwork(nn.Module):
    """Layers up to and with the code, and those behind it."""

    def __init__(self, shown: int, values: int, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = [shown, *config.layers, values]
        steps: list[nn.Module] = []
        for a, b in pairwise(widths):
            steps += [nn.Linear(a, b), ACTIVATIONS[config.activation]()]
        code = 2 * (len(config.layers) // 2 + 1)
        if getattr(config, "penalty", "l1") == "kl":  # a mean activation is a chance only between 0 and 1
            steps[code - 1] = nn.Sigmoid()
        self.encoder = nn.Sequential(*steps[:code])
        self.decoder = nn.Sequential(*steps[code:-1])

    def forward(self, seen: Tensor) -> Tensor:
        """From what the encoder is shown to what the network gives."""
        return self.decoder(self.encoder(seen))  # type: ignore[no-any-return]


def divergence(used: Tensor, target: float) -> Tensor:
    """Sum over units of KL(target || used), both taken as the chance that a unit is on; `used` (K,) in 0..1.

    >>> import torch
    >>> round(float(divergence(torch.tensor([0.05, 0.5]), 0.05)), 4)
    0.4946
    """
    used = used.clamp(1e-6, 1 - 1e-6)
    return (target * (target / used).log() + (1 - target) * ((1 - target) / (1 - used)).log()).sum()


def with_noise(seen: Tensor, deviation: float, batch: Batch) -> Tensor:
    """What a denoising autoencoder's encoder is shown in training."""
    return seen + deviation * torch.randn(seen.shape, generator=batch.noise).to(seen.device)
