"""Tiles of several sizes, as torch's passes take them on a GPU: others than the usual one are taken where they give the same bits, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from detectors import registry
from detectors.base import Detector, Scores
from detectors.networks import NetworkDetector

OTHERS = 32, 512, 2048

x = np.random.default_rng(1).normal(size=(700, 12, 1)).astype(np.float32)


def fitted(name: str) -> Detector:
    shape = {"layers": (6, 2, 6)} if name == "autoencoder" else {"hidden": 8}
    detector = registry.create(name, window=12, training={"epochs": 1, "windows_per_epoch": 64}, **shape)
    assert isinstance(detector, NetworkDetector)
    detector.fit(x)
    detector._compiled, detector.other_tiles = None, OTHERS
    return detector


@pytest.mark.parametrize("name", ["lstm", "tcn"])
def test_a_backlog_has_the_bits_of_small_tiles(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = fitted(name)
    sizes: list[int] = []
    score = detector._score
    monkeypatch.setattr(detector, "_score", lambda of: sizes.append(len(of)) or score(of))
    large = detector.score(x)
    if all(detector._equal_bits.values()):
        assert sizes[-3:] == [512, 128, 128]
    small = [detector.score(x[i : i + 100]) for i in range(0, len(x), 100)]
    assert large.raw.tobytes() == np.concatenate([s.raw for s in small]).tobytes()
    assert large.expected is not None
    assert large.expected.tobytes() == np.concatenate([s.expected for s in small if s.expected is not None]).tobytes()


@pytest.mark.parametrize(
    ("windows", "passes"),
    [(1, [32]), (33, [32, 32]), (60, [128]), (300, [512]), (1000, [512, 512]), (3000, [2048, 512, 512])],
)
def test_a_pass_has_the_size_at_which_a_window_costs_least(
    windows: int, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = registry.create("lstm")
    detector.other_tiles = OTHERS
    monkeypatch.setattr(detector, "_is_exact", lambda size: True)
    taken: list[int] = []
    while windows > sum(taken):
        taken.append(detector._size(windows - sum(taken)))
    assert taken == passes


@pytest.mark.parametrize("name", ["lstm", "tcn", "autoencoder"])
def test_a_few_have_the_bits_of_many(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = fitted(name)
    many = detector.score(x[:140])
    sizes: list[int] = []
    score = detector._score
    monkeypatch.setattr(detector, "_score", lambda of: sizes.append(len(of)) or score(of))
    few = [detector.score(x[i : i + 7]) for i in range(0, 140, 7)]
    assert many.raw.tobytes() == np.concatenate([s.raw for s in few]).tobytes()
    if all(detector._equal_bits.values()):
        assert sizes[-1] == min(detector.other_tiles)


@pytest.mark.parametrize("size", [512, 32])
def test_a_tile_of_other_bits_is_not_taken(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = fitted("tcn")
    score = detector._score

    def other(of: np.ndarray) -> Scores:
        scores = score(of)
        if len(of) == size:
            scores.raw[-1] = np.nextafter(scores.raw[-1], np.inf)
        return scores

    expected = np.concatenate([detector.score(x[i : i + 100]).raw for i in range(0, len(x), 100)])
    monkeypatch.setattr(detector, "_score", other)
    detector._equal_bits.clear()
    assert detector.score(x).raw.tobytes() == expected.tobytes()
    assert detector.score(x[:5]).raw.tobytes() == expected[:5].tobytes()
    assert [n for (n, _), equal in detector._equal_bits.items() if not equal] == [size]
