"""Where a model's detectors run: on the CPU unless a GPU is there and pays, or is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detectors import networks, numerics, registry
from detectors.base import Detector
from detectors.model import Model
from detectors.networks import NetworkDetector
from detectors.recipes import METRIC

SMALL = {"training": {"epochs": 1, "windows_per_epoch": 64}}


def made(name: str, **settings: Any) -> Detector:
    detector = registry.create(name, **SMALL, **settings)
    x = np.random.default_rng(0).normal(size=(96, detector.config.window, detector.width)).astype(np.float32)
    detector.fit(x)
    return detector


@pytest.fixture(scope="module")
def default() -> Model:
    steps = np.arange(400)
    recipe = replace(METRIC, detectors=tuple((name, {**of, **SMALL}) for name, of in METRIC.detectors))  # type: ignore[misc]
    return recipe.train_metric({"s": (60_000 * steps, np.sin(steps / 9.0)[:, None])})


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU, to which a network only notes that it went: the border of what is not here."""
    monkeypatch.setattr(numerics, "gpu_there", lambda: True)
    monkeypatch.setattr(NetworkDetector, "to", Detector.to)


@pytest.mark.usefixtures("gpu")
def test_the_default_stays_on_the_cpu_though_there_is_a_gpu(default: Model) -> None:
    assert [of.device for of in default.to("auto").detectors] == ["cpu"] * len(default.detectors)
    assert [of.device for of in default.to("cuda").detectors] == ["cuda"] * len(default.detectors)
    default.to("cpu")


@pytest.mark.usefixtures("gpu")
def test_a_member_that_gains_takes_all_with_it(default: Model) -> None:
    large = made("lstm", window=48, covariates=2)
    assert large.gains_by_gpu
    model = replace(default, detectors=(*default.detectors, large))
    assert {of.device for of in model.to("auto").detectors} == {"cuda"}
    default.to("cpu")


def test_without_a_gpu_all_stay(default: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "gpu_there", lambda: False)
    large = made("lstm", window=48, covariates=2)
    assert {of.device for of in replace(default, detectors=(large,)).to("auto").detectors} == {"cpu"}


def test_what_gains_is_what_torch_does_or_what_multiplies_much() -> None:
    assert not registry.create("zscore").gains_by_gpu
    assert not made("autoencoder", window=48).gains_by_gpu
    assert made("vae", window=48).gains_by_gpu  # by torch on the CPU too
    wide = made("autoencoder", window=200, layers=(300, 8, 300))
    assert isinstance(wide, NetworkDetector)
    assert wide._compiled is not None
    assert wide._compiled.products == 2 * (200 * 300 + 300 * 8) > networks.GPU_GAINS
    assert wide.gains_by_gpu


def test_weights_that_a_score_asked_for_first_serve_all_the_same() -> None:
    import torch

    detector = made("autoencoder", window=6)
    assert isinstance(detector, NetworkDetector)
    loaded = registry.create("autoencoder", window=6)
    assert isinstance(loaded, NetworkDetector)
    loaded.adopt(detector.arrays())
    loaded._compiled = None  # as on a GPU
    x = np.zeros((3, 6, 1), np.float32)
    assert loaded.score(x).raw.tobytes() == loaded.score(x).raw.tobytes()
    assert not any(p.is_inference() for p in loaded.network.parameters())
    loaded.network(torch.zeros(1, 6))  # outside of inference
