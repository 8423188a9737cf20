"""What supervised detectors do where anomalies are rare: weights, repeated, left out and made windows."""

from __future__ import annotations

import numpy as np
import pytest

from detectors import registry
from detectors.base import DetectorError
from detectors.classifier import Classifier, resampled

RNG = np.random.default_rng(0)
Y = np.r_[np.zeros(190), np.ones(10)].astype(np.int8)
X = (RNG.normal(size=(200, 1, 3)) + 4.0 * Y[:, None, None]).astype(np.float32)


@pytest.mark.parametrize(
    ("how", "normal", "rare"), [("none", 190, 10), ("over", 190, 95), ("under", 20, 10), ("smote", 190, 95)]
)
def test_as_many_of_each_as_balance_asks_for(how: str, normal: int, rare: int) -> None:
    x, y = resampled(X, Y, how, 0.5, 0)  # type: ignore[arg-type]
    assert (int((y == 0).sum()), int((y == 1).sum())) == (normal, rare)
    assert x.shape[1:] == (1, 3)


def test_oversampling_repeats_and_smote_makes_rows_between_anomalous_ones() -> None:
    def made(how: str) -> np.ndarray:
        x, y = resampled(X, Y, how, 1.0, 0)  # type: ignore[arg-type]
        return x[y == 1][:, 0]

    known = X[Y == 1][:, 0]
    assert len(np.unique(made("over"), axis=0)) == 10
    new = made("smote")
    assert len(np.unique(new, axis=0)) > 100
    assert (new >= known.min(axis=0) - 1e-5).all()
    assert (new <= known.max(axis=0) + 1e-5).all()


def test_what_is_rare_no_more_stays_as_it_is() -> None:
    assert resampled(X, Y, "over", 0.05, 0)[0] is X


def test_one_anomaly_alone_has_no_neighbour() -> None:
    y = np.r_[np.zeros(199), 1].astype(np.int8)
    with pytest.raises(DetectorError, match=r"resample=smote .* take resample=over"):
        resampled(X, y, "smote", 1.0, 0)


@pytest.mark.parametrize(
    ("settings", "weight", "rows"),
    [
        ({}, 19**0.5, 180),
        ({"class_weight": "balanced"}, 19.0, 180),
        ({"class_weight": "none"}, 1.0, 180),
        ({"resample": "smote"}, 1.0, 342),
    ],
)
def test_the_rare_class_weighs_as_it_was_set_and_what_stops_training_is_not_resampled(
    settings: dict[str, object], weight: float, rows: int
) -> None:
    detector = registry.create("tcn-classifier", channels=3, **settings)
    assert isinstance(detector, Classifier)
    train, held = detector._split(X, Y, None)
    assert detector._weight == pytest.approx(weight)
    assert (len(train[0]), len(held[0])) == (rows, 20)
