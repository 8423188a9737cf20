"""Autoencoders of dense layers: what cannot be rebuilt from a narrow code is anomalous.

Hinton, Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 313 (2006); for anomalies:
Sakurada, Yairi, "Anomaly Detection Using Autoencoders with Nonlinear Dimensionality Reduction", MLSDA 2014.
Departure: the training loss is trimmed (`detectors.torched.training`).

    autoencoder              T*C + F ── 32 ── 8 ── 32 ── T*C
    deep-autoencoder         T*C + F ── 64 ── 32 ── 16 ── 8 ── 16 ── 32 ── 64 ── T*C
    sparse-autoencoder       the same with a wide code, of which a penalty lets only a little be used at a time: L1 of each window's code, or
                             `penalty="kl"`, the divergence of each unit's mean use from `target` (Ng, "Sparse autoencoder", CS294A lecture
                             notes, 2011)
    denoising-autoencoder    the same, shown its input with noise in training: it must know what belongs there
                             (Vincent, Larochelle, Bengio, Manzagol, ICML 2008)

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
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from detectors.base import Width
from detectors.programs import ABSOLUTE, RELU, SIGMOID, SQUARED, TANH, Program, Weights
from detectors.reconstruction import Reconstruction, ReconstructionConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from detectors.torched.training import Batch

Activation = Literal["tanh", "relu"]
_STEPS: dict[Activation, int] = {"tanh": TANH, "relu": RELU}


class AutoencoderConfig(ReconstructionConfig):
    """Settings of the dense autoencoder."""

    layers: tuple[Width, ...] = Field((32, 8, 32), min_length=1, max_length=32)
    """Widths of the hidden layers, the code in their middle; input and output follow from window and channels."""
    activation: Activation = "tanh"


class Autoencoder(Reconstruction):
    """Scores by the reconstruction error of a dense autoencoder, over windows or over rows of a table."""

    name = "autoencoder"
    summary = "dense autoencoder: reconstruction error of windows or rows"
    Config = AutoencoderConfig
    config: AutoencoderConfig
    tile = 512
    captured = True
    unit_test_params = MappingProxyType(
        {"channels": 5, "layers": (4, 2, 4), "training": {"epochs": 15, "learning_rate": 0.01}}
    )

    def _build(self) -> nn.Module:
        from detectors.torched.autoencoding import DenseNetwork

        return DenseNetwork(self.values + self.config.covariates, self.values, self.config)

    def _rebuild(self, network: Any, seen: Tensor) -> Tensor:
        return network(seen)  # type: ignore[no-any-return]

    @property
    def trained_by(self) -> int | None:
        """See `NetworkDetector.trained_by`."""
        return {"squared": SQUARED, "absolute": ABSOLUTE}.get(self.config.loss)

    @property
    def _layers(self) -> list[str]:
        """Names of the layers, first to last; between two of them stands an activation."""
        first = len(self.config.layers) // 2 + 1  # those up to the code
        rest = len(self.config.layers) + 1 - first
        return [f"encoder.{2 * i}" for i in range(first)] + [f"decoder.{2 * i}" for i in range(rest)]

    def _shapes(self) -> dict[str, tuple[int, ...]] | None:
        widths = [self.values + self.config.covariates, *self.config.layers, self.values]
        shapes: dict[str, tuple[int, ...]] = {}
        for name, (a, b) in zip(self._layers, pairwise(widths), strict=True):
            shapes |= {f"{name}.weight": (b, a), f"{name}.bias": (b,)}
        return shapes

    def _program(self, program: Program, weights: Weights) -> Program | None:
        c = self.config
        values = program.take([(t, k) for t in range(c.window) for k in range(c.channels)])
        x = program.room(values.n + c.covariates)
        program.clipped(values, c.limit, x)
        program.take([(c.window - 1, c.channels + f) for f in range(c.covariates)], x.last(c.covariates))
        for i, name in enumerate(self._layers):
            if i:
                # A mean activation is a chance only between 0 and 1.
                chance = name == "decoder.0" and getattr(c, "penalty", "l1") == "kl"
                program.each(SIGMOID if chance else _STEPS[c.activation], x)
            x = program.layer(x, weights[f"{name}.weight"], weights[f"{name}.bias"])
        if c.loss == "cross-entropy":
            program.each(SIGMOID, x)
        program.score(x, values, c.channels if c.judged == "last" else None)
        return program.done()


class DeepAutoencoderConfig(AutoencoderConfig):
    """Settings of the deep autoencoder."""

    layers: tuple[Width, ...] = Field((64, 32, 16, 8, 16, 32, 64), min_length=1, max_length=32)


class DeepAutoencoder(Autoencoder):
    """The dense autoencoder with seven hidden layers."""

    name = "deep-autoencoder"
    summary = "dense autoencoder with seven hidden layers: reconstruction error of windows or rows"
    Config = DeepAutoencoderConfig
    config: DeepAutoencoderConfig
    unit_test_params = MappingProxyType(
        {"channels": 5, "layers": (8, 4, 2, 4, 8), "training": {"epochs": 15, "learning_rate": 0.01}}
    )


class SparseAutoencoderConfig(AutoencoderConfig):
    """Settings of the sparse autoencoder."""

    layers: tuple[Width, ...] = Field((64,), min_length=1, max_length=32)
    activation: Activation = "relu"
    sparsity: float = Field(0.2, ge=0)
    """Weight of the penalty beside the loss: of the code's absolute activations, or of its divergence."""
    penalty: Literal["l1", "kl"] = "l1"
    """`kl`: units pass through a sigmoid, and the Kullback-Leibler divergence of their mean over a batch from `target` is the penalty."""
    target: float = Field(0.05, gt=0, lt=1)
    """Mean activation of a unit that `kl` asks for."""


class SparseAutoencoder(Autoencoder):
    """The dense autoencoder with a wide code that is penalised for each unit it uses."""

    name = "sparse-autoencoder"
    summary = "dense autoencoder with a wide code under an L1 or KL penalty: reconstruction error of windows or rows"
    Config = SparseAutoencoderConfig
    config: SparseAutoencoderConfig
    unit_test_params = MappingProxyType(
        {"channels": 5, "layers": (16,), "sparsity": 0.1, "training": {"epochs": 15, "learning_rate": 0.01}}
    )

    @property
    def trained_by(self) -> None:
        """None: the penalty is torch's."""
        return

    def _losses(self, network: Any, batch: Batch) -> Tensor:
        from detectors.torched.autoencoding import divergence

        values, seen = self.flat(batch.x)
        code = network.encoder(seen)
        error = self.differences(network.decoder(code), values)
        if self.config.penalty == "kl":
            return error + self.config.sparsity * divergence(code.mean(dim=0), self.config.target) / values.shape[1]
        return error + self.config.sparsity * code.abs().sum(dim=1) / values.shape[1]  # type: ignore[no-any-return]


class DenoisingAutoencoderConfig(AutoencoderConfig):
    """Settings of the denoising autoencoder."""

    noise: float = Field(0.3, ge=0)
    """Standard deviation of the noise that is added in training, in scaled units."""


class DenoisingAutoencoder(Autoencoder):
    """The dense autoencoder that learnt to take noise away; scoring adds none."""

    name = "denoising-autoencoder"
    summary = "dense autoencoder trained to take noise away: reconstruction error of windows or rows"
    Config = DenoisingAutoencoderConfig
    config: DenoisingAutoencoderConfig

    @property
    def trained_by(self) -> None:
        """None: the noise is torch's."""
        return

    def _losses(self, network: Any, batch: Batch) -> Tensor:
        from detectors.torched.autoencoding import with_noise

        values, seen = self.flat(batch.x)
        rebuilt: Tensor = network(with_noise(seen, self.config.noise, batch))
        return self.differences(rebuilt, values)
