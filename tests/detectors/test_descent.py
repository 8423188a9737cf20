"""Training without torch: its gradients are those of torch's, its weights a matter of the seed alone, and it goes where torch would."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detectors import registry
from detectors.base import DetectorError
from detectors.descent import training
from detectors.descent.folding import drawn, folded
from detectors.descent.training import Descent
from detectors.networks import NetworkDetector
from detectors.programs import AT_ONCE
from detectors.torched.training import Batch, trimmed_mean

DEFAULT = {"horizon": 8, "patch": 8, "centred": False, "limit": 4.0}
MADE: dict[str, dict[str, Any]] = {
    "lstm of the default": {"name": "lstm", "window": 48, "covariates": 2, **DEFAULT},
    "tcn of the default": {"name": "tcn", "window": 48, "covariates": 2, "blocks": 2, **DEFAULT},
    "autoencoder of the default": {"name": "autoencoder", "window": 48, "covariates": 2, "limit": 4.0},
    "odd centred lstm": {"name": "lstm", "window": 23, "hidden": 5, "channels": 2, "horizon": 3, "patch": 3},
    "odd centred tcn": {"name": "tcn", "window": 40, "hidden": 10, "blocks": 3, "kernel": 4, "channels": 3},
    "tcn of one block": {"name": "tcn", "window": 9, "hidden": 8, "blocks": 1, "channels": 8, "centred": False},
    "deep autoencoder": {"name": "deep-autoencoder", "window": 6, "channels": 3, "covariates": 2},
    "absolute autoencoder": {"name": "autoencoder", "channels": 9, "activation": "relu", "loss": "absolute"},
    "last of autoencoder": {"name": "autoencoder", "window": 6, "channels": 2, "judged": "last", "layers": (5, 3)},
}


def made(of: str, **how: Any) -> NetworkDetector:
    settings = dict(MADE[of])
    detector = registry.create(settings.pop("name"), training={"epochs": 4, **how}, **settings)
    assert isinstance(detector, NetworkDetector)
    return detector


def windows(detector: NetworkDetector, n: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).uniform(-3, 3, (n, detector.config.window, detector.width)).astype(np.float32)


def run_of(detector: NetworkDetector, x: NDArray[np.float32], held: NDArray[np.float32]) -> Descent:
    walk = detector._walk()
    assert walk is not None
    return Descent(walk, detector.config.training, detector.config.seed, x, held, np.zeros(32, np.uint8))


@pytest.mark.parametrize("of", MADE)
def test_a_step_has_the_loss_and_the_gradients_of_torch(of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more windows than a tile has, in another order, a tenth of them left out; before Adam moves anything."""
    detector = made(of, trim=0.1)
    x = windows(detector, 16 * (AT_ONCE + 37))
    run = run_of(detector, x, x[:70])
    assert run._batch == AT_ONCE + 37
    network: Any = detector._build()
    network.load_state_dict({name: torch.tensor(value) for name, value in run.best.items()})
    order = np.random.default_rng(0).permutation(len(x))[: run._batch]

    def loss(of_windows: NDArray[np.float32]) -> torch.Tensor:
        batch = Batch(torch.from_numpy(of_windows), torch.zeros(len(of_windows)), torch.Generator())
        return trimmed_mean(detector._losses(network, batch), 0.1)

    wanted = loss(x[order])
    wanted.backward()  # type: ignore[no-untyped-call]
    held = float(loss(x[:70]).detach())
    assert run._validated() == pytest.approx(held, rel=1e-6)
    assert run._run(run._train, order, learn=True) == pytest.approx(float(wanted.detach()), rel=1e-6)
    found = run._named(run._room[1])
    for name, parameter in network.named_parameters():
        gradient = parameter.grad.numpy()
        np.testing.assert_allclose(found[name], gradient, rtol=2e-4, atol=3e-6 * np.abs(gradient).max(), err_msg=name)


def test_adam_takes_the_steps_of_the_paper() -> None:
    detector = made("deep autoencoder", learning_rate=0.01, weight_decay=0.1, clip=0.5, batch_size=40)
    x = windows(detector, 640)
    run = run_of(detector, x, x[:50])
    w = run._theta.astype(np.float64)
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, 21):
        run._run(run._train, np.arange(40) + t, learn=True)
        g = run._room[1].astype(np.float64)
        g *= min(1.0, 0.5 / np.linalg.norm(g))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w * (1 - 0.01 * 0.1) - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    assert np.allclose(run._theta, w, atol=1e-5)


def test_what_costs_most_does_not_train_and_what_is_no_number_moves_nothing() -> None:
    detector = made("autoencoder of the default", trim=0.05)
    x = windows(detector, 640)
    wild = x.copy()
    wild[7] = 3e30  # its square is no float32
    runs = [run_of(detector, of, x[:50]) for of in (x, wild)]
    order = np.arange(40)
    runs[0]._run(runs[0]._train, np.delete(order, 7), learn=True)
    runs[1]._run(runs[1]._train, order, learn=True)
    assert np.isfinite(runs[1]._theta).all()
    still = runs[1]._theta.copy()
    runs[1]._run(np.full_like(runs[1]._train, 3e30), order, learn=True)
    assert runs[1]._theta.tobytes() == still.tobytes()


@pytest.mark.parametrize("of", ["lstm of the default", "tcn of the default", "autoencoder of the default"])
def test_it_learns_as_torch_does(of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    t = np.arange(700)
    rows = np.stack([np.sin(t / 9), np.sin(t / 115), np.cos(t / 115)], axis=1) + 0.1 * np.random.default_rng(1).normal(
        size=(700, 3)
    ) * [1, 0, 0]
    x = np.lib.stride_tricks.sliding_window_view(rows, 48, axis=0).transpose(0, 2, 1)
    ends = []
    for without in (True, False):
        detector = made(of, epochs=30)
        if not without:
            monkeypatch.setattr(type(detector), "trained_by", None)
        report = detector.fit(x)
        ends.append(report.validation_loss[report.best_epoch - 1])
    assert ends[0] == pytest.approx(ends[1], rel=0.3)
    assert ends[0] < 0.2 * float(np.square(rows[:, 0]).mean())


def test_weights_are_a_matter_of_the_seed_and_a_stopped_run_ends_with_them() -> None:
    x = windows(made("tcn of the default"), 300)
    first, same, other = (made("tcn of the default") for _ in range(3))
    other.config = other.config.model_copy(update={"seed": 1})
    kept: list[Any] = []
    first.fit(x, on_progress=lambda _: kept.append(first.checkpoint))
    same.fit(x)
    other.fit(x)
    resumed = made("tcn of the default")
    resumed.checkpoint = kept[1]
    resumed.fit(x)
    told = [detector.score(x[:70]).raw.tobytes() for detector in (first, same, resumed, other)]
    assert told[0] == told[1] == told[2] != told[3]
    refused = made("tcn of the default")
    refused.checkpoint = kept[1]
    with pytest.raises(DetectorError, match="of other settings or other data"):
        refused.fit(x[1:])


@pytest.mark.parametrize(
    ("of", "bits"),
    [
        ("lstm of the default", "c8e9fddec1d5d3de"),
        ("tcn of the default", "fc20e32d258b648b"),
        ("autoencoder of the default", "d9db7ad23cc6f0b2"),
    ],
)
def test_the_weights_are_these_on_every_machine(of: str, bits: str) -> None:
    """With AVX-512, AVX2 and SSE 4.2; whoever changes how a step of training rounds, or what is drawn, changes all models that are trained from then on."""
    detector = made(of, epochs=3)
    numbers = 4 * (np.arange(300 * 48 * 3) * 0.61803398875 % 1.0) - 2
    detector.fit(numbers.astype(np.float32).reshape(300, 48, 3))
    learnt = b"".join(weights.tobytes() for weights in detector.arrays().values())
    assert hashlib.sha256(learnt).hexdigest()[:16] == bits


def test_folded_weights_are_what_a_program_takes() -> None:
    shapes = made("odd centred tcn")._shapes()
    assert shapes is not None
    weights = drawn(shapes, np.random.default_rng(0))
    taps = folded(weights)["encoder.encoder.blocks.0.first.taps"]
    gain = weights["encoder.encoder.blocks.0.first.gain"]
    np.testing.assert_allclose(np.sqrt(np.square(taps).sum(axis=(0, 1))), gain, rtol=1e-6)
    assert {name: of.shape for name, of in weights.items()} == shapes


def test_what_takes_too_much_memory_or_sums_long_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made("lstm of the default")._walk() is not None
    monkeypatch.setattr(training, "MOST_ROWS", 1000)
    assert made("lstm of the default")._walk() is None
    wide = registry.create("autoencoder", channels=600, layers=(4,))
    assert isinstance(wide, NetworkDetector)
    assert wide._walk() is None


def test_a_program_that_no_gradient_goes_back_through_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = made("autoencoder of the default")
    put = detector._program

    def clipped_behind_a_layer(program: Any, weights: Any) -> Any:
        rows = program.layer(program.take([(0, 0)]), weights["0.weight"][:1, :1], weights["0.bias"][:1])
        program.clipped(rows, 1.0)
        return put(program, weights)

    name = next(iter(detector._shapes() or {})).removesuffix(".weight")
    monkeypatch.setattr(
        detector,
        "_program",
        lambda program, weights: clipped_behind_a_layer(
            program, {**weights, "0.weight": weights[f"{name}.weight"], "0.bias": weights[f"{name}.bias"]}
        ),
    )
    assert detector._walk() is None


def test_the_default_is_learnt_without_torch() -> None:
    """In a process of its own: here everything is loaded."""
    code = (
        "import sys; import numpy as np; from detectors.recipes import METRIC; "
        "t = np.arange(800); METRIC.train_metric({'a': (60_000 * t, np.sin(t / 9)[:, None])}); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
