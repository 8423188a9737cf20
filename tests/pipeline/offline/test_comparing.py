"""Figures of a comparison are right for alerts and events that were put there; the choice does not see what it is judged on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors.judgement.calendar import Calendar
from pipeline.offline.comparing import Candidate, Outcome, Watched, best, figures, in_words, try_out
from pipeline.offline.scorefile import score_dataset
from producers.datasets import Dataset, Labels, Series

MINUTE, WEEK = 60_000, 7 * 86_400_000
N = 2 * WEEK // MINUTE


def watched(alerts: list[tuple[int, int]], events: list[tuple[int, int]], name: str = "s") -> Watched:
    y = np.zeros(N, np.int8)
    score = np.zeros(N)
    for a, b in events:
        y[a : b + 1] = 1
    for a, b in alerts:
        score[a : b + 1] = 5
    return Watched(name, np.arange(N, dtype=np.int64) * MINUTE, y, score, alerts, events)


def outcome(*series: Watched, detector: str = "zscore") -> Outcome:
    return Outcome(Candidate(detector), "metric", series, 1.0, 2.0, N)


def test_alerts_a_week_found_false_and_late() -> None:
    found = figures(
        outcome(watched([(100, 120), (5_000, 5_010), (9_050, 9_060)], [(90, 130), (9_000, 9_100), (15_000, 15_050)]))
    )
    assert (found.events, found.found, found.alerts, found.false) == (3, 2, 3, 1)
    assert found.alerts_a_week == pytest.approx(1.5, rel=1e-3)
    assert found.false_a_week == pytest.approx(0.5, rel=1e-3)
    assert found.delay_rows == 30  # 10 and 50
    assert found.rows_a_second == N / 2
    assert found.found_low < 2 / 3 < found.found_high
    assert found.false_low <= 0.5 <= found.false_high
    assert "1.5 alerts per series and week, 1 of them labelled, 0.5 false" in in_words(found, "metric")


def test_an_alert_without_end_finds_only_what_it_began_with() -> None:
    found = figures(outcome(watched([(1_000, N - 1)], [(1_000, 1_010), (9_000, 9_010), (15_000, 15_010)])))
    assert (found.found, found.false) == (1, 0)


def test_parts_hold_what_begins_in_them() -> None:
    whole = outcome(watched([(100, 120), (15_000, 15_010)], [(100, 130), (15_000, 15_010), (18_000, 18_010)]))
    first, second = figures(whole, 0.0, 0.5), figures(whole, 0.5, 1.0)
    assert (first.events, first.found, second.events, second.found) == (1, 1, 2, 1)


def test_what_is_judged_on_does_not_reach_the_choice() -> None:
    early, late = (
        watched([(100, 120)], [(100, 130), (15_000, 15_010)]),
        watched([(15_000, 15_005)], [(100, 130), (15_000, 15_010)]),
    )
    ones = [outcome(early, detector="zscore"), outcome(late, detector="pca")]
    chosen = best([figures(o, 0.0, 0.5) for o in ones], false_a_week=1.0)
    assert chosen.candidate == "zscore"


def test_within_the_budget_the_one_that_finds_most_else_the_quietest() -> None:
    usual = figures(outcome(watched([(100, 120)], [(100, 130)])))
    loud = replace(usual, candidate="loud", found=3, false_a_week=9.0)
    calm = replace(usual, candidate="calm", found=1, false_a_week=0.5)
    assert best([loud, calm], 1.0) is calm
    assert best([loud, calm], 10.0) is loud
    assert best([loud, replace(calm, false_a_week=2.0)], 0.1).candidate == "calm"
    better = replace(calm, vus_pr=calm.vus_pr + 0.1)
    assert best([calm, better], 1.0) is better  # of those that find the same the one that ranks best


def labelled(n: int = 3_000) -> Dataset:
    rng = np.random.default_rng(0)
    values, y = 50 + rng.normal(size=n), np.zeros(n, np.bool_)
    for k in range(600, n, 300):
        values[k : k + 4] += 30
        y[k : k + 4] = True
    times = 1_767_225_600_000 + np.arange(n) * 900_000
    return Dataset("d", "metric", ("v",), "here", {"s": Series("s", times, (values,), 900_000)}, {"s": Labels((), y)})


def test_candidates_are_judged_on_the_same_rows_and_one_that_cannot_be_is_told() -> None:
    left: list[str] = []
    found = try_out(
        labelled(),
        [Candidate("zscore", (), "1 per series per day"), Candidate("seasonal"), Candidate("tcn-classifier")],
        on_left_out=left.append,
    )
    assert len({len(o.watched[0].times) for o in found}) == 1
    assert len(found) + len(left) == 3
    assert figures(found[0]).found >= 1


def test_what_differs_in_the_budget_only_is_learnt_once() -> None:
    budgets = ("1 per series per day", "1 per series per year")
    day, year = try_out(labelled(), [Candidate("zscore", (), b) for b in budgets])
    assert day.learning == year.learning
    assert figures(day).alerts >= figures(year).alerts


def test_missing_numbers_are_filled_in_for_learning_as_they_are_for_scoring() -> None:
    rows = np.random.default_rng(0).normal(size=(1_000, 2))
    rows[::50, 1] = np.nan
    y = np.zeros(1_000, np.bool_)
    rows[600:1_000:100, 0], y[600:1_000:100] = 9, True
    series = Series("t", np.arange(1_000, dtype=np.int64), tuple(rows.T.copy()))
    data = Dataset("t", "table", ("a", "b"), "here", {"t": series}, {"t": Labels((), y)})
    [found] = try_out(data, [Candidate("kmeans")])
    [told] = found.watched
    scored = score_dataset(data, detector="kmeans")
    assert np.array_equal(told.score, scored.ranking[-len(told.score) :])
    assert figures(found).events == 4


def test_a_judgement_is_ranked_by_its_own_score() -> None:
    data = labelled(700)
    [found] = try_out(data, [Candidate("")], calendar=Calendar("Europe/Berlin"))
    [told] = found.watched
    scored = score_dataset(data, calendar=Calendar("Europe/Berlin"))
    assert np.array_equal(told.score, scored.score[np.isfinite(scored.score)])
