"""A stream whose model has a judgement: score and alarm of every row, cut in any way, from history and from nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.calibration import create
from detectors.judged import with_judgement
from detectors.model import Model
from detectors.training import train_metric
from pipeline.partition.core import PartitionCore
from pipeline.partition.deciding.carrying import carried, differing, learns_first, shape_of
from pipeline.partition.stream import create_stream
from pipeline.settings import StreamSettings, ThresholdSettings
from pipeline.steps.batches.observations import Observations
from pipeline.steps.judgement import Judgements

STEP = 300_000
T0 = 1_404_172_800_000
LEARNT = 600
N = 900


def values(name: str, n: int = N) -> np.ndarray:
    rng = np.random.default_rng(ord(name[0]))
    return (np.sin(np.arange(n) / 46.0) + rng.normal(0, 0.1, n) + 10.0)[:, None]


@pytest.fixture(scope="module")
def model() -> Model:
    recorded = {n: (T0 + STEP * np.arange(LEARNT), values(n)[:LEARNT]) for n in "ab"}
    members = train_metric(recorded, [("zscore", {"window": 12})], create("empirical"), training_rows=lambda n: n)
    return with_judgement(members, recorded)


def rows_of(name: str, first: int = 0, last: int = N) -> list[tuple[int, str, float]]:
    return [(T0 + STEP * i, name, float(v)) for i, v in enumerate(values(name)[:, 0].tolist()) if first <= i < last]


def observations(rows: list[tuple[int, str, float]], offset: int = 0) -> Observations:
    times, names, numbers = zip(*rows, strict=True)
    return Observations(
        np.arange(offset, offset + len(rows)), list(names), np.array(times), np.array(numbers, np.float64)[:, None]
    )


def run(
    model: Model, rows: list[tuple[int, str, float]], cuts: tuple[int, ...] = (), **given: Any
) -> tuple[PartitionCore, list[Any]]:
    """Everything a partition says of rows in log order, cut there: alerts and score records."""
    core = create_stream(StreamSettings(name="waves", model=Path("unused"), **given), model).core(0)
    said: list[Any] = []
    for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        if a == b:
            continue
        for _, settled in core.process(observations(rows[a:b], a)):
            said += settled.alerts
            said += core.life.records.scores(core.state, settled.scored)
    return core, said


def odd(rows: list[tuple[int, str, float]]) -> list[tuple[int, str, float]]:
    """In log order, with a spike in "a", a gap and then a spike in "b", rows late and twice, and a series that nobody knows."""
    at = T0 + STEP * np.array([720, 700, 740])
    spiked = [(t, n, v + 3.0 if (n, t) in (("a", at[0]), ("b", at[2])) else v) for t, n, v in rows]
    kept = [r for r in spiked if not (r[1] == "b" and at[1] < r[0] < at[1] + 9 * STEP)]
    kept += [(t, "new", v) for t, _, v in rows_of("c", 560, 820)]
    kept.sort(key=lambda r: (r[0], r[1]))
    return [*kept[:1200], kept[1100], kept[1199], *kept[1200:]]


LOG = odd(rows_of("a") + rows_of("b"))


@pytest.fixture(scope="module")
def whole(model: Model) -> tuple[PartitionCore, list[Any]]:
    return run(model, LOG)


@given(cuts=st.lists(st.integers(1, len(LOG) - 1), max_size=12, unique=True).map(sorted))
@settings(deadline=None, max_examples=15)
def test_no_cut_changes_a_bit(model: Model, whole: tuple[PartitionCore, list[Any]], cuts: list[int]) -> None:
    core, said = run(model, LOG, tuple(cuts))
    key = lambda r: (hasattr(r, "sequence"), repr(r))  # noqa: E731  # alerts and scores of a batch are told one after the other
    assert sorted(said, key=key) == sorted(whole[1], key=key)
    assert core.state.snapshot(everything=True) == whole[0].state.snapshot(everything=True)


def test_a_restart_from_any_checkpoint_says_the_same(model: Model, whole: tuple[PartitionCore, list[Any]]) -> None:
    stream = create_stream(StreamSettings(name="waves", model=Path("unused")), model)
    first, second = stream.core(0), stream.core(0)
    first.process(observations(LOG[:1300]))
    second.state.restore(first.state.snapshot(everything=True))
    second.process(observations(LOG[1300:], 1300))
    assert second.state.snapshot(everything=True) == whole[0].state.snapshot(everything=True)


def test_rows_of_the_history_are_no_news_and_all_behind_it_have_score_alarm_and_band(
    whole: tuple[PartitionCore, list[Any]],
) -> None:
    scores = [r for r in whole[1] if not hasattr(r, "sequence") and r.series == "a"]
    live = [r.live for r in scores]
    assert live == [False] * LEARNT + [True] * (N - LEARNT)
    for r in scores[LEARNT:]:
        assert r.threshold is None
        assert np.isfinite([r.score, r.alarm, *r.expected, *r.band.lower, *r.band.upper]).all()
        assert r.band.lower[0] <= r.expected[0] <= r.band.upper[0]
    alarms = [r for r in scores if r.live and r.alarm >= 0]
    assert [r.timestamp for r in alarms][:1] == [T0 + 720 * STEP]


def test_a_member_that_has_lost_its_way_counts_no_more_than_one_that_is_far_out(model: Model) -> None:
    judgements = Judgements(model, StreamSettings(name="waves", model=Path("unused")))
    state: Any = SimpleNamespace(arrays={"history": {"usual": np.full((1, 1), 2.0)}})
    judged: Any = SimpleNamespace(score=np.full(5, 1.5), live=np.ones(5, np.bool_))
    score = judgements.ranked(state, judged, np.zeros(5, np.intp), np.array([[np.nan], [0.0], [2.0], [14.0], [1e30]]))
    assert score[0] == 1.5
    assert (np.diff(score[1:4]) > 0.05).all()
    assert score[4] == score[3]


def test_a_series_of_which_too_little_is_known_is_warming(model: Model) -> None:
    core = create_stream(StreamSettings(name="waves", model=Path("unused")), model).core(0)
    core.process(observations([*rows_of("a", 600, 610), *rows_of("c", 600, 610)]))
    assert (core.warming, len(core.state)) == (1, 2)  # "a" is known from its history
    core.process(observations(rows_of("c", 610, 640), 20))
    assert core.warming == 0


def test_the_spikes_are_told_and_nothing_else(whole: tuple[PartitionCore, list[Any]]) -> None:
    alerts = [r for r in whole[1] if hasattr(r, "sequence") and r.sequence == 0]
    assert [(a.series, a.starts_at) for a in alerts] == [
        ("a", "2014-07-03T12:00:00.000Z"),
        ("b", "2014-07-03T13:40:00.000Z"),
    ]
    assert all(a.alarm >= 0 and a.threshold is None for a in alerts)
    assert alerts[0].detector.name == "judgement+zscore"


def test_late_and_repeated_rows_are_not_seen(model: Model) -> None:
    rows = rows_of("a", LEARNT - 1, 700)
    again = [*rows[:50], *rows[20:50], *rows[50:]]
    assert (
        run(model, again)[0].state.arrays["judgement"].tobytes()
        == run(model, rows)[0].state.arrays["judgement"].tobytes()
    )


def test_a_threshold_of_ones_own_is_judged_by_the_calibrated_score_as_before(model: Model) -> None:
    chosen = ThresholdSettings(level=4.0)
    _, said = run(model, LOG, threshold=chosen)
    _, before = run(replace(model, judgement=None, histories={}), LOG, threshold=chosen)
    told = [(a.series, a.starts_at, a.score, a.threshold, a.band) for a in said if hasattr(a, "sequence")]
    assert told
    assert told == [(a.series, a.starts_at, a.score, a.threshold, a.band) for a in before if hasattr(a, "sequence")]


def test_a_state_without_a_judgement_begins_from_what_the_model_knows(model: Model) -> None:
    stream = create_stream(StreamSettings(name="waves", model=Path("unused")), model)
    fresh, old = stream.core(0), stream.core(0)
    rows = rows_of("a", LEARNT - 5, LEARNT)
    for core in (fresh, old):
        core.process(observations(rows))
    for name in ("judgement", "history"):
        old.state.arrays[name][:] = np.zeros((), old.state.arrays[name].dtype)
    del old.state.scalars["judgement"]
    more = observations(rows_of("a", LEARNT, LEARNT + 50), 5)
    fresh.process(more)
    old.process(more)
    assert old.state.snapshot(everything=True) == fresh.state.snapshot(everything=True)


def test_what_was_never_negative_has_no_band_below_zero(model: Model) -> None:
    rows = [(t, "small", (v - 10.0) ** 2) for t, _, v in rows_of("a", 0, 600)]
    _, said = run(model, rows)
    lower = [r.band.lower[0] for r in said if not hasattr(r, "sequence") and r.live]
    assert lower
    assert min(lower) == 0.0
    _, said = run(model, [(rows[0][0] - STEP, "small", -1.0), *rows])
    assert min(r.band.lower[0] for r in said if not hasattr(r, "sequence") and r.live) < 0.0


def test_nothing_below_zero_is_expected_of_what_was_never_negative(model: Model) -> None:
    falling = np.maximum(np.linspace(5.0, -3.0, 400), 0.0) + 0.02 * np.random.default_rng(3).random(400)
    rows = [(T0 + STEP * i, "small", float(v)) for i, v in enumerate(falling)]
    _, said = run(model, rows)
    _, below = run(model, [(T0 - STEP, "small", -0.01), *rows])
    told, free = ([r for r in records if not hasattr(r, "sequence") and r.live] for records in (said, below))
    assert min(r.expected[0] for r in free) < 0.0
    assert min(r.expected[0] for r in told) == 0.0
    assert all(0.0 <= r.band.lower[0] <= r.expected[0] <= r.band.upper[0] for r in told)


def test_the_first_news_of_a_stream_that_has_not_seen_the_history_may_alarm(model: Model) -> None:
    first, *more = rows_of("a", LEARNT, LEARNT + 20)
    _, said = run(model, [(first[0], "a", first[2] + 5.0), *more])
    alert = next(r for r in said if hasattr(r, "sequence"))
    assert (alert.evidence.window, alert.kind) == ([[first[2] + 5.0]], "spike")


def test_a_probation_that_is_asked_for_holds(model: Model) -> None:
    _, said = run(model, [(t, "new", v) for t, _, v in rows_of("c", 0, 300)], probation=200)
    live = [r.live for r in said if not hasattr(r, "sequence")]
    assert live == [False] * 200 + [True] * 100


def test_another_model_s_judgement_begins_anew_in_every_series(model: Model) -> None:
    recorded = {n: (T0 + STEP * np.arange(LEARNT), 2.0 * values(n)[:LEARNT]) for n in "cab"}
    other = replace(with_judgement(replace(model, judgement=None, histories={}), recorded), hash="another")
    old = create_stream(StreamSettings(name="waves", model=Path("unused")), model)
    new = create_stream(StreamSettings(name="waves", model=Path("unused")), other)
    core = old.core(0)
    core.process(observations([*rows_of("a", LEARNT, LEARNT + 50), *rows_of("x", LEARNT, LEARNT + 50)]))
    taken = carried(core, new)
    fresh = new.core(0)
    fresh.state.rows_of(["a", "x"])
    fresh.learning.judge_anew(fresh.state)
    for name in ("judgement", "history"):
        assert np.array_equal(taken.state.arrays[name], fresh.state.arrays[name])
    assert taken.state.arrays["judgement"]["known"][:2].tolist() == [2, 0]


def test_a_judgement_learns_beside_what_judged_without_one(model: Model) -> None:
    alone = create_stream(
        StreamSettings(name="waves", model=Path("unused")), replace(model, judgement=None, histories={})
    )
    judged = create_stream(StreamSettings(name="waves", model=Path("unused")), model)
    assert differing(shape_of(alone), shape_of(judged)) == ""
    assert learns_first(alone, judged)
    assert not learns_first(judged, judged)


@pytest.mark.parametrize("cuts", [(), (LEARNT + 7, 705, 706, 716, 717, 940), tuple(range(LEARNT + 100, 760))])
def test_a_changed_scrape_interval_is_learnt_and_no_storm_of_alerts_comes_of_it(
    model: Model, cuts: tuple[int, ...]
) -> None:
    """A quarter as often, and back: it is filled for 16 steps and no more, and the budget is counted in the steps that there are."""
    every = rows_of("a")
    rng, rows, at, steps = np.random.default_rng(4), every[: LEARNT + 100], every[LEARNT + 99][0], []
    for step in (4 * STEP, STEP):
        for _ in range(200):
            at += step
            value = np.sin((at - T0) / STEP / 46.0) + rng.normal(0, 0.1) + 10.0
            rows = [*rows, (at, "a", float(value))]
    core = create_stream(StreamSettings(name="waves", model=Path("unused")), model).core(0)
    counts, alerts = Counter[str](), []
    for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        for step, settled in core.process(observations(rows[a:b], a)):
            counts.update(settled.counts)
            alerts += settled.alerts
            steps += [(step.pushed.learnt, int(core.state.arrays["history"]["step"][0]))]
    assert len({a.id for a in alerts}) <= 1  # of a week, where the budget is one a month
    assert (counts["filled"], counts["restarted"]) == (15 * 3, 0)
    assert [usual for learnt, _ in steps for _, _, usual in learnt] == [4 * STEP, STEP]
    if len(cuts) > 10:
        assert [s for s, t in pairwise([s for _, s in steps]) if s != t] == [STEP, 4 * STEP]
