"""Tiles of two sizes: the large one is taken where it gives the same bits, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from detectors import registry
from detectors.base import Detector, Scores

x = np.random.default_rng(1).normal(size=(700, 12, 1)).astype(np.float32)


def fitted(name: str) -> Detector:
    detector = registry.create(name, window=12, hidden=8, training={"epochs": 1, "windows_per_epoch": 64})
    detector.fit(x)
    return detector


@pytest.mark.parametrize("name", ["lstm", "tcn"])
def test_a_backlog_has_the_bits_of_small_tiles(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = fitted(name)
    sizes: list[int] = []
    score = detector._score
    monkeypatch.setattr(detector, "_score", lambda of: sizes.append(len(of)) or score(of))
    large = detector.score(x)
    (equal,) = detector._equal_bits.values()
    if equal:
        assert sizes[-1] == detector.tile
        assert sizes.count(detector.large_tile) == 1 + len(x) // detector.large_tile
    small = [detector.score(x[i : i + 100]) for i in range(0, len(x), 100)]
    assert large.raw.tobytes() == np.concatenate([s.raw for s in small]).tobytes()
    assert large.expected is not None
    assert large.expected.tobytes() == np.concatenate([s.expected for s in small if s.expected is not None]).tobytes()


def test_a_large_tile_of_other_bits_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = fitted("tcn")
    score = detector._score

    def other(of: np.ndarray) -> Scores:
        scores = score(of)
        if len(of) == detector.large_tile:
            scores.raw[-1] = np.nextafter(scores.raw[-1], np.inf)
        return scores

    expected = np.concatenate([detector.score(x[i : i + 100]).raw for i in range(0, len(x), 100)])
    monkeypatch.setattr(detector, "_score", other)
    assert detector.score(x).raw.tobytes() == expected.tobytes()
    assert list(detector._equal_bits.values()) == [False]
