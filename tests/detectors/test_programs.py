"""Programs say what torch says, and what they say of a window is a matter of that window alone."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from detectors import checks, registry
from detectors.kernels import lanes
from detectors.networks import NetworkDetector
from detectors.programs import AT_ONCE, RELU, SIGMOID, TANH, Program

DEFAULT = {"horizon": 8, "patch": 8, "centred": False, "limit": 4.0}
MADE: dict[str, dict[str, Any]] = {
    "lstm of the default": {"name": "lstm", "window": 48, "covariates": 2, **DEFAULT},
    "tcn of the default": {"name": "tcn", "window": 48, "covariates": 2, "blocks": 2, **DEFAULT},
    "autoencoder of the default": {"name": "autoencoder", "window": 48, "covariates": 2, "limit": 4.0},
    "centred lstm": {"name": "lstm", "window": 12, "hidden": 8},
    "odd lstm": {"name": "lstm", "window": 23, "hidden": 5, "channels": 2, "horizon": 3, "patch": 3},
    "centred tcn": {"name": "tcn", "window": 12},
    "odd tcn": {"name": "tcn", "window": 40, "hidden": 10, "blocks": 3, "kernel": 4, "channels": 3, "covariates": 1},
    "tcn of one block": {"name": "tcn", "window": 9, "hidden": 8, "blocks": 1, "channels": 8, "centred": False},
    "deep autoencoder": {"name": "deep-autoencoder", "window": 6, "channels": 3, "covariates": 2},
    "last of autoencoder": {"name": "autoencoder", "window": 6, "channels": 2, "judged": "last", "layers": (5, 3)},
    "autoencoder of a row": {"name": "autoencoder", "channels": 9, "activation": "relu", "layers": (4, 2, 4)},
    "sparse autoencoder": {"name": "sparse-autoencoder", "channels": 7, "penalty": "kl"},
    "log-odds": {"name": "autoencoder", "channels": 7, "loss": "cross-entropy", "layers": (4, 2, 4)},
}


def fitted(of: str) -> tuple[NetworkDetector, np.ndarray]:
    settings = dict(MADE[of])
    detector = registry.create(settings.pop("name"), training={"epochs": 2, "windows_per_epoch": 64}, **settings)
    assert isinstance(detector, NetworkDetector)
    shape = 333, detector.config.window, detector.width
    x = np.random.default_rng(3).uniform(0, 1, shape).astype(np.float32)
    detector.fit(x)
    if of != "log-odds":
        x[5:200] = 40 * x[5:200] - 20
    return detector, x


@pytest.mark.parametrize("of", MADE)
def test_a_program_says_what_torch_says(of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, x = fitted(of)
    own = detector.score(x)
    assert detector._compiled is not None
    monkeypatch.setattr(detector, "_compiled", None)
    other = detector.score(x)
    for name in ("raw", "expected", "contributions"):
        np.testing.assert_allclose(getattr(own, name), getattr(other, name), rtol=2e-5, atol=5e-6)


NETWORKS = sorted(name for name in registry.DETECTORS if issubclass(registry.find(name), NetworkDetector))


@pytest.mark.parametrize("name", NETWORKS)
def test_whatever_scores_by_a_program_says_what_torch_says_and_knows_the_shapes_of_its_weights(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, x = checks.fit(registry.find(name)), checks.data(registry.find(name)).x
    assert isinstance(detector, NetworkDetector)
    assert detector._shapes() in (None, {of: value.shape for of, value in detector.arrays().items()})
    own = detector.score(x).raw
    monkeypatch.setattr(detector, "_compiled", None)
    np.testing.assert_allclose(own, detector.score(x).raw, rtol=2e-5, atol=5e-6)


@pytest.mark.parametrize("of", MADE)
def test_the_shapes_of_weights_are_known_without_torch(of: str) -> None:
    settings = dict(MADE[of])
    detector = registry.create(settings.pop("name"), **settings)
    assert isinstance(detector, NetworkDetector)
    assert detector._shapes() == {n: tuple(v.shape) for n, v in detector._skeleton().state_dict().items()}


@pytest.mark.parametrize("of", MADE)
def test_a_window_s_bits_are_its_own(of: str) -> None:
    detector, x = fitted(of)
    whole = detector.score(x)
    order = np.random.default_rng(1).permutation(len(x))
    wide = np.full((len(x), x.shape[1] + 1, x.shape[2] + 2), np.nan, np.float32)
    wide[:, 1:, 1:-1] = x
    assert len(detector.score(x[:0]).raw) == 0
    for name in ("raw", "expected", "contributions"):
        wanted = getattr(whole, name)
        for size in (1, 7, 63, AT_ONCE, 65, 200):
            parts = [getattr(detector.score(x[i : i + size]), name) for i in range(0, len(x), size)]
            assert np.concatenate(parts).tobytes() == wanted.tobytes()
        assert getattr(detector.score(x[order]), name).tobytes() == wanted[order].tobytes()
        assert getattr(detector.score(wide[:, 1:, 1:-1]), name).tobytes() == wanted.tobytes()


def test_another_fit_and_what_is_loaded_have_their_own() -> None:
    detector, x = fitted("centred lstm")
    before = detector.score(x).raw
    detector.fit(3 * x[::-1].copy())
    after = detector.score(x).raw
    loaded = type(detector).from_arrays(detector.config, detector.arrays())
    assert after.tobytes() == loaded.score(x).raw.tobytes() != before.tobytes()


def test_what_sums_long_is_left_to_torch() -> None:
    detector = registry.create("autoencoder", channels=600, layers=(4,), training={"epochs": 1})
    assert isinstance(detector, NetworkDetector)
    detector.fit(np.random.default_rng(0).normal(size=(30, 1, 600)).astype(np.float32))
    assert detector._compiled is None


@pytest.mark.parametrize(
    ("what", "exact"),
    [(TANH, np.tanh), (SIGMOID, lambda x: 0.5 + 0.5 * np.tanh(x / 2)), (RELU, lambda x: np.maximum(x, 0))],
)
def test_a_function_of_one_number_is_exact_to_a_few_units(what: int, exact: Any) -> None:
    x = np.concatenate([np.linspace(-12, 12, 9_001), np.geomspace(1e-30, 1, 500), [0.0, 1e6, -1e6]]).astype(np.float32)
    program = Program(channels=1, width=2)
    rows = program.take([(0, 0)])
    zero = program.take([(0, 1)])
    program.score(program.clipped(program.each(what, rows), 2e6), zero)
    _, got, _ = program.done().run(np.stack([x, np.zeros_like(x)], axis=1)[:, None])
    wanted = exact(x.astype(np.float64))
    assert (np.abs(got[:, 0] - wanted) <= 5e-7 * np.maximum(np.abs(wanted), 0 if what == TANH else 0.25)).all()


def test_the_bits_are_these_on_every_machine() -> None:
    """Of a program that has all steps; whoever changes how they round changes the scores of every model."""
    numbers = np.arange(4_000) * 0.61803398875 % 1.0 - 0.5
    program = Program(channels=1, width=1)
    rows = program.take([(t, 0) for t in range(8)])
    gates, memory, state = program.room(16), program.room(4), program.room(4)
    program.layer(rows, numbers[:128].reshape(16, 8), numbers[128:144], gates)
    program.cell(gates, memory, state, begins=True)
    program.layer(rows.part(1, 4), numbers[200:264].reshape(16, 4), numbers[264:280], gates)
    program.cell(gates, memory, state, begins=False)
    seen = program.layer(state, numbers[300:320].reshape(5, 4), numbers[320:325])
    for what in (TANH, SIGMOID, RELU):
        program.each(what, seen)
    program.score(program.clipped(seen, 0.4), rows.part(3, 5))
    x = (6 * numbers[1000:3400]).reshape(-1, 8, 1).astype(np.float32)
    said = b"".join(of.tobytes() for of in program.done().run(x))
    assert hashlib.sha256(said).hexdigest()[:16] == "e91688b8a3c325ce"


def test_a_vector_is_a_cache_line() -> None:
    assert lanes.WIDTH * 4 == 64
    assert AT_ONCE % lanes.WIDTH == 0
