"""Splits share nothing that they must not, columns are what they are said to be, metrics show what swapped arguments hide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.accuracy import tables
from benchmarks.accuracy.contenders import CONTENDERS, MORE_SEEDS, Columns
from benchmarks.accuracy.experiments import Split, _block, _distinct, _in_order, _random, _table, experiments
from benchmarks.accuracy.marks import CLAIMS, MARKS
from benchmarks.accuracy.tables import Encoded
from detectors import registry
from detectors.features import FeatureEncoder
from producers.datasets import open_dataset


def test_swapped_arguments_flatter_a_detector_that_finds_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    y = (np.arange(10_000) < 50).astype(np.int8)
    scores = rng.normal(size=10_000)
    scores[:3] = 9.0
    figure, recall = tables._swapped(y, scores, None)
    assert figure > 0.99
    assert recall < 0.1


def test_the_best_threshold_by_hand_is_half_the_sum_of_both_rates() -> None:
    y = np.array([0, 0, 0, 0, 1, 1], np.int8)
    assert tables._by_hand(y, np.array([0.0, 1.0, 2.0, 5.0, 4.0, 6.0])) == pytest.approx(0.5 * (1.0 + 0.75))


def test_episodes_are_found_above_the_level_of_one_normal_row_in_a_thousand() -> None:
    y = np.zeros(5000, np.int8)
    y[1000:1010] = y[3000:3010] = 1
    scores = np.linspace(0, 1, 5000)
    scores[1005] = 2.0
    scores[3000:3010] = 0.5
    assert tables._episodes(y, scores) == (2, 1)


def test_a_curve_begins_at_recall_0_and_ends_at_recall_1_and_the_prevalence() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(2000) < 0.1).astype(np.int8)
    curve = tables._curve(y, rng.normal(size=2000))
    assert curve[0][0] == 0.0
    assert curve[-1] == (1.0, pytest.approx(y.mean(), abs=0.01))
    assert len(curve) <= tables.CURVE_POINTS


def test_no_split_shares_rows_between_training_and_test() -> None:
    table = _table(open_dataset("synthetic-creditcard"))
    for split in (_random(table, 3, 0.8), _in_order(table, 0.3), _block(table, 1, 5)):
        train, test = (part.series.positions for part in (split.train, split.test))
        assert len(np.intersect1d(train, test)) == 0
        assert len(train) + len(test) == len(table)
    assert _in_order(table, 0.3).train.series.positions.max() < _in_order(table, 0.3).test.series.positions.min()


def test_copies_across_a_split_are_counted_and_distinct_rows_have_none() -> None:
    table = _table(open_dataset("synthetic-kdd"))
    twice = table.take(np.r_[np.arange(len(table)), np.arange(len(table))])
    split = Split(twice.take(np.arange(len(table))), twice.take(np.arange(len(table), len(twice))))
    assert tables._copies(split) == 1.0
    once = _distinct(twice)
    assert len(once) <= len(table)
    assert tables._copies(_random(once, 0, 0.5)) == 0.0


def test_every_contender_can_be_built_and_says_whether_it_needs_labels() -> None:
    for contender in CONTENDERS:
        detector = registry.create(contender.detector, channels=29, seed=0, **contender.settings)
        assert detector.config.window == 1
        assert detector.supervised == (contender.fits_on == "labels")
        assert "rows" in detector.kinds


def test_unit_variance_is_of_the_fitted_rows_and_leaves_constant_columns_alone() -> None:
    train = np.array([[[1.0, 5.0]], [[3.0, 5.0]]], np.float32)
    test = np.array([[[4.0, 7.0]]], np.float32)
    done = Encoded(train, np.zeros(2, np.int8), test).standardised()
    assert done.train[:, 0].tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert done.test[:, 0].tolist() == [[2.0, 2.0]]


def test_wide_columns_are_clipped_and_then_have_their_variance_over_the_fitted_rows() -> None:
    train = np.array([[[0.0, 0.0]], [[2.0, 90.0]]], np.float32)
    done = Encoded(train, np.zeros(2, np.int8), train[1:]).shown_as("wide")
    assert done.train[:, 0].tolist() == [[-1.5, -1.5], [1.5, 1.5]]
    assert Encoded(train, np.zeros(2, np.int8), 100 * train[1:]).shown_as("wide").test[0, 0].tolist() == [7.5, 1.5]


@pytest.mark.parametrize("columns", tables.CLIPS)
def test_columns_are_clipped_as_an_encoder_with_that_limit_clips_them(columns: Columns) -> None:
    split = _random(_table(open_dataset("synthetic-kdd")), 0, 0.5)
    done = tables.encode(split, "all", seed=0).shown_as(columns)
    limited = FeatureEncoder(split.train.channels, split.train.categorical, clip=tables.CLIPS[columns])
    limited.fit(split.train.series.rows())
    wanted, _ = limited.encode(split.test.series.rows())
    assert done.test[:, 0].tolist() == wanted.astype(np.float32).tolist()
    assert np.abs(done.test).max() == tables.CLIPS[columns]


def test_raw_columns_are_numbers_as_they_are_and_places_of_categories_of_the_fitted_rows() -> None:
    table = _table(open_dataset("synthetic-kdd"))
    flag = table.channels.index("flag")
    columns = list(table.series.columns)
    columns[flag] = np.array(["SF", "REJ", "S0"] + ["SF"] * (len(table) - 3), object)
    table = replace(table, series=replace(table.series, columns=tuple(columns)), y=np.zeros(len(table), np.int8))
    train, test = table.take(np.r_[0, 1, 3:100]), table.take(np.array([2, 0]))
    done = tables.encode(Split(train, test), "all", seed=0, raw=True)
    assert done.train[:2, 0, flag].tolist() == [1.0, 0.0]
    assert done.test[:, 0, flag].tolist() == [2.0, 1.0], "a category that was not fitted on comes last"
    bytes_sent = table.channels.index("src_bytes")
    assert done.train[:, 0, bytes_sent].tolist() == train.series.columns[bytes_sent].astype(np.float32).tolist()


def test_only_normal_rows_reach_the_encoder_of_a_detector_that_fits_on_normal_rows() -> None:
    table = _table(open_dataset("synthetic-creditcard"))
    split = _random(table, 0, 0.5)
    done = tables.encode(split, "normal", seed=0)
    assert len(done.train) == int((split.train.y == 0).sum())
    assert not done.y.any()


def test_more_seeds_are_of_contenders_and_drawn_protocols_that_there_are() -> None:
    drawn = {(e.name, p.name): e.seeds for e in experiments() for p in e.protocols if p.drawn}
    for place, (seeds, contenders) in MORE_SEEDS.items():
        assert seeds > drawn[place]
        assert set(contenders) <= {c.label for c in CONTENDERS if c.takes_part(place[0])}


def test_every_claim_and_mark_is_answered_by_contenders_and_protocols_that_there_are() -> None:
    protocols = {e.name: {p.name for p in e.protocols} for e in experiments()}
    labels = {c.label: c for c in CONTENDERS}
    for claim in CLAIMS:
        assert labels[claim.contender].takes_part(claim.experiment)
        assert not claim.honest or claim.honest in protocols[claim.experiment]
    for mark in MARKS:
        if mark.experiment in protocols:
            assert mark.protocol in protocols[mark.experiment]
            assert all(labels[c].takes_part(mark.experiment) for c in mark.contenders)
