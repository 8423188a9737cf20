"""Variational autoencoder: a code with a distribution; what no likely code explains is anomalous.

Kingma, Welling, "Auto-Encoding Variational Bayes", ICLR 2014; the score is An and Cho's, "Variational Autoencoder based
Anomaly Detection using Reconstruction Probability", SNU 2015: the expectation over codes drawn from the posterior.

    x ── 32 ─┬─ mean (K) ────┐
             └─ log var (K) ─┴─ code = mean + exp(log var / 2) * noise ── 32 ── rebuilt x, once for each draw

    score "error"   root of the mean squared difference, mean over the draws
    score "elbo"    half the sum of squared differences over the fitted variance, mean over the draws, plus the
                    divergence of the posterior from the prior: the bound on -log p(x), constants left out; with
                    cross-entropy its sum instead of the squares

`draw` makes new windows or rows: a code from N(0, 1), decoded (`tidewatch generate`). Codes of the training windows lie there the better, the
nearer `beta` is to 1.

Departure: the noise of scoring is drawn once, when fitting, and is part of the model file, so that scoring is a function.

Examples
--------
>>> import numpy as np
>>> from detectors.networks import TrainingConfig
>>> from detectors.vae import VAE, VAEConfig
>>> rng = np.random.default_rng(0)
>>> rows = rng.normal(size=(400, 1, 2)) @ rng.normal(size=(2, 6))
>>> detector = VAE(VAEConfig(channels=6, hidden=(8,), code=2, training=TrainingConfig(epochs=5)))
>>> report = detector.fit(rows)
>>> detector.arrays()["noise"].shape
(8, 2)
"""

from __future__ import annotations

from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from detectors.base import Width
from detectors.numerics import limited_threads
from detectors.reconstruction import Reconstruction, ReconstructionConfig
from detectors.torched.training import Batch


class VAEConfig(ReconstructionConfig):
    """Settings of the variational autoencoder."""

    hidden: tuple[Width, ...] = Field((32,), max_length=32)
    """Widths of the layers before the code; those behind it are the same, the other way round."""
    code: int = Field(8, ge=1)
    """Dimensions of the code."""
    draws: int = Field(8, ge=1, le=1000)
    """Codes that a score is the mean over."""
    beta: float = Field(0.1, ge=0)
    """Weight of the divergence in training (Higgins et al. 2017); 1 is the paper's."""
    score_by: Literal["error", "elbo"] = "error"


class _Network(nn.Module):
    def __init__(self, shown: int, values: int, config: VAEConfig) -> None:
        super().__init__()
        into = [shown, *config.hidden]
        out = [config.code, *reversed(config.hidden)]
        self.encoder = nn.Sequential(*_layers(into))
        self.mean = nn.Linear(into[-1], config.code)
        self.log_variance = nn.Linear(into[-1], config.code)
        self.decoder = nn.Sequential(*_layers(out), nn.Linear(out[-1], values))
        self.register_buffer("noise", torch.zeros(config.draws, config.code))  # (D, K)
        self.log_scale = nn.Parameter(torch.zeros(()))

    def posterior(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, K) of the code; the latter kept where its exponential is harmless."""
        y = self.encoder(seen)
        return self.mean(y), self.log_variance(y).clamp(-10.0, 10.0)


def _layers(widths: list[int]) -> list[nn.Module]:
    return [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.Tanh())]


def _divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence (B,) of N(mean, variance) from N(0, 1)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1)


class VAE(Reconstruction):
    """Scores by the expected reconstruction error, or by the evidence bound, of a variational autoencoder."""

    name = "vae"
    summary = "variational autoencoder: expected reconstruction error, or ELBO, of windows or rows"
    Config = VAEConfig
    config: VAEConfig
    tile = 256
    unit_test_params = MappingProxyType(
        {"channels": 5, "hidden": (8,), "code": 2, "draws": 4, "training": {"epochs": 15, "learning_rate": 0.01}}
    )

    def _build(self) -> nn.Module:
        return _Network(self.values + self.config.covariates, self.values, self.config)

    def _prepare(self, network: Any, x: Tensor) -> None:
        """Draw the noise of scoring."""
        network.noise.copy_(torch.randn(network.noise.shape))

    def _losses(self, network: Any, batch: Batch) -> Tensor:
        """Minus the bound, divergence weighed by beta, per value: normal or Laplace with a learnt common scale, or Bernoulli, by `loss`."""
        values, seen = self.flat(batch.x)
        mean, log_variance = network.posterior(seen)
        noise = torch.randn(mean.shape, generator=batch.noise).to(mean.device)
        rebuilt = network.decoder(mean + (log_variance / 2).exp() * noise)
        error = self.differences(rebuilt, values)
        if self.config.loss == "cross-entropy":
            likelihood = error
        elif self.config.loss == "absolute":
            likelihood = error * (-network.log_scale).exp() + network.log_scale
        else:
            likelihood = 0.5 * error * (-2.0 * network.log_scale).exp() + network.log_scale
        return likelihood + self.config.beta * _divergence(mean, log_variance) / values.shape[1]

    def draw(self, count: int, seed: int = 0, *, spread: bool = True) -> NDArray[np.float64]:
        """New windows (count, T, C), scaled as those it was fitted on: codes from the prior, decoded.

        Parameters
        ----------
        spread
            Whether the spread of the values around what the decoder gives, which training learnt, is drawn too (with loss=cross-entropy there is none).
        """
        codes_of, spread_of = (
            np.random.default_rng([seed, part]) for part in (0, 1)
        )  # fewer rows are the first of many
        network: Any = self.network
        out = np.empty((count, self.values))
        with torch.inference_mode(), limited_threads(1):
            for start in range(0, count, self.tile):
                codes = codes_of.standard_normal((self.tile, self.config.code)).astype(
                    np.float32
                )  # whole tiles: equal bits
                given = self.output(network.decoder(torch.from_numpy(codes).to(self.device)))
                out[start : start + self.tile] = given.cpu().numpy()[: count - start]
            scale = float(network.log_scale.exp())
        if spread and self.config.loss == "squared":
            out += scale * spread_of.standard_normal(out.shape)
        elif spread and self.config.loss == "absolute":
            out += scale * spread_of.laplace(size=out.shape)
        return out.reshape(count, self.config.window, self.config.channels)

    def _rebuild(self, network: Any, seen: Tensor) -> Tensor:
        """What the decoder gives for the mean code."""
        return network.decoder(network.posterior(seen)[0])  # type: ignore[no-any-return]

    def _judge(self, network: Any, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        values, seen = self.flat(x)
        mean, log_variance = network.posterior(seen)
        spread = (log_variance / 2).exp()
        squares = torch.zeros_like(values)
        centre = torch.zeros_like(values)
        entropy = torch.zeros_like(values[:, 0])
        for noise in network.noise:  # (K,); a few passes of one tile rather than one of D tiles: bounded memory
            given = network.decoder(mean + spread * noise)
            rebuilt = self.output(given)
            squares += (rebuilt - values).square()
            centre += rebuilt
            if self.config.loss == "cross-entropy":
                entropy += self.differences(given, values)
        D = self.config.draws
        raw, shares = self.by_channel(squares / D)
        if self.config.score_by == "elbo":
            unlikely = 0.5 * squares.sum(dim=1) / D * (-2.0 * network.log_scale).exp()
            if self.config.loss == "cross-entropy":
                unlikely = entropy / D * values.shape[1]
            raw = unlikely + _divergence(mean, log_variance)
        return raw, (centre / D)[:, -self.config.channels :].contiguous(), shares
