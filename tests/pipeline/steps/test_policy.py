"""The policy in pictures; against random input it is tested with the windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors.compiling import POLICY as KERNEL
from detectors.compiling import compiled
from pipeline.steps.clock.policy import COUNTS, NEVER, RULING, Policy

POLICY = Policy(fill_gaps=3, future_limit=100, gaps=True)
_TIMES = ("last", "ordinal", "held_at", "interval", "other")
_NUMBERS = ("decided", "agree", "against", "tried")


class Clock:
    """The clock of one series, which is asked for one observation after the other."""

    def __init__(self, policy: Policy, **known: int) -> None:
        self._policy = np.array([policy.fill_gaps, policy.future_limit, policy.gaps, True], np.int64)
        kinds = {**dict.fromkeys(_TIMES, np.int64), "size": np.uint32, **dict.fromkeys(_NUMBERS, np.uint8)}
        self._kept = {name: np.array([known.get(name, 0)], kind) for name, kind in kinds.items()}

    def __getattr__(self, name: str) -> int:
        return int(self._kept[name][0])

    def judge(self, time: int) -> str:
        rulings, counts, none = np.zeros(1, RULING), np.zeros(len(COUNTS) + 1, np.int64), np.zeros(1, np.int64)
        compiled(KERNEL)(
            self._policy,
            np.zeros(9, np.int64),
            np.zeros(3, np.int64),
            none,
            none,
            none + time,
            *self._kept.values(),
            rulings,
            counts,
        )
        anew, accepted, held_at = rulings[["anew", "accepted", "held_at"]][0].tolist()
        if accepted:  # what the window writes
            self._kept["last"][0] = time
            self._kept["ordinal"] += 1 + (held_at > 0)
            self._kept["size"][0] = 1
        happened = [name for name in _IN_ORDER for _ in range(counts[COUNTS.index(name)])]
        return " ".join([*happened, "anew" * anew, "+" * accepted]).strip().replace("  ", " ")


_IN_ORDER = ("dropped_future", "late", "duplicate", "held", "confirmed", "restarted", "filled")


def clock(interval: int = 10, policy: Policy = POLICY, decided: int = 1) -> Clock:
    return Clock(policy, interval=interval, decided=decided)


def told(of: Clock, *times: int) -> list[str]:
    """What is said of observations at these times: `+` accepted, with what happened before it."""
    return [of.judge(1_000_000 + time) for time in times]


def test_late_and_duplicate_are_not_accepted() -> None:
    #   0   10   20           time
    #   +    +    +
    #        =  <             comes again, comes late
    assert told(clock(), 0, 10, 20, 20, 15, 30) == ["+", "+", "+", "duplicate", "late", "+"]


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (3, "+"),
        (14, "+"),
        (15, "filled +"),
        (24, "filled +"),
        (25, "filled filled +"),
        (44, "filled filled filled +"),
        (45, "restarted anew +"),
        (100, "restarted anew +"),
        (101, "held"),
    ],
)
def test_a_gap_is_filled_or_starts_the_window_anew_or_is_a_jump(after: int, said: str) -> None:
    assert told(clock(), 0, after) == ["+", said]


def test_a_series_without_a_usual_step_has_no_gaps_but_jumps() -> None:
    assert told(clock(0), 0, 99, 100, 201) == ["+", "+", "+", "held"]


def test_a_jump_is_confirmed_by_the_next_one_after_it() -> None:
    #   0    10 ......... 500h   510          the window starts anew at 500
    assert told(clock(), 0, 10, 500, 510, 520) == ["+", "+", "held", "confirmed anew +", "+"]
    # with a hole behind the jump it is filled from the jump's value, or the jump's value is of no use
    assert told(clock(), 0, 500, 530) == ["+", "held", "confirmed filled filled anew +"]
    assert told(clock(), 0, 500, 560) == ["+", "held", "confirmed restarted anew +"]


def test_a_jump_is_dropped_by_a_next_one_that_does_not_follow_it() -> None:
    assert told(clock(), 0, 10, 500, 20, 30) == ["+", "+", "held", "dropped_future +", "+"]
    assert told(clock(), 0, 10, 500, 5, 20) == ["+", "+", "held", "dropped_future late", "+"]
    assert told(clock(), 0, 200, 900) == ["+", "held", "dropped_future held"]


def test_a_jump_is_not_confirmed_by_its_own_repetition() -> None:
    assert told(clock(), 0, 500, 500, 10) == ["+", "held", "duplicate", "dropped_future +"]


def test_a_wrong_first_observation_does_not_make_all_others_late() -> None:
    assert told(clock(), 900_000, 0, 10, 5) == ["+", "dropped_future anew +", "+", "late"]
    assert told(clock(), 90, 0, 10) == ["+", "late", "late"]


def test_the_usual_step_is_learnt_from_what_agrees() -> None:
    of = clock(0, decided=0, policy=replace(POLICY, future_limit=1_000))
    steps = [100, 97, 104, 550, 99, 100, 3, 101, 98, 100, 102, 100, 95, 103, 101]
    told(of, *[sum(steps[:n]) for n in range(len(steps))])
    assert (of.decided, of.agree, of.against) == (0, 12, 2)
    told(of, sum(steps))
    assert (of.decided, of.interval) == (1, 100)


def test_disagreeing_steps_bring_a_new_candidate() -> None:
    of = clock(0, decided=0)
    told(of, *[sum([50, 50, *[10] * 30][:n]) for n in range(17)])
    assert (of.decided, of.agree) == (0, 11)
    told(of, 250, 260)
    assert (of.decided, of.interval) == (1, 10)


def test_a_series_without_rhythm_is_irregular_for_good() -> None:
    of = clock(0, decided=0, policy=replace(POLICY, future_limit=NEVER))
    told(of, *[n**3 for n in range(64)])
    assert of.decided == 0
    told(of, 64**3)
    assert (of.decided, of.interval) == (1, 0)


@pytest.mark.parametrize(
    ("step", "said"), [(60, "restarted anew +"), (40, "filled filled filled +"), (20, "filled +"), (14, "+"), (7, "+")]
)
def test_a_changed_scrape_interval_is_learnt_after_sixteen_steps(step: int, said: str) -> None:
    of = clock()
    assert told(of, *[n * step for n in range(40)]) == ["+", *[said] * 15, *["+"] * 24]
    assert (of.decided, of.interval) == (1, step)
    told(of, *[39 * step + n * 10 for n in range(1, 17)])  # and back
    assert (of.decided, of.interval) == (1, 10)


def test_what_is_lost_now_and_then_or_jitters_is_no_other_interval() -> None:
    of, at = clock(100, replace(POLICY, future_limit=NEVER)), 0
    for steps in ([200] * 15 + [100], [100, 200, 100, 300] * 20, [300, 200] * 30, [88, 112] * 30, [120, 78] * 30):
        for step in steps:
            at += step
            told(of, at)
        assert (of.decided, of.interval) == (1, 100)


def test_a_new_rhythm_is_learnt_after_sixteen_restarts_in_a_row_that_do_not_agree() -> None:
    of = clock()
    times = [0]
    for n in range(16):
        times.append(times[-1] + (60, 90)[n % 2])
    times += [times[-1] + 60 * n for n in range(1, 14)]
    assert told(of, *times) == ["+", *["restarted anew +"] * 16, *["+"] * 13]
    assert (of.decided, of.interval) == (1, 60)


def test_weekly_data_is_not_starved_by_a_short_limit() -> None:
    of = clock(0, decided=0)
    told(of, *[n * 700 for n in range(60)])
    assert (of.decided, of.interval) == (1, 700)
    assert told(of, 60 * 700, 61 * 700) == ["+", "+"]


def test_without_a_limit_no_jump_is_held() -> None:
    assert told(clock(0, replace(POLICY, future_limit=NEVER)), 0, 10**12) == ["+", "+"]


def test_windows_of_one_have_no_gaps() -> None:
    assert told(clock(10, replace(POLICY, gaps=False)), 0, 90) == ["+", "+"]
