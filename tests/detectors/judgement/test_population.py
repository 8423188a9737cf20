"""Many series at once: what one is told alone, in any cut, from a history and from nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.judgement.calendar import Calendar, Holidays
from detectors.judgement.clock import DAY
from detectors.judgement.population import Population, Said
from detectors.judgement.reference import Judge

STEP = 3_600_000
T0 = 1_750_000_000_000
HISTORY, N = 400, 560
BUDGET = 2_000.0


def series(seed: int, C: int, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Hours with a day, a spike behind the history, and a stretch that stands still; channels keep company."""
    rng = np.random.default_rng(seed)
    day = 3 * np.sin(np.arange(n) * 2 * np.pi / 24)
    values = 10 + day[:, None] + rng.normal(size=(n, C))
    if C > 1:
        values[:, 1] = values[:, 0] + rng.normal(size=n) * 0.2
    if n > 430:
        values[430] += 15
        values[480:500] = values[480]
    return T0 + np.arange(n) * STEP, values


@pytest.fixture(scope="module", params=[1, 3])
def known(request: pytest.FixtureRequest) -> tuple[Population, dict[str, tuple[np.ndarray, np.ndarray]]]:
    data = {name: series(i, request.param) for i, name in enumerate("ab")}
    heads = {name: (t[:HISTORY], v[:HISTORY]) for name, (t, v) in data.items()}
    return Population.fit(heads, budget_rows=BUDGET), data


def begun(population: Population, names: list[str]) -> np.ndarray:
    states = np.zeros(len(names), population.state_dtype)
    population.begin(states, np.arange(len(names)), names)
    return states


def log(
    data: dict[str, tuple[np.ndarray, np.ndarray]], first: int = HISTORY
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, values and times of all series, mixed."""
    order = np.random.default_rng(5).permutation(np.repeat(np.arange(len(data)), N - first))
    nth = [iter(range(first, N)) for _ in data]
    parts = list(data.values())
    picked = [(r, next(nth[r])) for r in order.tolist()]
    return order, np.stack([parts[r][1][i] for r, i in picked]), np.array([parts[r][0][i] for r, i in picked])


def test_each_series_is_told_what_it_is_told_alone(known: Any) -> None:
    population, data = known
    rows, values, times = log(data)
    said = population.step(begun(population, list(data)), rows, values, times, 0, BUDGET)
    assert said.judged.all()
    for i, (t, v) in enumerate(data.values()):
        judge, state = Judge.fit(t[:HISTORY], v[:HISTORY], budget=BUDGET)
        alone, _ = judge.step(state, t[HISTORY:], v[HISTORY:])
        of = rows == i
        for name in ("score", "strength"):
            np.testing.assert_allclose(getattr(said, name)[of], getattr(alone, name), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(said.terms[of] * judge.usual, alone.terms.T, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(said.anomalous[of], alone.anomalous)
        assert alone.anomalous[430 - HISTORY]


KINDS = {
    "noise": lambda rng, n, C: rng.normal(50, 2, (n, C)),
    "walk": lambda rng, n, C: np.cumsum(rng.normal(0, 1, (n, C)), axis=0),
    "counts": lambda rng, n, C: rng.poisson(2, (n, C)).astype(float),
    "pulses": lambda rng, n, C: (rng.random((n, C)) < 0.1) * 7.0,
    "still": lambda rng, n, C: np.full((n, C), -3.0),
    "wide": lambda rng, n, C: rng.normal(0, 1, (n, C)) * 10.0 ** rng.integers(-9, 10, C) + 1e6,
    "heavy": lambda rng, n, C: rng.standard_cauchy((n, C)),
}


@given(
    kind=st.sampled_from(sorted(KINDS)),
    seed=st.integers(0, 2**32 - 1),
    channels=st.integers(1, 5),
    step=st.sampled_from([1_000, 60_000, 600_000, STEP, 24 * STEP, 7 * 24 * STEP, 31 * 24 * STEP]),
    known=st.integers(10, 150),
    closed=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_any_series_is_told_what_the_numpy_version_tells(
    kind: str, seed: int, channels: int, step: int, known: int, closed: bool
) -> None:
    """Of any form and step, with a shift, a spike and a stretch that stands still, holidays among it; learnt from its history by either."""
    rng = np.random.default_rng(seed)
    n = known + 130
    values = KINDS[kind](rng, n, channels)
    values[known + 40] += 30.0 * values[:known].std(axis=0) + 1.0
    values[known + 60 : known + 75] = values[known + 60]
    values[known + 90 :, 0] += 5.0 * values[:known, 0].std()
    times = T0 + np.arange(n) * step
    days = np.unique(times // DAY)
    holidays = Holidays(tuple(days[rng.random(len(days)) < 0.3].tolist()) if closed else ())
    placed = Calendar(holidays=holidays).placed(times)
    head, tail = placed[:known], placed[known:]
    population = Population.fit({"a": (times[:known], values[:known])}, budget_rows=BUDGET, placed={"a": head})
    rows = np.zeros(130, np.intp)
    said = population.step(
        begun(population, ["a"]), rows, values[known:], times[known:], budget_rows=BUDGET, placed=tail
    )
    judge, state = Judge.fit(times[:known], values[:known], budget=BUDGET, placed=head)
    alone, _ = judge.step(state, times[known:], values[known:], placed=tail)
    for name in ("score", "strength"):
        np.testing.assert_allclose(getattr(said, name), getattr(alone, name), rtol=1e-9, atol=1e-9, err_msg=name)
    apart = np.abs(alone.strength) > 1e-6  # at the bar itself the last bit may decide
    np.testing.assert_array_equal(said.anomalous[apart], alone.anomalous[apart])


@pytest.mark.parametrize("channels", [1, 2])
def test_a_week_in_lines_is_told_as_the_numpy_version_tells_it(channels: int) -> None:
    times = T0 + np.arange(6 * 7 * 24) * STEP
    hour, weekend = times % DAY / STEP, (times // DAY + 3) % 7 >= 5
    shape = np.where(weekend, 8.0, 24.0) * np.exp(-((hour - 13.0) ** 2) / 18.0)
    values = shape[:, None] * np.arange(1, channels + 1) + np.random.default_rng(0).normal(
        0, 0.5, (len(times), channels)
    )
    known = 4 * 7 * 24
    placed = Calendar(holidays=Holidays((int(times[known] // DAY) + 2,))).placed(times)
    head, tail = placed[:known], placed[known:]
    judge, state = Judge.fit(times[:known], values[:known], budget=BUDGET, placed=head)
    assert judge.bins.lines
    alone, _ = judge.step(state, times[known:], values[known:], placed=tail)
    population = Population.fit({"a": (times[:known], values[:known])}, budget_rows=BUDGET, placed={"a": head})
    rows = np.zeros(len(tail), np.intp)
    said = population.step(
        begun(population, ["a"]), rows, values[known:], times[known:], budget_rows=BUDGET, placed=tail
    )
    for name in ("score", "strength"):
        np.testing.assert_allclose(getattr(said, name), getattr(alone, name), rtol=1e-9, atol=1e-9, err_msg=name)


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_no_cut_and_no_neighbour_changes_a_bit(known: Any, data: st.DataObject) -> None:
    """Known series and one that is not, gaps among their rows: mixed and cut at random, each series in its own order."""
    population, series_of = known
    rows, values, times = log(series_of)
    values = np.r_[values, series(9, values.shape[1])[1][:60]]
    times = np.r_[times, T0 + np.arange(60) * STEP]
    rows = np.r_[rows, np.full(60, 2)]
    seed = data.draw(st.integers(0, 2**32 - 1))
    mixed = np.argsort(np.random.default_rng(seed).random(len(rows)), kind="stable")
    for r in range(3):
        mixed[np.flatnonzero(np.isin(mixed, np.flatnonzero(rows == r)))] = np.flatnonzero(rows == r)
    anew = np.random.default_rng(seed).random(len(rows)) < 0.01
    budget = np.where(np.arange(len(rows)) % 7, BUDGET, 3 * BUDGET)
    whole_states = begun(population, ["a", "b", "new"])
    placed = Calendar(holidays=Holidays((int(times[0]) // DAY + 3,))).placed(times)
    whole = population.step(whole_states, rows, values, times, 0, budget, anew, placed)
    edges = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=30)))
    states, found = begun(population, ["a", "b", "new"]), [np.zeros_like(column) for column in whole]
    for part in np.split(mixed, edges):
        said = population.step(states, rows[part], values[part], times[part], 0, budget[part], anew[part], placed[part])
        for column, of in zip(found, said, strict=True):
            column[part] = of
    for name, column, wanted in zip(Said._fields, found, whole, strict=True):
        assert column.tobytes() == wanted.tobytes(), name
    assert states.tobytes() == whole_states.tobytes()


def test_one_row_a_call_says_what_one_call_says(known: Any) -> None:
    population, data = known
    (times, values), *_ = data.values()
    rows = np.zeros(N - HISTORY, np.intp)
    whole_states, states = begun(population, ["a"]), begun(population, ["a"])
    whole = population.step(whole_states, rows, values[HISTORY:], times[HISTORY:])
    each = [population.step(states, rows[:1], values[i : i + 1], times[i : i + 1]) for i in range(HISTORY, N)]
    for name in Said._fields:
        assert np.concatenate([getattr(e, name) for e in each]).tobytes() == getattr(whole, name).tobytes(), name
    assert states.tobytes() == whole_states.tobytes()


def test_what_is_written_to_a_model_file_judges_the_same(known: Any) -> None:
    population, data = known
    again = Population.from_arrays({name: a.copy() for name, a in population.arrays().items()})
    rows, values, times = log(data, N - 40)
    one, two = (p.step(begun(p, list(data)), rows, values, times) for p in (population, again))
    for name in Said._fields:
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
    with pytest.raises(ValueError, match="learnt is float64"):
        Population.from_arrays({**population.arrays(), "learnt": population.arrays()["learnt"].astype(np.float64)})
    with pytest.raises(ValueError, match=r"begun is uint8 .1, "):
        Population.from_arrays({**population.arrays(), "begun": population.arrays()["begun"][:1]})
    with pytest.raises(ValueError, match="begun names other series"):
        Population.from_arrays({**population.arrays(), "begun": population.arrays()["begun"][::-1]})
    with pytest.raises(KeyError):
        Population.from_arrays({})


@pytest.mark.parametrize("kind", ["noise", "sine", "counts", "pulses"])
def test_from_nothing_a_spike_is_found_in_forty_rows_and_nothing_before_it(kind: str) -> None:
    rng, S, n = np.random.default_rng(1), 20, 41
    values = {
        "noise": rng.normal(50, 2, (n, S)),
        "sine": 10 + np.sin(np.arange(n)[:, None] / 46 + rng.uniform(0, 6, S)) + rng.normal(0, 0.1, (n, S)),
        "counts": rng.poisson(3, (n, S)).astype(float),
        "pulses": (rng.random((n, S)) < 0.2).astype(float),
    }[kind]
    values[40] = values[:40].mean(axis=0) + 10 * values[:40].std(axis=0)
    population = Population.none(1)
    states = np.zeros(S, population.state_dtype)
    said = [
        population.step(states, np.arange(S), row[:, None], np.full(S, T0 + i * STEP)) for i, row in enumerate(values)
    ]
    assert sum(s.anomalous.sum() for s in said[:40]) == 0
    assert not any(s.judged.any() for s in said[:15])
    assert said[40].anomalous.mean() >= 0.6


def test_the_band_is_where_a_row_begins_to_alarm() -> None:
    t, v = series(0, 1)
    population = Population.fit({"a": (t[:HISTORY], v[:HISTORY])}, budget_rows=BUDGET)
    tell = population.step(
        begun(population, ["a"]), np.zeros(1, np.intp), v[HISTORY : HISTORY + 1], t[HISTORY : HISTORY + 1], 0, BUDGET
    )
    for side in (-1.0, 1.0):
        edge = tell.expected + side * tell.band
        for beyond, alarms in ((0.999, False), (1.02, True)):
            row = tell.expected + side * tell.band * beyond
            said = population.step(
                begun(population, ["a"]), np.zeros(1, np.intp), row, t[HISTORY : HISTORY + 1], 0, BUDGET
            )
            assert said.anomalous[0] == alarms, (edge, row)


def test_after_a_gap_the_context_begins_anew_and_what_was_learnt_stays(known: Any) -> None:
    population, data = known
    states = begun(population, list(data))
    before = states.copy()
    (t, v), *_ = data.values()
    late = t[HISTORY : HISTORY + 30] + 42 * 24 * STEP  # whole days and weeks
    one = slice(HISTORY, HISTORY + 1)
    population.step(states, np.zeros(1, np.intp), v[one], late[:1], 0, BUDGET, anew=True)
    assert not states["channels"]["cleaned"][0, :, :-1].any()
    for name in ("level", "day", "scales"):
        assert states["channels"][name].tobytes() == before["channels"][name].tobytes()
    assert states["usual"].tobytes() == before["usual"].tobytes()
    assert states[1].tobytes() == before[1].tobytes()
    anew = np.arange(30) == 0
    said = population.step(before, np.zeros(30, np.intp), v[HISTORY : HISTORY + 30], late, 0, BUDGET, anew)
    assert not said.anomalous.any()


def test_what_is_kept_of_a_series_is_bounded() -> None:
    assert Population.none(1).state_dtype.itemsize <= 2_560
    assert Population.none(8).state_dtype.itemsize <= 2_560 * 8


def test_a_history_in_which_every_value_is_the_same_is_no_error() -> None:
    t = T0 + np.arange(60) * STEP
    population = Population.fit({"still": (t, np.full((60, 1), 5.0))})
    states = begun(population, ["still"])
    said = population.step(
        states, np.zeros(3, np.intp), np.array([[5.0], [5.0], [9.0]]), t[-1] + STEP * np.arange(1, 4)
    )
    assert said.anomalous.tolist() == [False, False, True]


def test_sixteen_rows_begin_a_series_of_which_nothing_is_known() -> None:
    rng = np.random.default_rng(2)
    x = np.cumsum(rng.normal(0, 2, 16)) + 40.0
    population = Population.none(1)
    states = np.zeros(1, population.state_dtype)
    population.step(states, np.zeros(16, np.intp), x[:, None], T0 + np.arange(16) * STEP)
    head, channel = states[0], states[0]["channels"][0]
    assert (head["phase"], head["rows"], head["bins"].tolist(), head["rows_a_day"]) == (1, 0, [24, 84], 24.0)
    off = np.sort(np.abs(x - np.median(x)))
    unit = max(1.4826 * np.median(off), 0.3 * off[-2])
    left = (x - np.median(x)) / unit
    assert np.abs(left).max() < 8.0
    follows = np.clip((left[1:] * left[:-1]).sum() / ((left[:-1] ** 2).sum() + 2.0), 0.0, 1.0)
    error = np.abs(left[1:] - follows * left[:-1])
    one, alone = max(1.3 * error.mean(), 0.1), max(np.abs(left).mean(), 0.3)
    assert 0.2 < follows < 1.0
    for name, wanted in {
        "middle": np.median(x),
        "unit": unit,
        "follows": follows,
        "last": left[-1],
        "errors": [alone] * 3,
        "scales": [one, one, alone, alone, alone, one, alone, alone],
        "cleaned": np.r_[np.zeros(32), left],
        "seen": left[-8:],
        "means": [0.0, one],
    }.items():
        np.testing.assert_allclose(channel[name], wanted, rtol=1e-6, atol=1e-7, err_msg=name)
    assert head["usual"][0] == pytest.approx(max(3.2, np.sort(error)[-2] / one))
    assert head["usual"][2] == pytest.approx(max(3.2, np.sort(np.abs(left))[-2] / alone))


def test_wild_values_poison_nothing() -> None:
    """Not a number, infinite and at the end of what floats can say: what comes after is judged as ever."""
    t, v = series(0, 2)
    population = Population.fit({"a": (t[:HISTORY], v[:HISTORY])}, budget_rows=BUDGET)
    wild = v[HISTORY:].copy()
    wild[5, 0], wild[6, 1], wild[7], wild[8, 0] = np.nan, np.inf, -1.7e308, 1e300
    states = begun(population, ["a"])
    said = population.step(states, np.zeros(len(wild), np.intp), wild, t[HISTORY:], 0, BUDGET)
    assert np.isfinite(said.score).all()
    assert np.isfinite(said.strength).all()
    assert said.anomalous[6:9].all()
    young = np.zeros(1, population.state_dtype)
    young_said = population.step(young, np.zeros(len(wild), np.intp), wild, t[HISTORY:], 0, BUDGET)
    assert np.isfinite(young_said.score).all()
    for state in (states, young):
        numbers = np.frombuffer(np.ascontiguousarray(state["channels"]["cleaned"]).tobytes(), "<f4")
        assert np.isfinite(numbers).all()


def test_rows_outside_the_records_are_refused_and_a_record_of_another_model_stays_within_this_one(known: Any) -> None:
    population, data = known
    states = begun(population, list(data))
    (t, v), *_ = data.values()
    for row in (-1, 2):
        with pytest.raises(IndexError, match=r"rows must lie in 0..1"):
            population.step(states, np.array([row]), v[:1], t[:1])
    states["known"], states["bins"], states["lines"] = 7_000, 60_000, 60_000
    assert population.step(states, np.zeros(40, np.intp), v[:40], t[:40]).judged.all()
    assert states["known"].tolist() == [0, 7_000]
