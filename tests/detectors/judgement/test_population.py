"""Many series at once: what one is told alone, in any cut, from a history and from nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detectors.judgement.engine import Judge
from detectors.judgement.population import Population, Said

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
        np.testing.assert_allclose(said.score[of], alone.score, atol=1e-5)
        np.testing.assert_allclose(said.strength[of], alone.strength, atol=1e-4)
        np.testing.assert_array_equal(said.anomalous[of], alone.anomalous)
        assert alone.anomalous[430 - HISTORY]


def test_no_cut_changes_a_bit(known: Any) -> None:
    population, data = known
    rows, values, times = log(data)
    young = np.full(60, 2)
    rows = np.r_[rows, young]
    values = np.r_[values, series(9, values.shape[1])[1][:60]]
    times = np.r_[times, T0 + np.arange(60) * STEP]
    mixed = np.argsort(np.random.default_rng(3).random(len(rows)), kind="stable")
    for r in range(3):  # mixed, but each series in its order
        mixed[np.flatnonzero(rows[mixed] == r)] = np.flatnonzero(rows == r)
    rows, values, times = rows[mixed], values[mixed], times[mixed]
    whole_states = begun(population, ["a", "b", "new"])
    whole = population.step(whole_states, rows, values, times, 0, BUDGET)
    for seed in range(3):
        cuts = np.sort(np.random.default_rng(seed).integers(0, len(rows), 40))
        states, parts = begun(population, ["a", "b", "new"]), []
        for part in np.split(np.arange(len(rows)), cuts):
            parts.append(population.step(states, rows[part], values[part], times[part], 0, BUDGET))
        for name in Said._fields:
            assert np.concatenate([getattr(p, name) for p in parts]).tobytes() == getattr(whole, name).tobytes(), name
        assert states.tobytes() == whole_states.tobytes()


def test_what_is_written_to_a_model_file_judges_the_same(known: Any) -> None:
    population, data = known
    again = Population.from_arrays({name: a.copy() for name, a in population.arrays().items()})
    rows, values, times = log(data, N - 40)
    one, two = (p.step(begun(p, list(data)), rows, values, times) for p in (population, again))
    for name in Said._fields:
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
    with pytest.raises(ValueError, match="weights is float64"):
        Population.from_arrays({**population.arrays(), "weights": population.weights.astype(np.float64)})
    with pytest.raises(ValueError, match="begun holds 1"):
        Population.from_arrays({**population.arrays(), "begun": population.arrays()["begun"][:1]})
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
    population.restart(states, np.array([0]))
    assert not states["cleaned"][0].any()
    for name in ("level", "day", "scales", "counts", "usual"):
        assert states[name].tobytes() == before[name].tobytes()
    assert states[1].tobytes() == before[1].tobytes()
    (t, v), *_ = data.values()
    late = t[HISTORY : HISTORY + 30] + 42 * 24 * STEP  # whole days and weeks
    said = population.step(states, np.zeros(30, np.intp), v[HISTORY : HISTORY + 30], late, 0, BUDGET)
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
