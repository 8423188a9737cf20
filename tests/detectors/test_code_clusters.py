"""Clusters of a code: small ones and what is far from all is anomalous."""

from __future__ import annotations

import numpy as np

from detectors.code_clusters import CodeClusters, CodeClustersConfig, large_clusters

RNG = np.random.default_rng(0)


def test_a_small_cluster_is_no_measure_of_what_is_normal() -> None:
    at = np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, 9.0]])
    codes = np.repeat(at, [180, 150, 20], axis=0) + RNG.normal(0.0, 0.1, (350, 2))
    centres, radii = large_clusters(codes, CodeClustersConfig(channels=5, clusters=3))
    assert np.sort(centres[np.isfinite(centres).all(axis=1)][:, 0]).round().tolist() == [-3.0, 3.0]
    assert (radii[np.isfinite(centres).all(axis=1)] < 0.3).all()
    every, _ = large_clusters(codes, CodeClustersConfig(channels=5, clusters=3, share=1.0))
    assert np.isfinite(every).all()


def test_rows_of_a_small_group_score_above_all_of_the_large_ones() -> None:
    groups = RNG.normal(size=(3, 6)) * 3.0
    of = np.repeat([0, 1, 2], [200, 180, 15])
    rows = (groups[of] + RNG.normal(0.0, 0.2, (395, 6))).astype(np.float32)[:, None]
    config = CodeClustersConfig(
        channels=6, layers=(4, 2, 4), clusters=3, error=False, training={"epochs": 15, "learning_rate": 0.01}
    )
    detector = CodeClusters(config)
    detector.fit(rows[RNG.permutation(395)])
    raw = detector.score(rows).raw
    assert np.median(raw[of == 2]) > np.quantile(raw[of != 2], 0.99)
