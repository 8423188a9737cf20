"""Losses and penalties of the autoencoders do what they are named for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from detectors.autoencoder import Autoencoder, AutoencoderConfig, SparseAutoencoder, SparseAutoencoderConfig, divergence

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
