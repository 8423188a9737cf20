"""One score of a table's members, and its tail: what ranks does not move, what decides is not taught by the attack it tells of."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.outlying import TAIL, Outlying, score

Floats = NDArray[np.float64]
RNG = np.random.default_rng(3)
USUAL = RNG.exponential(size=(4000, 2))


def made(fitted: Floats = USUAL[:2800], held: Floats = USUAL[2800:]) -> Outlying:
    return Outlying.fit({"t": (fitted, held)})


def kept(outlying: Outlying, *names: str | None) -> NDArray[np.void]:
    rows = np.zeros(len(names), outlying.dtype)
    for row, name in enumerate(names):
        outlying.begin(rows, row, name)
    return rows


def told(outlying: Outlying, state: NDArray[np.void], raw: Floats, cut: int = 10**9) -> Floats:
    """Calibrated scores, `cut` rows at a time."""
    parts = [raw[i : i + cut] for i in range(0, len(raw), cut)]
    return np.concatenate(
        [outlying.calibrate(state, np.zeros(len(p), np.intp), p, np.ones(len(p), np.bool_)).calibrated for p in parts]
    )


def test_the_score_is_a_mean_of_squared_logarithms_of_distances_and_of_one_member_its_own() -> None:
    raw = np.array([[3.0, 1.0], [1.0, 1.0]])
    middle, high = np.array([1.0, 1.0]), np.array([2.0, 3.0])
    assert score(raw, middle, high).tolist() == [np.log1p(2.0) ** 2 / 2, 0.0]
    assert score(raw[:, :1], middle[:1], high[:1]).tolist() == [3.0, 1.0]


def test_an_attack_of_a_thousand_rows_is_as_rare_at_its_end_and_so_is_the_next_one() -> None:
    outlying = made()
    state = kept(outlying, "t")
    attack, calm = np.full((1000, 2), 40.0), RNG.exponential(size=(2000, 2))
    first = told(outlying, state, attack)
    told(outlying, state, calm)
    again = told(outlying, state, attack[:100])
    assert first.min() > 4.0
    assert again.min() > 4.0
    assert abs(first[0] - again[-1]) < 1.0


def test_a_shift_of_all_rows_is_normal_after_as_many_rows_as_are_stated() -> None:
    outlying = made()
    state = kept(outlying, "t")
    shifted = 40.0 + RNG.exponential(size=(TAIL.adapt_after + 2000, 2))
    found = told(outlying, state, shifted)
    assert found[: TAIL.adapt_after].min() > TAIL.poison_level
    after = found[TAIL.adapt_after + 2 * TAIL.step :]
    assert np.count_nonzero(after >= 3.0) <= 10
    assert np.median(after) < 1.0


def test_cuts_change_no_bit() -> None:
    outlying = made()
    raw = np.concatenate([RNG.exponential(size=(700, 2)), np.full((90, 2), 30.0), RNG.exponential(size=(300, 2))])
    whole, cut = kept(outlying, "t"), kept(outlying, "t")
    assert told(outlying, whole, raw).tobytes() == told(outlying, cut, raw, 7).tobytes()
    assert whole.tobytes() == cut.tobytes()


def test_rows_that_a_member_was_fitted_on_are_stretched_to_those_held_back() -> None:
    flattered = made(USUAL[:2800] * 0.5)
    plain = made()
    state, other = kept(flattered, "t"), kept(plain, "t")
    raw = np.array([[9.0, 9.0]])
    one, two = told(flattered, state, raw), told(plain, other, raw)
    assert one == pytest.approx(two, abs=0.35)  # not by the 2 of the flattery: half as far is 1.5 decades


def test_a_series_that_is_not_known_is_measured_as_the_largest_known_one_and_learns_its_tail() -> None:
    outlying = Outlying.fit({"few": (USUAL[:20] + 5.0, USUAL[20:30] + 5.0), "many": (USUAL[:2800], USUAL[2800:])})
    state = kept(outlying, "new")
    assert state["middle"][0].tolist() == outlying.series["many"].middle.tolist()
    assert not told(outlying, state, USUAL[:10]).any()
    assert told(outlying, state, USUAL[:640])[-64:].any()


def test_what_is_learnt_comes_back_from_arrays() -> None:
    outlying = made()
    again = Outlying.from_arrays(["t"], outlying.calibrator, **outlying.arrays())
    assert kept(again, "t").tobytes() == kept(outlying, "t").tobytes()


def test_columns_have_their_share_by_what_their_member_adds() -> None:
    outlying = made()
    said = outlying.calibrate(kept(outlying, "t"), np.zeros(1, np.intp), np.array([[50.0, 1.0]]), np.zeros(1, np.bool_))
    assert said.members.tolist() == [[True, False]]
    shares = said.shares([np.array([[1.0, 3.0]], np.float32), np.array([[9.0, 0.0]], np.float32)])
    assert shares is not None
    assert shares[0, 1] / shares.sum() > 0.7
    assert said.shares([None, None]) is None
