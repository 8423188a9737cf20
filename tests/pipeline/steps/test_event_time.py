"""A partition's event time: votes of the series, against the slow and obvious version, and what clocks that lie can do."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from naive_event_time import NaiveEventTime
from state_rows import changed_rows

from pipeline.steps.clock import absence
from pipeline.steps.clock.absence import Patience
from pipeline.steps.clock.event_time import COMPONENT, CONCERNED, DTYPE, EventTime
from pipeline.steps.state import PartitionState

T0 = 1_774_915_200_000
MINUTE = 60_000
HOUR = 60 * MINUTE


class Clock:
    """The clock of a partition whose series are numbers."""

    def __init__(self, patience=None) -> None:
        self.state = PartitionState({COMPONENT: DTYPE}, max_series=10**6)
        self.patience = patience
        self.time = EventTime(self.state, patience)
        self.said = []

    def take(self, observations, rejected=(), learnt=()):
        """(series, time, vouched) each; the event time after each. Those at the places `rejected` have no row."""
        count = self.state.scalars.get("observations", 0)
        kept = [i for i in range(len(observations)) if i not in rejected]
        rows, _ = self.state.rows_of([str(observations[i][0]) for i in kept])
        times = np.array([observations[i][1] for i in kept], np.int64)
        vouched = np.array([observations[i][2] for i in kept], np.bool_)
        places = count + np.array(kept, np.int64)
        changes = [(kept.index(i), int(rows[kept.index(i)]), step) for i, step in learnt if i in kept]
        out, absent = self.time.advance(rows, places, times, vouched, count + len(observations), changes)
        for a in absent:
            at = a.behind + count + 1
            behind = np.searchsorted(places, at - 1)
            assert a.cause == (behind if at - 1 in places else behind - 0.5)
            if a.row < 0:
                self.said.append((at, "together" if a.change == "anomaly" else a.change, a.clock, a.count))
            else:
                self.said.append((at, "with others" if a.together else "alone", self.state.names[a.row], a.due))
        self.state.scalars["observations"] = count + len(observations)
        return out.tolist()

    def restored(self):
        """Another one, from what is stored."""
        other = Clock(self.patience)
        other.said = self.said
        other.state.restore(self.state.snapshot(everything=True))
        return other


def every(step, minutes, clocks):
    """Series by name, each a record every `step` minutes, `clocks` ahead of the right time by so many minutes."""
    return [
        (name, T0 + (minute + ahead) * MINUTE, True)
        for minute in range(0, minutes, step)
        for name, ahead in clocks.items()
    ]


@pytest.mark.parametrize("liars", [{"x": 480}, {"x": -480}, {"x": 10**6, "y": -(10**6)}])
def test_a_minority_of_wrong_clocks_changes_nothing_by_whatever_they_are_wrong(liars) -> None:
    right = dict.fromkeys("abcde", 0)
    clock = Clock()
    after = np.array(clock.take(every(1, 300, liars | right)))
    lag = np.arange(len(after)) // (len(liars) + 5) - (after - T0) // MINUTE
    lag = lag[after > 0]
    assert len(lag) > 0.9 * len(after)
    assert (lag >= 0).all()
    assert (lag <= 2).all()


def test_of_two_series_the_slower_one_tells_the_time() -> None:
    clock = Clock()
    clock.take(every(1, 100, {"a": 0, "x": 480}))
    assert clock.time.now == T0 + 99 * MINUTE


def test_series_that_are_gone_do_not_stop_the_clock_even_most_of_them_and_even_where_history_is_read_in_a_second() -> (
    None
):
    clock = Clock()
    clock.take(every(1, 100, dict.fromkeys(range(20), 0)))
    went_on = [(n, t + 100 * MINUTE, v) for n, t, v in every(1, 60, dict.fromkeys(range(4), 0))]
    clock.take(went_on)
    assert clock.time.now >= T0 + 150 * MINUTE
    assert clock.time.voters == 4


def test_a_fast_wrong_clock_does_not_outlive_the_votes_of_slow_right_ones() -> None:
    chatter = [("x", T0 + 8 * HOUR + second * 1000, True) for second in range(4000)]
    clock = Clock()
    for at in range(0, 4000, 60):
        clock.take([(n, T0 + at * 1000, True) for n in "abc"])
        clock.take(chatter[at : at + 60])
    assert T0 + 3800 * 1000 <= clock.time.now <= T0 + 4000 * 1000


def test_event_time_never_falls_and_a_device_that_uploads_a_day_at_once_does_not_move_it() -> None:
    clock = Clock()
    live = every(1, 200, dict.fromkeys("abcd", 0))
    clock.take(live)
    before = clock.time.now
    clock.take([("late", T0 - 24 * HOUR + m * MINUTE, True) for m in range(24 * 60)])
    assert clock.time.now == before
    clock.take([(n, t + 200 * MINUTE, v) for n, t, v in every(1, 20, dict.fromkeys("abcd", 0))])
    assert clock.time.now >= T0 + 215 * MINUTE


def test_wrong_clocks_are_named_with_how_wrong_they_are() -> None:
    clock = Clock()
    clock.take(every(1, 100, {"x": 480, "y": -90, "a": 0, "b": 0, "c": 1, "d": 0}))
    assert [(n, round(by / MINUTE)) for n, by in clock.time.apart(15 * MINUTE)] == [("x", 480), ("y", -90)]
    two = Clock()
    two.take(every(1, 100, {"x": 480, "a": 0}))
    assert two.time.apart(15 * MINUTE) == []


def test_idle_is_who_was_not_heard_of_while_event_time_went_on_whatever_its_own_clock_says() -> None:
    clock = Clock()
    clock.take(every(1, 100, {"behind": -(10**5), "gone": 0, "a": 0, "b": 0, "c": 0}))
    clock.take([(n, t + 100 * MINUTE, v) for n, t, v in every(1, 60, {"behind": -(10**5), "a": 0, "b": 0, "c": 0})])
    idle = clock.time.idle_rows(40 * MINUTE)
    assert [clock.state.names[r] for r in idle] == ["gone"]


def test_series_that_are_idle_are_not_looked_at() -> None:
    clock = Clock()
    clock.take(every(1, 10, dict.fromkeys(range(300), 0)))
    few = dict.fromkeys(range(295, 300), 0)
    clock.take([(n, t + 10 * MINUTE, v) for n, t, v in every(1, 600, few)])
    assert clock.time.voters == 5
    clock.take([(n, t + 610 * MINUTE, v) for n, t, v in every(1, 10, few)])
    (looked_at,) = clock.state.lists[CONCERNED]
    assert looked_at.tolist() == [295, 296, 297, 298, 299]


def test_who_is_waited_for_from_here_on_is_looked_at_though_idle() -> None:
    patience = Patience(lambda rows: np.full(len(rows), 20 * MINUTE), HOUR)
    clock = Clock()
    clock.take(every(1, 10, dict.fromkeys(range(300), 0)))
    few = dict.fromkeys(range(295, 300), 0)
    for part in (10, 360):
        clock.take([(n, t + part * MINUTE, v) for n, t, v in every(1, 350, few)])
    absence.begin(clock.state, np.zeros(300, np.int64))
    clock.time = EventTime(clock.state, patience)
    clock.patience = patience
    other = clock.restored()
    for of in (clock, other):
        of.take([(n, t + 710 * MINUTE, v) for n, t, v in every(1, 10, few)])
    assert clock.state.snapshot(everything=True) == other.state.snapshot(everything=True)


def hostile(seed, n):
    """Series of all rates and clocks that come, go, jump and repeat themselves."""
    chance = random.Random(seed)
    series = chance.choice((1, 2, 3, 7, 40, 200))
    ahead = [chance.choice((0, 0, 0, 0, -HOUR, 8 * HOUR)) for _ in range(series)]
    rate = [chance.choice((1, 1, 1, 5, 0.05)) for _ in range(series)]
    now, out = T0, []
    for i in range(n):
        now += chance.choice((0, 1000, MINUTE // series + 1, MINUTE))
        alive = range(series) if i < n // 3 else range(max(series // 4, 1)) if i < 2 * n // 3 else range(series)
        (who,) = chance.choices(alive, [rate[k] for k in alive])
        if chance.random() < 0.002:
            ahead[who] += chance.choice((-HOUR, HOUR))
        out.append((who, now + ahead[who] - chance.choice((0, 0, 0, 5 * MINUTE)), chance.random() < 0.9))
    return out


@settings(deadline=None, max_examples=50, phases=(Phase.explicit, Phase.generate))
@given(
    st.integers(0, 10**6),
    st.lists(st.integers(0, 700), max_size=12).map(sorted),
    st.sampled_from([None, 3 * MINUTE, 20 * MINUTE]),
    st.sampled_from([HOUR, 7 * 24 * HOUR]),
)
@example(131073, [126, 247], None, 7 * 24 * HOUR)  # a series learns its usual step, and says nothing from there on
def test_any_cut_and_any_restart_equal_the_slow_and_obvious_version(seed, cuts, after, idle_after) -> None:
    log = hostile(seed, 700)
    chance = random.Random(f"{seed} rejected")
    rejected = {i for i in range(700) if chance.random() < 0.02}
    learnt = [(i, chance.choice((0, MINUTE, MINUTE, 3 * MINUTE))) for i in range(700) if chance.random() < 0.1]
    usual = dict(learnt)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(absence, "A_DAY", HOUR)
        patch.setattr(absence, "FEW", 2)
        patch.setattr(absence, "SHARE", 3)
        naive = NaiveEventTime(after=after, idle_after=idle_after)
        expected = [
            naive.advance(None if i in rejected else who, t, v, usual.get(i)) for i, (who, t, v) in enumerate(log)
        ]
        patience = Patience(lambda rows: np.full(len(rows), absence.AUTO if after is None else after), idle_after)
        clock, got = Clock(patience), []
        for a, b in zip([0, *cuts], [*cuts, len(log)], strict=True):
            here = clock.take(
                log[a:b], {i - a for i in rejected if a <= i < b}, [(i - a, s) for i, s in learnt if a <= i < b]
            )
            got += [(i, w) for i, w in zip([i for i in range(a, b) if i not in rejected], here, strict=True)]
            clock = clock.restored() if (a + b) % 3 else clock
        whole = Clock(patience)
        whole.take(log, rejected, learnt)
    assert got == [(i, expected[i]) for i in range(700) if i not in rejected]
    assert clock.said == whole.said
    assert clock.state.snapshot(everything=True) == whole.state.snapshot(everything=True)
    kept = clock.state.arrays[COMPONENT]
    states = ["expected", "overdue", "absent", "given up"]
    for who, voter in naive.voters.items():
        row = clock.state.row_of(str(who))
        for name in ("vote", "step", "moved", "fresh", "heard_at", "since", "usual", "said", "due"):
            assert kept[name][row] == getattr(voter, name), (who, name)
        assert states[kept["absent"][row]] == voter.state, who
        if not voter.said:
            assert (kept["quiet_at"][row], kept["quiet_by"][row]) == (voter.quiet_at, voter.quiet_by), who
    assert clock.said == [
        (n, what, str(x) if what in ("alone", "with others") else x, y) for n, what, x, y in naive.said
    ]


def test_series_that_say_nothing_are_not_written_again() -> None:
    clock = Clock()
    clock.take(every(1, 20, dict.fromkeys(range(300), 0)))
    clock.state.clean()
    clock.take([(n, T0 + 20 * MINUTE, True) for n in range(5)])
    assert changed_rows(clock.state) == {0, 1, 2, 3, 4}


def test_when_all_were_away_a_wrong_clock_that_comes_back_first_sets_nothing() -> None:
    clock = Clock()
    clock.take(every(1, 100, {"x": 480, "a": 0, "b": 0, "c": 0}))
    for minute in range(300, 320):
        clock.take([("x", T0 + (480 + minute) * MINUTE, True)])
        if minute >= 303:
            clock.take([(n, T0 + minute * MINUTE, True) for n in "abc"])
    assert clock.time.now <= T0 + 319 * MINUTE


def test_a_wrong_clock_that_is_the_first_to_be_heard_of_sets_nothing() -> None:
    clock = Clock()
    clock.take([("x", T0 + 8 * HOUR + second * 1000, True) for second in range(90)])
    assert clock.time.now == 0
    clock.take(every(1, 30, {"x": 480, "a": 0, "b": 0}))
    assert clock.time.now == T0 + 29 * MINUTE
