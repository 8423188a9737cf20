"""What can be odd about a row: the terms, each a number that is high where something is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.judgement import conditional, short_state
from detectors.judgement.clock import Bins
from detectors.judgement.state import BLOCK, Floats, Learnt, State

TERMS = (
    "cleaned",
    "plain",
    "clock",
    "stretch",
    "quarter",
    "state",
    "spread",
    "flat",
    "given others",
    "given others, stretch",
)
"""What can be odd about a row: the error of a forecast from a cleaned and from the plain context, what is left of the clock's forecast (newest row, mean of 8,
mean of a quarter of a day), the last 8 rows as a picture, noise, equal values, and with several channels each given all the others (newest row, mean of 8)."""
CLEANED, PLAIN, CLOCK, STRETCH, QUARTER, STATE, SPREAD, FLAT, GIVEN, GIVEN_STRETCH = range(len(TERMS))
SCALED = (CLEANED, PLAIN, CLOCK, STRETCH, QUARTER, SPREAD, GIVEN, GIVEN_STRETCH)
"""Terms that each channel has, divided by its own slow scale before channels meet."""
ALARMS = (CLEANED, CLOCK, STRETCH, QUARTER, SPREAD, GIVEN, GIVEN_STRETCH)
"""Terms that raise alarms; equal values do by their own rule."""
ALARM_OF_SCALED = [ALARMS.index(CLEANED if k == PLAIN else k) for k in SCALED]
"""Whose counts say how far out a scaled term has been; the two contexts' are one."""
OF_ONE_ROW = tuple(ALARMS.index(k) for k in (CLEANED, CLOCK, GIVEN))
"""Those of them that are of the newest row alone, no mean: places in ALARMS."""
FAR = 11.0
"""Usual errors (mean absolute) beyond which a row enters the cleaned context as its forecast. Of a day or longer (`clock.COARSE`) no row enters with an
error beyond `CLIP`: few rows were learnt from, so what one leaves there is in many of the next, and a forecast that it enters as leads away from a trend."""
LONGEST = 64
"""Rows for which it may; then the context begins anew from what was seen."""
HIGHEST = 3
"""Channels that decide a term."""
CLIP = 3.0
"""Usual sizes beyond which one counts as no more."""
MOST_NOISE = 10.0
"""Usual errors that a row adds to noise at most; of a day or longer `CLIP`, as eight of them are more than a week."""
UPHELD = 0.5
"""Of a mean: where the newest row has less of it, on its side, the mean only tells of rows before, and has no say in the alarm. A mean forgets slowly what was told at once.
One over a quarter of a day must be upheld by the mean of eight rows too, as a single row says little of it. Of rows of a day or longer
the mean of eight must have that half without the two rows that have most part in it: one or two spikes are no stretch."""

NOISE_UPHELD = 1.0
"""Of noise among rows of a day or longer: behind a fortnight that was off, ordinary rows have half of what is left of it."""


def errors(
    learnt: Learnt, state: State, x: Floats, level: Floats, left: Floats
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Sizes of the scaled terms (S, n, C), the picture's distance and the share of equal values (2, n), and where the newest row upholds a mean (S, n, C); row by row."""
    n, C = x.shape
    out, single = np.zeros((len(SCALED), n, C)), np.zeros((2, n))
    gain = 1.0 / quarter(learnt.bins)
    weights = learnt.weights.astype(np.float64)
    upheld = np.ones((len(SCALED), n, C), np.bool_)
    coarse = learnt.bins.coarse
    most_noise = CLIP if coarse else MOST_NOISE
    for i in range(n):
        now = left[i]
        cleaned = (state.cleaned * weights).sum(axis=0)
        error, plain = now - cleaned, np.abs(now - (state.plain * weights).sum(axis=0))
        if coarse:
            enters = cleaned + np.clip(error, -CLIP * state.scales[0], CLIP * state.scales[0])
        else:
            enters = _cleaned(state, now, cleaned, np.abs(error) > FAR * state.scales[0])
        state.cleaned[:-1] = state.cleaned[1:]
        state.cleaned[-1] = enters
        state.plain[:-1] = state.plain[1:]
        state.plain[-1] = now
        state.seen[:-1] = state.seen[1:]
        state.seen[-1] = x[i]
        bounded = np.clip(now, -8 * state.scales[2], 8 * state.scales[2])
        state.means[0] += gain * (bounded - state.means[0])
        noise = np.minimum(np.minimum(np.abs(error), plain), most_noise * state.scales[1])
        state.means[1] += 0.125 * (noise - state.means[1])
        same = x[i] == state.last
        state.equal = np.where(same, state.equal + 1, 0).astype(np.int32)
        state.last = x[i].copy()
        stretch = state.plain[-8:].mean(axis=0, dtype=np.float64)
        out[:6, i] = np.abs(error), plain, np.abs(now), np.abs(stretch), np.abs(state.means[0]), state.means[1]
        most = _without_farthest(state.plain[-8:], stretch) if coarse else stretch
        upheld[3, i] = _upholds(now, stretch) & _upholds(most, stretch)
        slow = state.means[0].astype(np.float64)
        upheld[4, i] = _upholds(now, slow) & _upholds(most, slow)
        upheld[5, i] = np.minimum(np.abs(error), plain) >= (NOISE_UPHELD if coarse else UPHELD) * state.means[1]
        if learnt.others is not None:
            given = conditional.residual(state.seen.astype(np.float64), learnt.others)
            out[6, i], out[7, i] = np.abs(given[-1]), np.abs(given.mean(axis=0))
            upheld[7, i] = _upholds(given[-1], given.mean(axis=0))
        state.sums += np.minimum(out[:, i], CLIP * state.scales)
        single[0, i] = short_state.distance((state.seen - level[i]).reshape(1, -1), learnt.centres)[0]
        equal = np.where((learnt.longest < 0.0) & (state.equal >= learnt.bins.stands), 0, state.equal)
        single[1, i] = (equal / (2 * np.abs(learnt.longest) + 6)).max()
    return out, single, upheld


def _without_farthest(rows: NDArray[np.float32], mean: Floats) -> Floats:
    """The mean (C,) of rows (8, C) without what the two that have most part in it add."""
    side = np.where(mean >= 0, 1.0, -1.0)
    farthest = np.sort(np.maximum(rows * side, 0.0), axis=0)[-2:].sum(axis=0, dtype=np.float64)
    return np.asarray(mean - side * farthest / len(rows))


def _upholds(now: Floats, mean: Floats) -> NDArray[np.bool_]:
    return np.asarray(now * mean >= UPHELD * mean * mean)


def speaking(state: State, sizes: Floats, upheld: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which terms (T, n) have a say in the alarm: of several channels the one that is farthest out decides."""
    out = np.ones((len(TERMS), sizes.shape[1]), np.bool_)
    farthest = (sizes / state.scales[:, None]).argmax(axis=2)
    out[list(SCALED)] = np.take_along_axis(upheld, farthest[:, :, None], axis=2)[:, :, 0]
    return out


def _cleaned(state: State, now: Floats, forecast: Floats, far: NDArray[np.bool_]) -> Floats:
    """What enters the cleaned context: the forecast where a row is far out, for a bounded time."""
    state.far = np.where(far, state.far + 1, 0).astype(np.int16)
    again = state.far > LONGEST
    if again.any():
        state.cleaned[:, again] = state.plain[:, again]
        state.far[again] = 0
    return np.where(far & ~again, forecast, now)


def terms(state: State, sizes: Floats, runs: Floats, at: int) -> Floats:
    """Terms (T, 16) of a block in which these rows lie from `at` on: one shape for all cuts, so that their bits are the same."""
    n, C = sizes.shape[1:]
    scaled = np.zeros((len(SCALED), BLOCK, C))
    scaled[:, at : at + n] = sizes / state.scales[:, None]
    scaled[SCALED.index(SPREAD)] = np.maximum(scaled[SCALED.index(SPREAD)] - 1.0, 0.0)
    if C > 1:
        logs = np.sort(np.log1p(scaled), axis=2)[:, :, -min(HIGHEST, C) :]
        together = np.expm1(np.ascontiguousarray(logs).mean(axis=2))
    else:
        together = scaled[:, :, 0]
    out = np.zeros((len(TERMS), BLOCK))
    out[list(SCALED)] = together
    out[STATE, at : at + n] = runs[0]
    out[FLAT, at : at + n] = np.maximum(2.0 * runs[1] - 1.0, 0.0)
    if C == 1:
        out[[GIVEN, GIVEN_STRETCH]] = 0.0
    return out


def quarter(bins: Bins) -> float:
    """Rows of a quarter of a day, 12 to 500."""
    return float(np.clip(bins.rows_a_day / 4, 12, 500))


def rows_of(term: int, bins: Bins) -> float:
    """How many rows of a term go together."""
    return {STRETCH: 4.0, SPREAD: 4.0, GIVEN_STRETCH: 4.0, QUARTER: quarter(bins) / 2}.get(term, 1.0)


def rows_anew(term: int, bins: Bins) -> float:
    """Rows after which a term says something new: of a mean that fades over a quarter of a day, twice that, as of any first-order process."""
    return 2.0 * quarter(bins) if term == QUARTER else rows_of(term, bins)
