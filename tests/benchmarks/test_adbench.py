"""The study of tables: its parts, its peers' formulas, its ranks."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import adbench


def _table() -> adbench.Table:
    rng = np.random.default_rng(0)
    y = (np.arange(4000) % 5 == 0).astype(np.int8)
    rows = rng.normal(size=(4000, 3))
    rows[y == 1] += 6.0
    return adbench.Table("made up", rows, y, 2000)


@pytest.mark.parametrize(("share", "few"), [(0.0, 0), (0.05, 84)])
def test_a_training_part_has_the_share_of_anomalies_that_it_says_and_nothing_of_what_is_judged(
    share: float, few: int
) -> None:
    table = _table()
    learnt, judged, y, odd = table.parts(share)
    assert odd == few
    assert (learnt.mean(axis=1) > 3).sum() == few
    assert len(learnt) == 1600 + few
    np.testing.assert_array_equal(judged, table.rows[2000:])
    np.testing.assert_array_equal(y, table.y[2000:])


@pytest.mark.parametrize("name", adbench.PEERS)
def test_peers_rank_what_lies_far_from_all_first(name: str) -> None:
    learnt, judged, y, _ = _table().parts(0.0)
    score = adbench.PEERS[name](learnt, judged)
    assert score[y == 1].mean() > score[y == 0].mean()


def test_ecod_is_the_sum_of_the_tails() -> None:
    learnt = np.array([[1.0], [2.0], [3.0], [4.0]])
    np.testing.assert_allclose(adbench.ecod(learnt, np.array([[4.0], [9.0], [2.5]])), [np.log(4), np.log(4), np.log(2)])


def test_ranks_are_means_and_equals_share_theirs() -> None:
    names = adbench.CONTENDERS
    figures = [
        dict(zip(names, [0.9, 0.5, 0.5, 0.4, 0.1], strict=True)),
        dict(zip(names, [0.1, 0.9, 0.8, 0.7, 0.6], strict=True)),
    ]
    assert list(adbench.ranks(figures).values()) == [3.0, 1.75, 2.25, 3.5, 4.5]
