"""The time policy over batches, in pictures; one series' policy is tested in test_policy.py, random input in test_windows.py."""

from __future__ import annotations

from window_runs import Run, at, model, windows_of


def test_a_longer_gap_starts_the_window_anew() -> None:
    #   0  1  2  3  .  .  .  .  8  9  10 11
    #   +  +  W  W              +  +  W  W
    run = Run(model(3))
    pushed = run.push(at(0, 1, 2, 3, 8, 9, 10, 11))
    assert windows_of(pushed) == [[0, 1, 2], [1, 2, 3], [8, 9, 10], [9, 10, 11]]
    assert run.counts["restarted"] == 1


def test_a_jump_is_held_over_the_batch_and_confirmed_in_the_next() -> None:
    #   0  1  2  ......... 50h | 51 52 53
    #   +  +  W                | +  W  W     the window starts anew with the held one
    run = Run(model(3))
    pushed = run.push(at(0, 1, 2, 50))
    assert pushed.accepted.tolist() == [True, True, True, False]
    assert windows_of(run.push(at(51, 52, 53))) == [[50, 51, 52], [51, 52, 53]]
    assert run.slot("known")["ordinal"] == 7
    assert (run.counts["held"], run.counts["confirmed"]) == (1, 1)


def test_only_times_that_the_one_before_vouches_for_are_vouched_for() -> None:
    # A first observation may have any time: alone it must not move the partition's event time.
    run = Run(model(3))
    assert run.push(at(10**6) + at(0, 1, series="a")).vouched.tolist() == [False, False, True]
    assert run.push(at(0, 1, 90, 1)).vouched.tolist() == [True, True, False, False]


def test_a_row_far_ahead_is_scored_but_does_not_vouch_for_its_time() -> None:
    run = Run(model(1, method="none", kind="table"))
    assert run.push(at(0, 1, 500, 2, 3)).vouched.tolist() == [False, True, False, True, True]


def test_behind_missed_records_a_window_starts_anew_however_near_the_event_times_are() -> None:
    series = Run(model(T=4))
    series.push(at(*range(6)))
    assert len(series.push(at(6)).windows) == 1
    series.windows.start_anew(series.state)
    pushed = series.push(at(7, 8, 9))
    assert (len(pushed.windows), pushed.counts["restarted"]) == (0, 1)
    pushed = series.push(at(10))
    assert windows_of(pushed) == [[7.0, 8.0, 9.0, 10.0]]


def test_behind_missed_records_nothing_is_filled_in_and_late_ones_are_late() -> None:
    series = Run(model(T=4))
    series.push(at(*range(6)))
    series.windows.start_anew(series.state)
    pushed = series.push(at(3))
    assert (pushed.counts["late"], pushed.counts["restarted"]) == (1, 0)
    pushed = series.push(at(8, 9))  # 6 and 7 are missing: few enough to be filled in otherwise
    assert (pushed.counts["filled"], pushed.counts["restarted"]) == (0, 1)
    assert series.slot("known")["size"] == 2
    whole, cut = Run(model(T=4)), Run(model(T=4))
    for one in (whole, cut):
        one.push(at(*range(6)))
        one.windows.start_anew(one.state)
    whole.push(at(8, 9, 10, 11))
    for minute in (8, 9, 10, 11):
        cut.push(at(minute))
    assert whole.state.snapshot(everything=True) == cut.state.snapshot(everything=True)
