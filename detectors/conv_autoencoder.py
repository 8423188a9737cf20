"""Convolutional autoencoders: over the time of a window (1-D), and over the pixels of an image (2-D).

Masci, Meier, Ciresan, Schmidhuber, "Stacked Convolutional Auto-Encoders for Hierarchical Feature Extraction", ICANN 2011.
Departures: strided convolutions instead of max-pooling on the way in, nearest-neighbour upsampling before each convolution
on the way out (transposed convolutions leave checkerboards: Odena et al., Distill 2016), and a dense code between.

    window (C, T) ─ conv/2 ─▶ (16, T/2) ─ conv/2 ─▶ (32, T/4) ─ dense ─▶ code ─ dense ─▶ (32, T/4) ─▶ ... ─▶ (C, T)

The covariates of the judged position (time of day) join the code.

`denoising-image-autoencoder` is shown images with noise in training, and must give back the clean ones (`detectors.autoencoder` names the paper).

Examples
--------
>>> import numpy as np
>>> from detectors.conv_autoencoder import ConvAutoencoder, ConvAutoencoderConfig
>>> from detectors.networks import TrainingConfig
>>> wave = np.sin(np.arange(200) / 3.0)
>>> windows = np.lib.stride_tricks.sliding_window_view(wave, 12)[:, :, None]
>>> detector = ConvAutoencoder(ConvAutoencoderConfig(window=12, filters=(4,), code=4, training=TrainingConfig(epochs=2)))
>>> report = detector.fit(windows)
>>> detector.score(windows[:5]).raw.shape
(5,)
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from detectors.base import DetectorError, Width
from detectors.reconstruction import Reconstruction, ReconstructionConfig
from detectors.torched.autoencoding import with_noise
from detectors.torched.training import Batch


class ConvAutoencoderConfig(ReconstructionConfig):
    """Settings of the convolutional autoencoder over windows."""

    window: int = Field(48, ge=1, le=1_000_000)
    filters: tuple[Width, ...] = Field((16, 32), min_length=1, max_length=32)
    """Filters of each convolution; each halves the length."""
    kernel: int = Field(5, ge=3)
    """Odd."""
    code: int = Field(8, ge=1)
    """Width of the code."""

    @model_validator(mode="after")
    def _odd(self) -> ConvAutoencoderConfig:
        if self.kernel % 2 == 0:
            msg = f"kernel must be odd, not {self.kernel}"
            raise ValueError(msg)
        return self


class _Network(nn.Module):
    """Encoder and decoder over one dimension or two; sizes are those of the input before each halving."""

    def __init__(
        self, channels: int, sizes: tuple[int, ...], covariates: int, filters: tuple[int, ...], kernel: int, code: int
    ) -> None:
        super().__init__()
        conv: type[nn.Conv1d | nn.Conv2d] = nn.Conv1d if len(sizes) == 1 else nn.Conv2d
        widths = [channels, *filters]
        self.shapes = [sizes]  # before each halving, and after the last
        for _ in filters:
            self.shapes.append(tuple((size + 1) // 2 for size in self.shapes[-1]))
        inner = filters[-1] * torch.Size(self.shapes[-1]).numel()
        half = kernel // 2
        self.down = nn.ModuleList(
            conv(a, b, kernel, stride=2, padding=half) for a, b in zip(widths, filters, strict=False)
        )
        self.code = nn.Linear(inner + covariates, code)
        self.spread = nn.Linear(code, inner)
        self.up = nn.ModuleList(
            conv(b, a, kernel, padding=half) for a, b in reversed(list(zip(widths, filters, strict=False)))
        )
        self.shape_in = (channels, *sizes)
        self.shape_code = (filters[-1], *self.shapes[-1])

    def forward(self, values: Tensor, known: Tensor) -> Tensor:
        """From values (B, channels * sizes) and covariates (B, F) to rebuilt values (B, channels * sizes)."""
        y = values.view(-1, *self.shape_in)
        for conv in self.down:
            y = nn.functional.relu(conv(y))  # (B, filters, size / 2)
        code = torch.tanh(self.code(torch.cat([y.flatten(1), known], dim=1)))
        y = nn.functional.relu(self.spread(code)).view(-1, *self.shape_code)
        for i, (conv, size) in enumerate(zip(self.up, reversed(self.shapes[:-1]), strict=True)):
            y = conv(nn.functional.interpolate(y, size=size))
            if i + 1 < len(self.up):
                y = nn.functional.relu(y)
        return y.flatten(1)


class ConvAutoencoder(Reconstruction):
    """Scores by the reconstruction error of a convolutional autoencoder over windows."""

    name = "conv-autoencoder"
    summary = "convolutional autoencoder over time: reconstruction error of windows"
    Config = ConvAutoencoderConfig
    config: ConvAutoencoderConfig
    kinds = frozenset({"windows"})
    tile = 64
    unit_test_params = MappingProxyType(
        {"window": 12, "filters": (4, 8), "kernel": 3, "code": 4, "training": {"epochs": 15, "learning_rate": 0.01}}
    )

    def _build(self) -> nn.Module:
        c = self.config
        return _Network(c.channels, (c.window,), c.covariates, c.filters, c.kernel, c.code)

    def _rebuild(self, network: Any, seen: Tensor) -> Tensor:
        T, C = self.config.window, self.config.channels
        values, known = seen[:, : T * C], seen[:, T * C :]
        over_time = values.view(-1, T, C).transpose(1, 2).flatten(1)  # (B, C*T)
        rebuilt = network(over_time, known)
        return rebuilt.view(-1, C, T).transpose(1, 2).flatten(1)  # type: ignore[no-any-return]


class ImageAutoencoderConfig(ReconstructionConfig):
    """Settings of the convolutional autoencoder over images; channels must be height * width."""

    channels: int = Field(784, ge=1, le=1_000_000)
    height: int = Field(28, ge=2)
    """Rows of pixels; a row of the table is an image, line by line."""
    filters: tuple[Width, ...] = Field((8, 16), min_length=1, max_length=32)
    """Filters of each convolution; each halves height and width."""
    code: int = Field(32, ge=1)


class ImageAutoencoder(Reconstruction):
    """Scores by the reconstruction error of a convolutional autoencoder over images, one image to a row of pixels."""

    name = "image-autoencoder"
    summary = "convolutional autoencoder over images: reconstruction error of rows that are pixels"
    Config = ImageAutoencoderConfig
    config: ImageAutoencoderConfig
    kinds = frozenset({"rows"})
    tile = 64
    unit_test_params = MappingProxyType(
        {"channels": 36, "height": 6, "filters": (4,), "code": 8, "training": {"epochs": 15, "learning_rate": 0.01}}
    )

    def __init__(self, config: ImageAutoencoderConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        if c.window != 1 or c.covariates or c.channels % c.height:
            msg = (
                f"{self.name}: {c.channels} channels are no image of {c.height} lines; "
                "set height so that channels = height * width, window 1 and no covariates"
            )
            raise DetectorError(msg)

    def _build(self) -> nn.Module:
        c = self.config
        return _Network(1, (c.height, c.channels // c.height), 0, c.filters, 3, c.code)

    def _rebuild(self, network: Any, seen: Tensor) -> Tensor:
        return network(seen, seen[:, :0])  # type: ignore[no-any-return]


class DenoisingImageAutoencoderConfig(ImageAutoencoderConfig):
    """Settings of the denoising autoencoder over images."""

    noise: float = Field(0.3, ge=0)
    """Standard deviation of the noise that is added in training, in scaled units."""


class DenoisingImageAutoencoder(ImageAutoencoder):
    """The convolutional autoencoder over images that learnt to take noise away; scoring adds none."""

    name = "denoising-image-autoencoder"
    summary = "convolutional autoencoder over images, trained to take noise away: reconstruction error of rows that are pixels"
    Config = DenoisingImageAutoencoderConfig
    config: DenoisingImageAutoencoderConfig

    def _losses(self, network: Any, batch: Batch) -> Tensor:
        values, seen = self.flat(batch.x)
        return self.differences(self._rebuild(network, with_noise(seen, self.config.noise, batch)), values)
