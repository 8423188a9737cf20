"""What is compiled of what the judgement says, beside the same in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.compiling import RANKED, SAID, compiled, ufunc_loops
from pipeline.steps.judgement import MEMBER, MOST

ODD = (0.0, -0.0, np.nan, np.inf, -np.inf, 1e-9, -1e-9, 1e300)


def numbers(rng: np.random.Generator, *shape: int) -> NDArray[np.float64]:
    """Numbers of any size, odd ones among them."""
    x = rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, shape)
    return np.where(rng.random(shape) < 0.3, rng.choice(ODD, shape), x)


@pytest.mark.parametrize(("channels", "share"), [(1, 1.0), (3, 0.6), (2, 0.0)])
def test_what_is_said_of_news_is_laid_out_as_numpy_does(channels: int, share: float) -> None:
    rng, n = np.random.default_rng(channels), 400
    new = rng.random(n) < share
    at = np.flatnonzero(new)
    out = numbers(rng, len(at), 2 + 3 * channels)  # views into one table, as they come
    score, strength = out[:, 0], out[:, 1]
    bands, widths, parts = (out[:, 2 + k * channels : 2 + (k + 1) * channels] for k in range(3))
    anomalous, judged = rng.random((2, len(at))) < 0.5
    floor = np.where(rng.random((n, channels)) < 0.5, 0.0, -np.inf)
    live, got, alarm, tables = np.empty(n, np.bool_), np.empty(n), np.empty(n), np.empty((3, n, channels))
    compiled(SAID)(new, score, strength, anomalous, judged, bands, widths, parts, floor, live, got, alarm, *tables)

    wanted_live, wanted, wanted_alarm = np.zeros(n, np.bool_), np.zeros(n), np.full(n, np.nan)
    expected, margin, shares = np.full((3, n, channels), np.nan)
    sound = np.isfinite(score) & np.isfinite(strength)
    wanted_live[at], wanted[at] = judged & sound, np.where(sound, score, 0.0)
    wanted_alarm[at] = np.where(anomalous, np.maximum(strength, 0.0), np.minimum(strength, -1e-9))
    expected[at], margin[at], shares[at] = bands, widths, parts
    with np.errstate(invalid="ignore"):
        upper = expected + margin
        expected = np.maximum(expected, floor)
        margin = np.where(expected <= floor, np.maximum(upper - expected, 0.0), margin)
    for one, other in zip((live, got, alarm, *tables), (wanted_live, wanted, wanted_alarm, expected, margin, shares), strict=True):  # fmt: skip
        np.testing.assert_array_equal(one, other)


def test_members_are_mixed_in_as_numpy_does() -> None:
    rng, n, own = np.random.default_rng(4), 500, 2.3
    usual, rows = np.abs(numbers(rng, 40, 3)), rng.integers(0, 40, n)
    raw, live, score = numbers(rng, n, 3), rng.random(n) < 0.8, rng.normal(size=n)
    out = np.empty(n)
    compiled(RANKED)(ufunc_loops(), own, usual, rows, raw, live, score, out, np.empty(raw.shape))
    unit = usual[rows]
    seen = np.isfinite(raw) & (unit > 0)
    with np.errstate(over="ignore"):
        members = np.log2(1.0 + np.maximum(np.where(seen, raw, 0.0), 0.0) / np.where(unit > 0, unit, 1.0))
    total = MEMBER * np.where(seen, np.minimum(members, MOST), 0.0).sum(axis=1)
    mixed = (own * score + total) / (own + MEMBER * seen.sum(axis=1))
    np.testing.assert_array_equal(out, np.where(live, mixed, 0.0))
