"""The compiled walks over rows of a table beside the same in numpy: equal by bits; and trees that no walk may follow are refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.base import DetectorError
from detectors.isolation_forest import TOLD, IsolationForest, IsolationForestConfig
from detectors.kmeans import nearest


def forest(rng: np.random.Generator, x: NDArray[np.float32], **settings: int) -> IsolationForest:
    made = IsolationForest(IsolationForestConfig(channels=x.shape[1], **settings))
    made.fit(x[:, None])
    return made


def walked(
    rows: NDArray[np.float32], arrays: dict[str, NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Depths (B,) and what the columns' cuts tell (B, D), all trees at once."""
    cut, inner = arrays["cut"], arrays["cut"].shape[1]
    every, tree = np.arange(len(rows))[None, :], np.arange(len(cut))[:, None]
    node, told = np.zeros((len(cut), len(rows)), np.int32), np.zeros(rows.shape)
    while node[0, 0] < inner:  # all are on one level
        feature = arrays["feature"][tree, node]
        node = 2 * node + 1 + (rows[every, feature] > cut[tree, node])
        np.add.at(told, (np.broadcast_to(every, node.shape), feature), arrays["bits"][tree, node].astype(np.float64))
    return arrays["depth"][tree, node - inner].sum(axis=0), told


@pytest.mark.parametrize(("samples", "trees"), [(2, 3), (100, 7), (1024, 40)])
def test_a_forest_is_walked_as_in_numpy(samples: int, trees: int) -> None:
    rng = np.random.default_rng(samples)
    x = np.where(rng.random((1500, 5)) < 0.3, 1.0, rng.normal(size=(1500, 5))).astype(np.float32)  # also rows on a cut
    detector = forest(rng, x, max_samples=samples, trees=trees)
    probe = np.concatenate([x[:200], 6.0 * x[:77]])
    scores = detector.score(probe[:, None])
    depths, told = walked(probe, detector.arrays())
    assert scores.raw.tolist() == (2.0 ** (-depths / (trees * detector.arrays()["expected"][0]))).tolist()
    odd = scores.raw > TOLD
    assert 0 < odd.sum() < len(probe) or samples == 2
    total = told.sum(axis=1)
    wanted = told * (scores.raw / np.where(total > 0, total, 1.0))[:, None]
    assert scores.contributions is not None
    np.testing.assert_array_equal(scores.contributions[odd], wanted[odd].astype(np.float32))
    assert not scores.contributions[~odd].any()


@pytest.mark.parametrize(
    ("name", "at", "value", "says"),
    [
        ("feature", (0, 0), 5, "a tree looks at column 5 of 5"),
        ("feature", (2, 1), -1, "a tree looks at column -1 of 5"),
        ("cut", np.s_[:, :-1], None, "no full trees"),
        ("depth", np.s_[:, :-1], None, "no full trees"),
        ("bits", np.s_[:, 2:], None, "no full trees"),
        ("depth", np.s_[:, :0], None, "no full trees"),
    ],
)
def test_trees_that_lead_out_of_their_arrays_are_refused(name: str, at: object, value: int | None, says: str) -> None:
    rng = np.random.default_rng(0)
    detector = forest(rng, rng.normal(size=(300, 5)).astype(np.float32), trees=3)
    arrays = detector.arrays()
    if value is None:
        arrays[name] = arrays[name][at]  # type: ignore[index]
    else:
        arrays[name] = arrays[name].copy()
        arrays[name][at] = value  # type: ignore[index]
    with pytest.raises(DetectorError, match=says):
        IsolationForest.from_arrays(detector.config, arrays)


@pytest.mark.parametrize(("n", "columns", "centres"), [(1, 1, 1), (303, 7, 16), (42, 106, 3), (5, 2, 9)])
def test_the_nearest_centre_is_that_of_numpy(n: int, columns: int, centres: int) -> None:
    rng = np.random.default_rng(n)
    rows, of = rng.normal(size=(n, columns)), rng.normal(size=(centres, columns))
    of[-1] = of[0]  # of equally near ones the first
    far = np.zeros((n, centres))
    for d in range(columns):
        far += np.square(rows[:, d, None] - of[None, :, d])
    which, squares = nearest(rows, of)
    assert which.tolist() == far.argmin(axis=1).tolist()
    assert squares.tolist() == far.min(axis=1).tolist()
    assert [nearest(rows[i : i + 1], of)[1][0] for i in range(n)] == squares.tolist()
