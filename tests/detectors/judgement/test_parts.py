"""Clock, alarm and what others say of a channel, each by itself."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.judgement import (
    alarm,
    autoregression,
    clock,
    conditional,
    fitting,
    population,
    reference,
    short_state,
    terms,
)

HOUR = 3_600_000
MONDAY = 1_704_067_200_000


def test_bins_begin_at_midnight_and_on_monday() -> None:
    bins = clock.Bins.of(HOUR)
    assert (bins.day, bins.week, bins.rows_a_day) == (24, 84, 24.0)
    day, week = bins.at(MONDAY + np.array([0, HOUR, 25 * HOUR, 167 * HOUR]))
    assert day.tolist() == [0, 1, 1, 23]
    assert week.own.tolist() == [0, 0, 12, 83]
    assert clock.Bins.of(7 * 24 * HOUR).week == 1
    assert clock.Bins.of(1000.0).day == 288


def test_a_season_that_does_not_help_has_no_say_and_one_that_does_decides() -> None:
    rng = np.random.default_rng(0)
    at = MONDAY + np.arange(28 * 24) * HOUR
    noise = rng.normal(0, 1, (len(at), 2))
    season = np.stack([np.zeros(len(at)), 20 * np.sin(2 * np.pi * np.arange(len(at)) / 24)], axis=1)
    learnt, _ = clock.fit(noise + season, np.stack([at, at]), clock.Bins.of(HOUR))
    ahead = MONDAY + (28 * 24 + np.arange(24)) * HOUR
    day, week = clock.Bins.of(HOUR).at(ahead)
    expected = learnt.expected(day, week, np.arange(1, 25))
    assert np.abs(expected[:, 0]).max() < 1.2
    assert np.abs(expected[:, 1] - season[:24, 1]).max() < 2.0
    assert learnt.weights()[0, 1] < 0.01


def weekly(step: int, weeks: int, *, steps: bool) -> tuple[np.ndarray, np.ndarray]:
    """A day of work that its weekend has a third of, round or in steps of two hours, with little noise."""
    at = MONDAY + np.arange(weeks * clock.WEEK // step) * step
    hour, weekend = at % clock.DAY / HOUR, (at - MONDAY) % clock.WEEK >= 5 * clock.DAY
    shape = ((hour >= 8) & (hour < 18)).astype(np.float64) if steps else np.exp(-((hour - 13.0) ** 2) / 18.0)
    x = np.where(weekend, 8.0, 24.0) * shape + np.random.default_rng(2).normal(0, 0.5, len(at))
    return at, x[:, None]


def test_a_week_runs_in_lines_where_it_does_and_only_with_three_weeks_to_see_it() -> None:
    bins = clock.Bins.of(HOUR / 2)
    for weeks, steps, lines in ((4, False, True), (4, True, False), (2, False, False)):
        at, x = weekly(HOUR // 2, weeks, steps=steps)
        assert clock.drawn(x, np.stack([at, at]), bins).lines == lines
    assert not clock.drawn(x, np.stack([at, at]), clock.Bins.of(2 * HOUR)).lines, "each row has a bin of its own"


def test_a_week_in_lines_is_nearer_to_the_next_weekend_and_goes_on_learning() -> None:
    at, x = weekly(HOUR // 2, 6, steps=False)
    known = 4 * 7 * 48
    saturday = (at[known:] - MONDAY) % clock.WEEK >= 5 * clock.DAY
    errors = []
    for lines in (False, True):
        bins = clock.Bins(48, 84, 48.0, lines)
        learnt, _ = clock.fit(x[:known], np.stack([at[:known]] * 2), bins)
        day, week = bins.at(at[known:])
        found = learnt.forecasts(day, week, np.arange(1, len(at) - known + 1))[2]
        errors.append(np.abs(x[known:] - found)[saturday].mean())
    assert errors[1] < 0.75 * errors[0]
    before = learnt.week.copy()
    day, week = bins.at(at[known : known + 16])
    learnt.learn(x[known : known + 16] + 1.0, day, week, bins)
    assert (np.flatnonzero((learnt.week != before).any(axis=1)) == np.unique(week.own)).all()


def test_one_bad_day_teaches_little() -> None:
    at = MONDAY + np.arange(28 * 24) * HOUR
    season = 20 * np.sin(2 * np.pi * np.arange(len(at)) / 24)[:, None]
    x = season + np.random.default_rng(1).normal(0, 1, (len(at), 1))
    bins = clock.Bins.of(HOUR)
    learnt, _ = clock.fit(x, np.stack([at, at]), bins)
    before = learnt.day.astype(np.float64).copy()
    day, week = bins.at(at[:16])
    learnt.learn(np.full((16, 1), -500.0), day, week, bins)
    assert np.abs(learnt.day - before).max() < 1.0


def test_the_rarity_of_a_value_is_its_tail_and_two_large_ones_do_not_hide_a_third() -> None:
    rng = np.random.default_rng(2)
    values = np.abs(rng.normal(0, 1, 4000)) / 2.576
    counts = np.zeros((1, alarm.BINS), np.uint16)
    np.add.at(counts[0], alarm.counted(values), 1)
    tails = alarm.body(counts, np.ones(1))
    said = alarm.rarity(np.array([[2.326, 2.807, 3.29]]) / 2.576, tails)[0]
    assert said[:2] == pytest.approx([1.7, 2.3], abs=0.2)
    assert 2.4 < said[2] < 3.1  # the tail's shape is cautious: never rarer than it is
    np.add.at(counts[0], alarm.counted(np.array([12.0, 15.0])), 1)
    assert alarm.rarity(np.array([[4.0]]), alarm.body(counts, np.ones(1)))[0, 0] > 5.0


def test_a_tail_that_has_shown_not_to_be_heavy_is_narrower_and_alarms_that_were_counted_cannot_make_it_so() -> None:
    rng = np.random.default_rng(2)
    kinds = np.abs([rng.normal(0, 1, 4000) / 2.576, rng.standard_t(2, 4000) / 9.92])
    counts = np.zeros((2, alarm.BINS), np.uint16)
    for k, values in enumerate(kinds):
        np.add.at(counts[k], alarm.counted(values), 1)
    tails, level = alarm.body(counts, np.ones(2)), np.full(2, 4.2)
    narrow = alarm.narrowness(counts, tails, level)
    assert 0.35 < narrow[0] < 0.5
    assert narrow[1] == 0.0
    # What is rarer than noise of 4.7 standard deviations alarms; of 6.3 it had to be before.
    out = np.array([[4.7 / 2.576]] * 2)
    before, now = (
        alarm.rarity(out, tails * np.stack([np.ones(2), by], axis=1))[:, 0] for by in (np.ones(2), 1.0 - narrow)
    )
    assert before[0] < level[0] < now[0]
    assert now[1] == before[1]
    np.add.at(counts[0], alarm.counted(np.array([3.0, 3.5, 4.0, 12.0])), 1)
    assert 0.0 <= alarm.narrowness(counts, tails, level)[0] < narrow[0]
    few = np.zeros((1, alarm.BINS), np.uint16)
    np.add.at(few[0], alarm.counted(kinds[0, :60]), 1)
    assert alarm.narrowness(few, tails[:1], level[:1])[0] < 0.75 * narrow[0]
    assert alarm.narrowness(np.zeros_like(few), tails[:1], level[:1])[0] < 0.5 * narrow[0]


def test_how_narrow_a_tail_is_changes_only_when_counts_are_halved() -> None:
    rng = np.random.default_rng(5)
    t, x = MONDAY + np.arange(9000) * HOUR, rng.normal(0, 1, (9000, 1))
    judge, state = reference.Judge.fit(t[:2000], x[:2000])
    begun, seen = state.narrow.copy(), []
    for a in range(2000, 9000, 500):
        _, state = judge.step(state, t[a : a + 500], x[a : a + 500])
        seen.append(tuple(state.narrow))
    assert begun[:2].min() > 0.2
    assert begun[2] == 0.0  # one channel
    assert seen[0] == tuple(begun)
    assert 1 < len(set(seen)) < 7


def test_counts_are_halved_when_enough_is_remembered() -> None:
    counts = np.full((2, alarm.BINS), 10, np.uint16)
    counts[0] = alarm.REMEMBERED // alarm.BINS
    alarm.forgotten(counts)
    assert counts[0].sum() == alarm.REMEMBERED // 2
    assert counts[1].sum() == 10 * alarm.BINS


def test_a_level_is_never_laxer_than_one_row_in_two_hundred() -> None:
    assert alarm.levels(5.0, np.ones(1)) == alarm.levels(200.0, np.ones(1))
    assert np.diff([alarm.levels(b, np.ones(4))[0] for b in (1e3, 1e4)]) == pytest.approx(1.0)


def test_a_slow_mean_says_something_new_only_after_twice_its_time_constant() -> None:
    bins = clock.Bins.of(5 * 60_000)
    gain = 1.0 / terms.quarter(bins)
    fading = (1.0 - gain) ** np.arange(5000)  # how alike an exponential mean of noise is to itself so many rows later
    assert terms.rows_anew(terms.QUARTER, bins) == pytest.approx(2.0 * fading.sum() - 1.0, rel=0.02)
    assert terms.rows_anew(terms.CLOCK, bins) == 1.0
    history = np.full((1, alarm.BINS), 0, np.uint16)
    history[0, 12:18] = 100  # 600 rows, all of one size: of each newest row that is much, of a slow mean nearly nothing
    newest, slow = (alarm.body(history, np.array([terms.rows_anew(k, bins)]))[0] for k in (terms.CLOCK, terms.QUARTER))
    assert (slow > 1.4 * newest).all()


def test_what_others_know_of_a_channel_is_taken_from_it() -> None:
    rng = np.random.default_rng(3)
    sources = rng.normal(0, 1, (2000, 2))
    x = np.c_[sources, sources.sum(axis=1), rng.normal(0, 1, 2000)] + rng.normal(0, 0.05, (2000, 4))
    weights = conditional.fit(x)
    left = conditional.residual(x, weights)
    assert left[:, :3].std(axis=0).max() < 0.25
    assert left[:, 3].std() == pytest.approx(1.0, abs=0.1)


def _mixed(rng: np.random.Generator, sources: np.ndarray) -> np.ndarray:
    """Nine channels of three sources (n, 3), every third one quiet, the others in noise as high as the sources make them."""
    noise = np.tile([0.05, 0.5, 0.5], 3)
    return sources @ np.random.default_rng(0).normal(0, 1, (3, 9)) + rng.normal(0, 1, (len(sources), 9)) * noise


def test_a_burst_that_sources_share_is_hardly_left_in_the_channels(monkeypatch) -> None:
    rng = np.random.default_rng(1)
    history, burst = _mixed(rng, rng.normal(0, 1, (600, 3))), _mixed(rng, rng.normal(0, 8, (2000, 3)))

    def grown() -> float:
        weights = conditional.fit(history)
        usual, now = (np.abs(conditional.residual(x, weights)).mean(axis=0) for x in (history, burst))
        return float((now / usual)[::3].max())

    found = grown()
    monkeypatch.setattr(conditional, "MORE", 1.0)
    assert found < 0.8 * grown()


def test_noise_that_one_channel_has_alone_is_left_whole() -> None:
    rng = np.random.default_rng(2)
    history = _mixed(rng, rng.normal(0, 1, (600, 3)))
    weights = conditional.fit(history)
    usual = np.abs(conditional.residual(history, weights)).mean(axis=0)
    row = _mixed(rng, rng.normal(0, 1, (500, 3)))
    row[:, 0] += 1.0  # 20 times its own noise, well within what its sources do
    left = np.abs(conditional.residual(row, weights)).mean(axis=0)
    assert left[0] > 2.0 * usual[0]


def test_channels_whose_values_are_skewed_leave_nothing_on_average() -> None:
    rng = np.random.default_rng(3)
    history = _mixed(rng, rng.exponential(1.0, (2000, 3)))
    left = conditional.residual(history - conditional.centre(history), conditional.fit(history))
    assert np.abs(left.mean(axis=0) / left.std(axis=0)).max() < 0.1
    by_median = conditional.residual(history - np.median(history, axis=0), conditional.fit(history))
    assert np.abs(by_median.mean(axis=0) / by_median.std(axis=0)).max() > 0.1
    judge, _ = fitting.fit(MONDAY + np.arange(2000) * 60_000, history, population._replayed)
    assert judge.middle == pytest.approx(conditional.centre(history))


def test_channels_that_stand_still_or_say_the_same_are_no_error() -> None:
    assert (conditional.fit(np.zeros((50, 3))) == np.eye(3)).all()
    same = np.random.default_rng(4).normal(0, 1, (50, 1)) * np.ones((1, 3))
    assert np.isfinite(conditional.fit(same)).all()
    assert np.abs(conditional.residual(same, conditional.fit(same))).max() < 0.01


def test_an_autoregression_knows_a_cycle_and_what_is_wild_does_not_spoil_it() -> None:
    x = np.sin(2 * np.pi * np.arange(1000) / 37)[:, None] + np.random.default_rng(4).normal(0, 0.05, (1000, 1))
    x[500] += 100.0
    weights = autoregression.fit(x)
    past = np.lib.stride_tricks.sliding_window_view(x[600:-1, 0], 48)
    assert np.abs(x[648:, 0] - past @ weights[:, 0]).mean() < 0.08


def test_an_autoregression_of_a_long_history_is_summed_in_parts(monkeypatch) -> None:
    x = np.random.default_rng(0).normal(size=(3000, 2)).cumsum(axis=0)
    whole = autoregression.fit(x)
    monkeypatch.setattr(autoregression, "PART", 700)
    np.testing.assert_array_equal(autoregression.fit(x).astype(np.float32), whole.astype(np.float32))


@pytest.mark.parametrize("crowded", [0, 470])  # nearly all rows in one bin are not put into a table
def test_the_middle_of_a_bin_is_its_median(crowded: int) -> None:
    rng = np.random.default_rng(0)
    x, at = np.round(5 * rng.normal(size=(500, 3))), rng.integers(0, 40, 500)
    at[at == 7] = 8
    at[:crowded] = 3
    groups = clock.Groups.of(at, 50)
    assert bool(len(groups.places)) == (crowded == 0)
    found, share = clock._medians(x, groups, 0.0)
    for b in range(50):
        rows = x[at == b]
        if len(rows):
            np.testing.assert_array_equal(found[b], np.median(rows, axis=0))
            assert share[b, 0] == min(1 / len(rows), 0.9)


def test_distances_are_those_of_each_row_by_itself() -> None:
    rng = np.random.default_rng(0)
    seen, centres = rng.normal(size=(150, 16)), rng.normal(size=(9, 16)).astype(np.float32)
    alone = [float(short_state.distance(row[None], centres)[0]) for row in seen]
    assert short_state.distance(seen, centres).tolist() == alone


def test_a_fading_mean_is_kept_as_the_state_keeps_it() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 2))
    kept = np.zeros(2, np.float32)
    for row in rows:
        kept += 0.01 * (row - kept)
    np.testing.assert_array_equal(np.array(fitting._faded(rows, 0.01), np.float32), kept)
