"""Losses and penalties of the autoencoders do what they are named for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from detectors import registry
from detectors.autoencoder import Autoencoder, AutoencoderConfig, SparseAutoencoder, SparseAutoencoderConfig
from detectors.base import DetectorError
from detectors.torched.autoencoding import divergence
from detectors.torched.training import Batch

ROWS = (np.random.default_rng(0).normal(size=(400, 1, 2)) @ np.random.default_rng(1).normal(size=(2, 6))).astype(
    np.float32
)


def test_the_divergence_is_nothing_at_the_target_and_that_of_the_textbook_elsewhere() -> None:
    assert float(divergence(torch.full((8,), 0.05), 0.05)) == pytest.approx(0, abs=1e-6)
    by_hand = 0.05 * math.log(0.05 / 0.2) + 0.95 * math.log(0.95 / 0.8)
    assert float(divergence(torch.full((3,), 0.2), 0.05)) == pytest.approx(3 * by_hand, rel=1e-5)


def test_kl_brings_the_units_mean_use_to_the_target() -> None:
    def use(sparsity: float) -> float:
        config = SparseAutoencoderConfig(
            channels=6,
            layers=(16,),
            penalty="kl",
            sparsity=sparsity,
            target=0.1,
            training={"epochs": 60, "learning_rate": 0.01},
        )
        detector = SparseAutoencoder(config)
        detector.fit(ROWS, validation=ROWS[:40])
        with torch.no_grad():
            return float(detector._network.encoder(detector.flat(torch.from_numpy(ROWS))[1]).mean())

    assert abs(use(20.0) - 0.1) < 0.05 < abs(use(0.0) - 0.1)


def test_the_absolute_loss_is_the_mean_of_absolute_differences() -> None:
    rebuilt, values = torch.tensor([[0.0, 3.0]]), torch.tensor([[1.0, 1.0]])
    squared, absolute = (Autoencoder(AutoencoderConfig(channels=2, loss=loss)) for loss in ("squared", "absolute"))
    assert squared.differences(rebuilt, values).tolist() == [2.5]
    assert absolute.differences(rebuilt, values).tolist() == [1.5]


def test_either_loss_ranks_what_breaks_the_columns_habits_first() -> None:
    odd = np.concatenate([ROWS[:20], np.random.default_rng(2).normal(size=(5, 1, 6)).astype(np.float32) * 3])
    for loss in ("squared", "absolute"):
        detector = Autoencoder(AutoencoderConfig(channels=6, layers=(4, 2, 4), loss=loss))
        detector.fit(ROWS, validation=ROWS[:40])
        raw = detector.score(odd).raw
        assert raw[20:].min() > raw[:20].max()


def test_cross_entropy_is_the_textbook_s_and_rebuilds_values_between_0_and_1() -> None:
    detector = Autoencoder(AutoencoderConfig(channels=2, loss="cross-entropy"))
    odds, values = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.25]])
    p = 1 / (1 + math.exp(-2.0))
    by_hand = (-math.log(0.5) - 0.25 * math.log(p) - 0.75 * math.log(1 - p)) / 2
    assert float(detector.differences(odds, values)) == pytest.approx(by_hand, rel=1e-5)
    assert detector.output(odds).tolist() == [[0.5, pytest.approx(p)]]


@pytest.mark.parametrize("name", ["autoencoder", "vae", "image-autoencoder", "denoising-image-autoencoder"])
def test_cross_entropy_learns_scaled_rows_and_refuses_others(name: str) -> None:
    settings = {"height": 2} if "image" in name else {}
    training = {"epochs": 8, "learning_rate": 0.01}
    detector = registry.create(name, channels=6, loss="cross-entropy", training=training, **settings)
    with pytest.raises(DetectorError, match=r"between 0 and 1, .* train with --scaling min-max"):
        detector.fit(ROWS, validation=ROWS[:40])
    low, high = ROWS.min(axis=0), ROWS.max(axis=0)
    report = detector.fit((ROWS - low) / (high - low), validation=(ROWS[:40] - low) / (high - low))
    assert report.validation_loss[-1] < report.validation_loss[0]
    expected = detector.score(np.full((1, 1, 6), 40.0, np.float32)).expected
    assert expected is not None
    assert 0.0 <= float(expected.min()) <= float(expected.max()) <= 1.0


def test_a_denoising_autoencoder_of_images_is_shown_noise_and_asked_for_the_clean_image() -> None:
    shown: list[torch.Tensor] = []

    class Seen(torch.nn.Module):
        def forward(self, values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
            shown.append(values)
            return torch.zeros_like(values)

    detector = registry.create("denoising-image-autoencoder", channels=6, height=2, noise=0.5)
    x = torch.ones(64, 1, 6)
    losses = detector._losses(Seen(), Batch(x, torch.zeros(64), torch.Generator().manual_seed(0)))  # type: ignore[attr-defined]
    assert losses.tolist() == [1.0] * 64
    assert float((shown[0] - 1.0).std()) == pytest.approx(0.5, abs=0.05)
