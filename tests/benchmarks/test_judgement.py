"""What judges a judgement: made-up items are what they say, figures are right where they can be told by hand, the page is written from what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.judgement import (
    bands,
    channels,
    clean,
    everyday,
    everyday_page,
    figures,
    labelled,
    patterns,
    run,
    yardsticks,
)
from benchmarks.judgement.items import Item, Told, item
from detectors.evaluation import delay

Y = np.array([0] * 50 + [1] * 10 + [0] * 40, np.int8)


def made(values: np.ndarray, first: int = 200) -> Item:
    return item("test", "made, 1", 60.0, values, np.zeros(len(values), np.bool_), first)


def test_there_are_28_patterns_each_with_one_anomaly_behind_its_training_part_and_the_same_again() -> None:
    found = list(patterns.patterns(1))
    assert len(found) == len({i.name for i in found}) == 28
    for i, again in zip(found, patterns.patterns(1), strict=True):
        np.testing.assert_array_equal(i.values, again.values)
        [(first, last)] = delay.episodes(i.y)
        assert i.first <= first <= last < len(i.y) - 1
        assert np.isfinite(i.values).all()


def test_everyday_metrics_come_as_usual_and_with_one_incident_and_are_the_same_again() -> None:
    found = list(everyday.everyday(1))
    assert len(found) == len({i.name for i in found}) == 2 * len(everyday.KINDS)
    for i, again in zip(found, everyday.everyday(1), strict=True):
        np.testing.assert_array_equal(i.values, again.values)
        assert np.isfinite(i.values).all()
        events = delay.episodes(i.y)
        assert len(events) == (everyday.USUAL not in i.name)
        assert all(i.first <= first <= last < len(i.y) - 1 for first, last in events)


def test_the_page_of_everyday_metrics_counts_what_was_found_early_and_what_was_told_for_nothing() -> None:
    kind = everyday.KINDS[0]
    nothing = {"name": f"{everyday.usual(kind)}, 7", "events": 0, "anomalous": 0, "rows": 100, "budget": 50.0}
    incident = {**nothing, "name": f"{kind.name}, 7", "events": 1, "anomalous": 8}
    kept = {
        "good": [{**nothing, "delays": [], "false": 1}, {**incident, "delays": [2], "false": 0}],
        "bad": [{**nothing, "delays": [], "false": 7}, {**incident, "delays": [], "false": 3}],
    }
    text = everyday_page.text(kept, {"good": "seen", "other": "seen"}, 0)
    assert "| good | 1 of 1 | 1 | 25 % | 1, 2 | 0, 2 | 0 |" in text
    assert "| bad | 0 of 1 | 0 |  | 7, 2 | 3, 2 | 1 |" in text
    assert f"| {kind.name} | 2 h | 1 of 1, 10 min (1, 0) | 0 of 1 (7, 3) | 2.0 |" in text
    assert "`other`" not in text


def test_an_anomaly_lies_on_its_weekday_and_at_its_time() -> None:
    thursday = {i.name: i for i in patterns.patterns(2)}["a Thursday like a Sunday, 2"]
    [(first, last)] = delay.episodes(thursday.y)
    day = (thursday.times // 86_400_000 + 3) % 7  # 1970 began on a Thursday
    assert set(day[first : last + 1].tolist()) == {3}
    assert thursday.times[first] % 86_400_000 == 0
    assert last - first + 1 == 48


def test_a_whole_day_can_be_told_when_it_differs_and_not_before() -> None:
    by_name = {p.name: p for p in patterns.PATTERNS}
    zero, sunday = by_name["zero for a day"], by_name["a Thursday like a Sunday"]
    assert patterns.earliest(zero, 1, 2000.0) == 0  # 25 noises off from midnight on
    for seed in range(1, 6):
        row = patterns.earliest(sunday, seed, 2000.0)
        assert row is not None
        assert 12 < row < 19, "it differs by half a noise at 5:00, by a noise at 6:00, by 5 at 8:30"
        seldom = patterns.earliest(sunday, seed, 1e9)
        assert seldom is not None
        assert seldom > row, "rarer false alerts cost time"


def test_the_page_has_the_earliest_row_of_a_whole_day_beside_the_delays() -> None:
    day = {"name": "zero for a day, 1", "budget": 2000.0, "found": 1, "events": 1, "false": 0}
    kept = {
        ("patterns", "good"): [{**day, "delays": [3]}],
        ("patterns", "bad"): [{**day, "found": 0, "delays": []}],
    }
    text = run.page.text(kept, {}, {}, 2000.0, 0)
    assert "| pattern | a quarter of the day | earliest | good | bad |" in text
    assert "| zero for a day | 12 | 0 | 3 | – |" in text


def test_clean_kinds_and_several_channels_are_what_they_say() -> None:
    found = list(clean.clean(1))
    assert len(found) == 14
    assert not any(i.y.any() for i in found)
    several = list(channels.several(1))
    assert len(several) == 25
    for i in several:
        assert 6 <= i.values.shape[1] <= 15
        assert i.y[i.first :].any()
        assert not i.y[: i.first].any()


def test_an_alert_finds_what_it_begins_at_and_nothing_that_it_was_open_before() -> None:
    assert figures.by_alerts(Y, [(52, 70)]) == {"found": 1, "delays": [2], "alerts": 1, "false": 0}
    assert figures.by_alerts(Y, [(40, 90)]) == {"found": 0, "delays": [], "alerts": 1, "false": 1}
    assert figures.by_alerts(Y, [(5, 9), (80, 81)]) == {"found": 0, "delays": [], "alerts": 2, "false": 2}
    assert figures.by_alerts(Y, [(69, 69)])["found"] == 1  # within the tolerance behind it
    assert figures.by_alerts(Y, [(70, 70)])["found"] == 0


def test_the_best_event_f1_counts_events_and_alerts_not_rows() -> None:
    scores = np.zeros(100)
    scores[55] = 2.0
    assert figures.best_event_f1(Y, scores) == 1.0
    assert figures.best_event_f1(Y, np.ones(100)) == 0.0  # one alert over everything
    scores[[10, 80]] = 3.0  # two false ones that any threshold tells first
    assert figures.best_event_f1(Y, scores) == pytest.approx(0.5)
    scores[[12, 82]] = 3.0  # beside them: no alerts of their own
    assert figures.best_event_f1(Y, scores) == pytest.approx(0.5)


def test_figures_look_at_nothing_of_the_training_part() -> None:
    y = np.r_[np.zeros(50, np.bool_), Y.astype(bool)]
    judged = item("test", "made, 1", 60.0, np.zeros(150), y, 50)
    score = np.r_[np.full(50, 9.0), Y.astype(np.float64)]
    out = figures.outcome(judged, Told(score, score, [(10, 20), (102, 110)]))
    assert (out["rows"], out["average_precision"]) == (100, 1.0)
    assert (out["found"], out["false"], out["delays"]) == (1, 0, [2])


@pytest.mark.parametrize("scorer", ["season z", "AR(48)"])
def test_yardsticks_see_nothing_ahead_and_find_what_is_plain(scorer: str) -> None:
    values = np.sin(np.arange(600) / 24 * 2 * np.pi) + np.random.default_rng(0).normal(0, 0.1, 600)
    changed = values.copy()
    changed[500:] += 50.0
    judge = run.SCORERS[scorer].scorer
    before, after = judge(made(values), 2000.0), judge(made(changed), 2000.0)
    np.testing.assert_array_equal(before.score[:500], after.score[:500])
    assert after.score[500] > after.score[:500].max()
    assert after.alerts is not None
    assert 500 in [a for a, _ in after.alerts]


def test_a_season_of_the_week_is_known_from_two_weeks_on() -> None:
    t = np.arange(0, 28 * 1440, 60.0)
    values = patterns.business(np.random.default_rng(0), t)
    known = yardsticks.season_z(made(values, 336), 2000.0)
    one_week = yardsticks.season_z(made(values, 168), 2000.0)
    assert np.median(known.score[336:]) < 2.0
    assert known.score[336:].max() < one_week.score[336:].max()


def test_the_period_is_where_the_autocorrelation_is_highest() -> None:
    x = np.sin(2 * np.pi * np.arange(3000) / 40)
    assert labelled.period(x) == 40
    assert labelled.period(np.random.default_rng(0).normal(0, 1, 5) * 0) == 125


def test_a_quick_run_keeps_its_outcomes_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TIDEWATCH_DATA", raising=False)
    words = [
        "--quick",
        "--only",
        "two sources",
        "clean",
        "patterns",
        "--scorers",
        "season z",
        "AR(48)",
        "--out",
        str(tmp_path),
    ]
    run.main(words)
    first = capsys.readouterr().out
    assert "scored" in first
    assert "## two sources" in first
    assert "## Twenty-eight patterns" in first
    assert "| *within a factor 2* |" in first
    assert "## lro" not in first
    run.main(words)
    second = capsys.readouterr().out
    assert "scored\n" not in second
    assert second in first


@pytest.mark.parametrize("scorer", ["networks", "default"])
def test_the_product_itself_can_be_judged(scorer: str) -> None:
    [small] = [i for i in patterns.patterns(1) if i.name.startswith("300 rows")]
    told = run.SCORERS[scorer].scorer(small, 2000.0)
    out = figures.outcome(small, told)
    assert out["average_precision"] > 5 * out["anomalous"] / out["rows"]
    assert told.alerts is not None


def test_the_band_of_noise_holds_it_is_no_wider_than_half_as_much_again_and_says_what_the_alarm_says() -> None:
    rng = np.random.default_rng(3)
    found = bands.looked(made(50.0 + rng.normal(0, 1, 5000), 2000), 5000.0, disturbed=True)
    assert found.rows == 3000
    assert found.within / found.rows >= 0.999
    assert 1.0 < found.wide <= 1.5
    assert found.quiet_outside == found.below_zero == 0
    assert found.during < 0.5
    assert found.behind < 0.5


def test_a_band_does_not_go_along_with_an_anomaly() -> None:
    cpu = next(i for i in everyday.everyday(2) if i.name.startswith("CPU as usual"))
    assert (
        bands.looked(cpu, everyday.budget(cpu), disturbed=True).during < 1.0
    )  # 2.6 where it is drawn around the forecast


def test_the_page_of_bands_counts_kinds_that_are_narrow_enough() -> None:
    narrow, wide = (bands.Looked(1000, 999, w, 1, 5, 4, 0) for w in (1.2, 2.0))
    page = bands.text(lambda: iter([("clean", "a", narrow), ("clean", "a", narrow), ("clean", "b", wide)]))
    assert "At most 1.5 times as wide: 1 of 2" in page
    assert "| clean: a | 2,000 | 99.900 % | 1.20 | 2 | 10 (8) |  |" in page
