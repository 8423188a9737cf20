"""The classical detectors give the scores of the libraries and formulas that they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import decomposition
from sklearn.covariance import EmpiricalCovariance
from sklearn.ensemble import IsolationForest as SklearnForest
from sklearn.svm import OneClassSVM as SklearnSVM

from detectors import registry
from detectors.base import Detector


def rows(n: int = 700, D: int = 4) -> NDArray[np.float32]:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(n, D)) @ rng.normal(size=(D, D))
    x[:, 0] = x[:, 0].round()  # ties
    return x.astype(np.float32)


def fitted(name: str, x: NDArray[np.float32], **settings: object) -> Detector:
    detector = registry.create(name, channels=x.shape[1], **settings)
    detector.fit(x[:, None])
    return detector


@pytest.mark.parametrize(("samples", "trees"), [(256, 100), (100, 7), (2, 3), (700, 10)])
def test_isolation_forest_scores_as_scikit_learn(samples: int, trees: int) -> None:
    x = rows()
    theirs = SklearnForest(n_estimators=trees, max_samples=samples, random_state=3).fit(x)
    ours = fitted("isolation-forest", x, max_samples=samples, trees=trees, seed=3)
    # Values on the cuts themselves, where a rounded cut would send them the wrong way.
    cuts = np.concatenate([tree.tree_.threshold for tree in theirs.estimators_]).astype(np.float32)[:2000]
    probe = np.concatenate([x, np.resize(cuts, (500, 4)), np.nextafter(np.resize(cuts, (500, 4)), np.float32(9))])
    assert np.allclose(ours.score(probe[:, None]).raw, -theirs.score_samples(probe), rtol=1e-13, atol=0)


def test_isolation_forest_takes_fewer_samples_where_there_are_fewer() -> None:
    x = rows(50)
    theirs = SklearnForest(max_samples=50, random_state=0).fit(x)
    ours = fitted("isolation-forest", x).score(x[:, None]).raw
    assert np.allclose(ours, -theirs.score_samples(x), rtol=1e-13, atol=0)


def test_isolation_forest_says_which_columns_made_a_row_easy_to_isolate() -> None:
    x = np.random.default_rng(4).normal(size=(2000, 6)).astype(np.float32)
    detector = fitted("isolation-forest", x, max_samples=1024)
    probe = np.zeros((4, 6), np.float32)
    probe[0, 2], probe[1, 4], probe[2, [0, 5]] = 9.0, -9.0, 9.0
    scores = detector.score(probe[:, None])
    assert scores.contributions is not None
    shares = scores.contributions / np.maximum(scores.contributions.sum(axis=1, keepdims=True), 1e-9)
    assert shares[0].argmax() == 2
    assert shares[1].argmax() == 4
    assert set(np.argsort(shares[2])[-2:].tolist()) == {0, 5}
    assert min(shares[0, 2], shares[1, 4], shares[2, [0, 5]].sum()) > 0.6
    assert np.allclose(scores.contributions[:3].sum(axis=1), scores.raw[:3], atol=1e-6)
    assert not scores.contributions[3].any()  # in the middle of all: nothing to share
    windows = registry.create("isolation-forest", channels=3, window=2, covariates=0)
    windows.fit(x.reshape(2000, 2, 3))
    of = windows.score(probe.reshape(4, 2, 3)).contributions
    assert of is not None
    assert [int(row.argmax()) for row in of[:2]] == [2, 1]  # of the channel, wherever in the window


def test_an_isolation_forest_from_before_it_told_shares_scores_as_it_did() -> None:
    x = rows()
    detector = fitted("isolation-forest", x)
    arrays = {name: a for name, a in detector.arrays().items() if name != "bits"}
    before = type(detector).from_arrays(detector.config, arrays)
    scores = before.score(x[:, None])
    assert scores.contributions is None
    assert np.array_equal(scores.raw, detector.score(x[:, None]).raw)
    assert before.arrays().keys() == arrays.keys()


@pytest.mark.parametrize("gamma", [None, 0.3])
def test_one_class_svm_scores_as_scikit_learn(gamma: float | None) -> None:
    x = rows()
    theirs = SklearnSVM(nu=0.1, gamma=gamma or "scale").fit(x.astype(np.float64))
    ours = fitted("ocsvm", x, nu=0.1, gamma=gamma)
    probe = np.concatenate([x, 10.0 * x, np.zeros((1, 4), np.float32)])
    wanted = -theirs.score_samples(probe.astype(np.float64))
    assert np.allclose(ours.score(probe[:, None]).raw, wanted, rtol=1e-10, atol=1e-12)


def test_one_class_svm_fits_on_at_most_so_many_rows() -> None:
    x = rows()
    assert 50 <= len(fitted("ocsvm", x, nu=0.5, max_rows=100).arrays()["support"]) <= 100


def test_pca_rebuilds_as_scikit_learn_where_nothing_is_trimmed() -> None:
    x = rows()
    theirs = decomposition.PCA(n_components=0.95).fit(x.astype(np.float64))
    rebuilt = theirs.inverse_transform(theirs.transform(x.astype(np.float64)))
    scores = fitted("pca", x, trim=0.0).score(x[:, None])
    assert np.allclose(scores.raw, np.sqrt(np.square(x - rebuilt).mean(axis=1)), atol=1e-9)
    assert scores.expected is not None
    assert np.allclose(scores.expected, rebuilt, atol=1e-5)
    assert scores.contributions is not None
    assert np.allclose(scores.contributions.sum(axis=1), scores.raw, atol=1e-5)


def test_pca_leaves_out_outliers_that_would_be_a_direction_of_their_own() -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(1000, 2)) @ rng.normal(size=(2, 6))).astype(np.float32)
    away = np.zeros(6, np.float32)
    away[3] = 1000.0
    spoilt = np.concatenate([x, np.tile(away, (20, 1))])
    assert fitted("pca", spoilt, trim=0.0).score(spoilt[:, None]).raw[-1] < 5.0
    assert fitted("pca", spoilt).score(spoilt[:, None]).raw[-1] > 100.0


def test_kmeans_gives_outliers_no_centre_of_their_own() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(c, 0.1, (200, 2)) for c in (-3.0, 0.0, 3.0)]).astype(np.float32)
    spoilt = np.concatenate([x, np.full((10, 2), 100.0, np.float32)])
    detector = fitted("kmeans", spoilt, clusters=3)
    assert np.allclose(np.sort(detector.arrays()["centres"][:, 0]), [-3.0, 0.0, 3.0], atol=0.1)
    assert detector.score(spoilt[:, None]).raw[-1] == pytest.approx(97.0, abs=0.5)


def test_mahalanobis_distance_is_scikit_learns_where_nothing_is_trimmed_clipped_or_raised() -> None:
    x = rows()
    theirs = EmpiricalCovariance().fit(x.astype(np.float64)).mahalanobis(x.astype(np.float64))  # squared, of 4 columns
    scores = fitted("mahalanobis", x, trim=0.0, limit=1e6, floor=1e-12).score(x[:, None])
    assert np.allclose(scores.raw, np.sqrt(theirs / 4), rtol=1e-6)
    assert scores.contributions is not None
    assert np.allclose(scores.contributions.sum(axis=1), scores.raw, atol=1e-5)


def test_outliers_among_the_rows_do_not_widen_what_mahalanobis_takes_for_normal() -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(1000, 2)) @ rng.normal(size=(2, 6)) + rng.normal(0.0, 0.1, (1000, 6))).astype(np.float32)
    odd = rng.normal(0.0, 2.0, (30, 6)).astype(np.float32)
    spoilt = np.concatenate([x, odd])
    wide, narrow = (
        fitted("mahalanobis", spoilt, trim=trim, floor=1e-6).score(spoilt[:, None]).raw for trim in (0.0, 0.05)
    )
    assert np.median(narrow[-30:]) > 2.0 * np.median(wide[-30:])


@pytest.mark.parametrize("same", [0.0, 3.0])
def test_mahalanobis_of_rows_that_are_all_equal_sees_any_change(same: float) -> None:
    detector = fitted("mahalanobis", np.full((50, 3), same, np.float32))
    raw = detector.score(np.array([[[same] * 3], [[same, same, same + 1.0]]])).raw
    assert raw[0] == 0.0
    assert raw[1] > 1.0


def test_a_model_of_scikit_learn_leaves_no_python_object_behind(tmp_path: Path) -> None:
    for name in ("isolation-forest", "ocsvm"):
        for array in fitted(name, rows()).arrays().values():
            assert array.dtype.kind in "if"
