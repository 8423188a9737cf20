"""A captured pass gives the bits of the plain one, or is not taken. On machines without a GPU only the latter can be seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detectors import registry
from detectors.networks import NetworkDetector
from detectors.torched import capturing

x = np.random.default_rng(2).normal(size=(300, 12, 1)).astype(np.float32)
needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def fitted(name: str) -> NetworkDetector:
    made = registry.create(name, window=12, training={"epochs": 1, "windows_per_epoch": 64})
    made.fit(x)
    assert isinstance(made, NetworkDetector)
    return made


def test_what_cannot_be_captured_stays_as_it_is() -> None:
    made = fitted("lstm")
    assert capturing.captured(made.network, made._judge, (32, 12, 1), "cuda:77") is None


@needs_a_gpu
@pytest.mark.parametrize("name", ["lstm", "tcn", "autoencoder"])
def test_the_default_s_networks_are_captured_and_say_the_same(name: str) -> None:
    made = fitted(name).to("cuda")
    few = made.score(x[:20])
    assert all("captured" in getattr(run, "__qualname__", "") for run in made._passes.values())
    made.captured = False  # type: ignore[misc]
    assert made.score(x[:20]).raw.tobytes() == few.raw.tobytes()


@needs_a_gpu
def test_a_pass_of_other_bits_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    made = fitted("tcn").to("cuda")
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda self: None)
    assert capturing.captured(made.network, made._judge, (32, 12, 1), "cuda") is None
