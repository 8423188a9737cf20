"""What comes again at the same clock time becomes usual; what is larger, elsewhere or lasts does not. One alert hides no other."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.judgement.population import Population
from detectors.judgement.recurring import ABOVE, BELOW, BOTH, HOUR, MARGIN, PIECE, Memory
from detectors.judgement.reference import Judge

MINUTE, DAY = 60_000, 24 * HOUR
T0 = 1_704_067_200_000
STEP, A_DAY = 10 * MINUTE, 144
BUDGET = 4320.0
KNOWN = 14 * A_DAY


def noise(days: int, seed: int = 0) -> np.ndarray:
    """A level with noise."""
    return np.random.default_rng(seed).normal(20.0, 1.0, days * A_DAY)


def nightly(x: np.ndarray, days: range, *, size: float = 40.0, seed: int = 1) -> None:
    """A job of half an hour that begins at three, up to a quarter of an hour early or late."""
    rng = np.random.default_rng(seed)
    for day in days:
        at = day * A_DAY + 18 + int(rng.integers(-1, 2))
        x[at : at + 3] += size * rng.uniform(0.9, 1.1)


def alarmed(x: np.ndarray, known: int = KNOWN, name: str = "a") -> np.ndarray:
    """Days, from the end of the history on, on which something alarmed."""
    return np.unique(alarmed_rows(x, known, name) // A_DAY)


def alarmed_rows(x: np.ndarray, known: int = KNOWN, name: str = "a", step: int = STEP) -> np.ndarray:
    """Rows, counted from the end of the history, that alarmed; of a series with a history, or of one that is not known."""
    times = T0 + np.arange(len(x)) * step
    population = Population.fit({"a": (times[:known], x[:known, None])}, budget_rows=BUDGET)
    states = np.zeros(1, population.state_dtype)
    population.begin(states, np.zeros(1, np.intp), [name])
    rows = np.zeros(len(x) - known, np.intp)
    said = population.step(states, rows, x[known:, None], times[known:], 0, BUDGET)
    if name == "a":
        judge, state = Judge.fit(times[:known], x[:known, None], budget=BUDGET)
        alone, after = judge.step(state, times[known:], x[known:, None])
        np.testing.assert_array_equal(said.anomalous, alone.anomalous)
        for field, kept in zip(("run", "twice", "once"), after.memory, strict=True):
            np.testing.assert_array_equal(states[0][field], kept, err_msg=field)
    return np.flatnonzero(said.anomalous)


@pytest.mark.parametrize("name", ["a", "not known"])
def test_a_new_nightly_job_is_told_twice_and_is_usual_then(name: str) -> None:
    x = noise(34)
    nightly(x, range(18, 34))
    told = alarmed(x, name=name)
    assert {4, 5} <= set(told.tolist())
    assert (told >= 6).sum() <= 2


def test_what_is_much_larger_or_at_another_time_alarms_all_the_same() -> None:
    x = noise(34)
    nightly(x, range(18, 34))
    x[30 * A_DAY + 19] += 400.0
    x[32 * A_DAY + 90] += 40.0
    told = alarmed(x)
    assert {30 - 14, 32 - 14} <= set(told.tolist())


def test_one_of_the_history_counts_as_the_first() -> None:
    later = 0
    for seed in range(6):
        x = noise(30, seed)
        nightly(x, range(13, 30))
        later += (alarmed(x) > 0).sum()
    assert later <= 1


@pytest.mark.parametrize("begins", [(36, 36, 40, 38), (36, 52, 44, 40)], ids=["to the minute", "about"])
def test_what_came_daily_in_a_history_of_two_days_is_usual(begins: tuple[int, ...]) -> None:
    """The first of the two is of the half by which the other is judged."""
    for seed in range(3):
        x = np.random.default_rng(seed).normal(20.0, 1.0, 5 * 288)
        for day, row in enumerate(begins):
            x[day * 288 + row] += 40.0
        x[4 * 288 + 180] += 80.0
        assert alarmed_rows(x, 604, step=5 * MINUTE).tolist() == [4 * 288 + 180 - 604]


def test_what_stood_still_at_an_hour_hides_no_outage_there() -> None:
    """How long it stood makes it no rarer without end."""
    for seed in range(3):
        x = noise(19, seed)
        for day in (15, 16):
            x[day * A_DAY + 60 : day * A_DAY + 90] = 20.5
        at = 18 * A_DAY + 78
        x[at : at + 3] += 20.0
        told = alarmed_rows(x) + KNOWN
        assert 15 * A_DAY + 80 in told.tolist()
        assert at in told.tolist()


def test_memory_is_of_another_day_of_about_the_hour_and_of_short_deviations() -> None:
    at = T0 + 3 * HOUR + 50 * MINUTE
    memory = Memory.none()
    memory.learn(at, 2.0, ABOVE)
    memory.learn(at + 10 * MINUTE, 4.0, ABOVE)
    assert memory.usual(at, ABOVE) == 0.0  # one night's, on either side of an hour's end
    memory.learn(at + DAY + 15 * MINUTE, 3.0, ABOVE)
    assert memory.usual(at + 2 * DAY, ABOVE) == pytest.approx(3.0 + MARGIN, abs=0.26)
    assert memory.usual(at + 2 * DAY + 2 * HOUR, ABOVE) == 0.0
    assert memory.usual(at + 17 * DAY, ABOVE) == 0.0  # it stayed away for more than two weeks
    lasting = Memory.none()
    for k in range(3 * 144):
        lasting.learn(T0 + k * 10 * MINUTE, 5.0, ABOVE)
    assert not lasting.twice.any()
    assert lasting.usual(T0 + 3 * DAY + 12 * HOUR, ABOVE) == 0.0
    assert set(np.flatnonzero(lasting.once)) == set(range(PIECE // HOUR))


@pytest.mark.parametrize(("days", "usual"), [((0, 1), True), ((0, 7), True), ((0, 3), False), ((0, 2, 5, 9), False)])
def test_a_day_or_a_week_apart_is_a_schedule_and_any_two_days_are_none(days: tuple[int, ...], usual: bool) -> None:
    memory = Memory.none()
    for day in days:
        memory.learn(T0 + day * DAY + 10 * HOUR, 3.0, ABOVE)
    assert (memory.usual(T0 + (days[-1] + 1) * DAY + 10 * HOUR, ABOVE) > 0.0) is usual


def test_what_came_on_one_side_says_nothing_of_the_other() -> None:
    memory, at = Memory.none(), T0 + 10 * HOUR
    for day in range(2):
        memory.learn(at + day * DAY, 3.0, ABOVE)
    assert memory.usual(at + 2 * DAY, ABOVE) > 0.0
    assert memory.usual(at + 2 * DAY, BELOW) == 0.0
    for day in range(2, 4):  # it begins late, and is missed for a moment
        memory.learn(at + day * DAY, 2.0, BELOW)
        assert (memory.usual(at + (day + 1) * DAY, BELOW) > 0.0) is (day == 3)
        memory.learn(at + day * DAY + 10 * MINUTE, 3.0, ABOVE)
    assert memory.usual(at + 4 * DAY, BOTH) > 0.0


@pytest.mark.parametrize("seed", range(3))
def test_a_night_without_its_job_is_told(seed: int) -> None:
    """What the job does to a quiet queue is odd each night, more or less, and usual; that the queue stays quiet was as usual, since it was as odd."""
    rng = np.random.default_rng(seed)
    x = rng.exponential(3.0, 34 * A_DAY)
    for day in range(34):
        if day != 30:
            x[day * A_DAY + 12 : day * A_DAY + 15] += np.array([400.0, 250.0, 90.0]) * rng.uniform(0.9, 1.1)
    told = alarmed(x, 21 * A_DAY)
    assert 30 - 21 in told.tolist()
    assert len(told) <= 3


def test_what_breaks_at_the_same_hour_of_some_days_is_told_each_time() -> None:
    x = noise(34)
    broken = (16, 18, 22, 27, 32)
    for day in broken:
        x[day * A_DAY + 60 : day * A_DAY + 63] += 40.0
    assert {day - 14 for day in broken} <= set(alarmed(x).tolist())


def test_the_first_alert_raises_no_bar_and_many_do() -> None:
    x = noise(16)
    times = T0 + np.arange(len(x)) * STEP
    population = Population.fit({"a": (times[:KNOWN], x[:KNOWN, None])}, budget_rows=BUDGET)
    states = np.zeros(1, population.state_dtype)
    population.begin(states, np.zeros(1, np.intp), ["a"])
    for k in range(KNOWN, len(x), 40):
        x[k] += 30.0
    said = population.step(states, np.zeros(len(x) - KNOWN, np.intp), x[KNOWN:, None], times[KNOWN:], 0, BUDGET)
    bands = said.band[1::40, 0]
    assert bands[0] == pytest.approx(said.band[0, 0], rel=0.1)
    assert bands[-1] > 1.1 * bands[0]


def test_behind_an_alert_little_is_told_for_half_a_day_and_what_is_much_rarer_at_once() -> None:
    x = noise(20)
    times = T0 + np.arange(len(x)) * STEP
    population = Population.fit({"a": (times[:KNOWN], x[:KNOWN, None])}, budget_rows=BUDGET)
    at, rows = KNOWN + 100, np.zeros(len(x) - KNOWN, np.intp)

    def alarms(size: float, rows_behind: int | None) -> bool:
        y = x.copy()
        y[at] += size
        if rows_behind is not None:
            y[at - rows_behind : at - rows_behind + 3] += 40.0
        states = np.zeros(1, population.state_dtype)
        population.begin(states, np.zeros(1, np.intp), ["a"])
        said = population.step(states, rows, y[KNOWN:, None], times[KNOWN:], 0, BUDGET)
        return bool(said.anomalous[at - KNOWN])

    just = next(size for size in np.arange(3.0, 12.0, 0.25) if alarms(size, None))
    assert not alarms(just + 0.25, 20)
    assert alarms(2.0 * just, 20)
    assert alarms(just + 0.75, A_DAY // 2 + 10)
