"""Which seasons and what trend a series has, by autocorrelation and by folding.

    values ──▶ grid of equal steps ──▶ autocorrelation: candidates ──▶ classical decomposition ──▶ fold: odd cycles foretell even ones?
                                              ▲                                                           │ strongest, shortest
                                              └──────────────── what is left without it ◀─────────────────┘

The autocorrelation has hills at the lags of a season (Vlachos, Yu and Castelli, "On Periodicity Detection and Structural Periodic Similarity",
2005), but so has a random walk. So a candidate counts only if the cycles of odd number, averaged, foretell those of even number after the slow
part (a moving average of the season's length) is taken off. The strength is that of Hyndman and Athanasopoulos, "Forecasting: Principles and
Practice", 1 - Var(remainder) / Var(season + remainder). The trend is Theil's and Sen's slope with Kendall's tau over means of blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
MONTH, YEAR = round(DAY * 365.2425 / 12), round(DAY * 365.2425)
CALENDAR = (MINUTE, HOUR, DAY, 7 * DAY, MONTH, YEAR)
"""Lengths, in ms, that seasons mostly have; a month and a year on average."""
MOST_CELLS = 1 << 16
"""Of a grid that is looked at at once: beyond it the newest part is, and the whole in coarser cells."""
MOST_SEASONS = 3
CANDIDATES = 12
LEAST_HILL, LEAST_STRENGTH = 0.1, 0.1
_LEAST_AGREEMENT = ((2, 0.95), (3, 0.9), (6, 0.75))
"""Cycles, and how far the odd ones must agree with the even ones (correlation) where there are no more: few agree by chance."""
FOLDS = 168
"""Cells of a folded cycle at most."""
BLOCKS = 300
"""Means that a trend is taken of, at most."""


@dataclass(frozen=True)
class Season:
    """What comes again every `period` ms, `cycles` times in what was looked at; strength 0..1."""

    period: float
    strength: float
    cycles: float


@dataclass(frozen=True)
class Trend:
    """A lasting rise or fall, `change` over the whole, in the unit of the values; Kendall's `tau` says how steady it is."""

    change: float
    tau: float


def steady_step(step: int) -> float:
    """The step in ms, on average over years where it is one of the calendar: months have 28 to 31 days."""
    for length, days in ((MONTH, (28, 31)), (3 * MONTH, (89, 92)), (YEAR, (365, 366))):
        if days[0] * DAY <= step <= days[1] * DAY:
            return float(length)
    return float(step)


def seasons(times: NDArray[np.int64], values: NDArray[np.float64], step: int) -> tuple[Season, ...]:
    """The seasons of a series, shortest first.

    Parameters
    ----------
    times, values
        (n,) in ms, rising, and (n,); NaN is missing.
    step
        The usual one in ms; 0: there is none, the mean one serves.
    """
    known = np.isfinite(values)
    times, values = times[known], values[known]
    if len(times) < 8:
        return ()
    values = values / (np.abs(values).max() or 1.0)  # squares of what is huge overflow
    one = float(steady_step(step) if step else (times[-1] - times[0]) / (len(times) - 1))
    if one <= 0:
        return ()
    newest = times >= times[-1] - one * (MOST_CELLS - 1)
    found = _of_grid(*_grid(times[newest], values[newest], one), least=2.0)
    if not newest.all():
        coarse = one * np.ceil((times[-1] - times[0]) / one / MOST_CELLS)
        found += _of_grid(*_grid(times, values, float(coarse)), least=8.0)
    kept: list[Season] = []
    for season in sorted(found, key=lambda s: -s.strength):
        if all(abs(season.period - k.period) > 0.05 * k.period for k in kept):
            kept.append(season)
    return tuple(sorted(kept[:MOST_SEASONS], key=lambda s: s.period))


def trend(times: NDArray[np.int64], values: NDArray[np.float64], season: float = 0.0) -> Trend | None:
    """The trend of a series, over means of whole `season`s (ms; 0: none); None where it has none to speak of."""
    known = np.isfinite(values)
    times, values = times[known], values[known]
    if len(times) < 8 or times[-1] <= times[0]:
        return None
    span = float(times[-1] - times[0])
    block = span / min(BLOCKS, len(times))
    if season and span >= 4 * season:
        block = season * max(1.0, np.ceil(block / season))
    number = ((times - times[0]) // block).astype(np.int64)
    counts = np.bincount(number)
    full = counts >= 0.5 * np.median(counts[counts > 0])
    means = np.bincount(number, values)[full] / counts[full]
    at = np.flatnonzero(full) * block
    if len(means) < 4:
        return None
    one, other = np.triu_indices(len(means), 1)
    rises = means[other] - means[one]
    tau = float(np.sign(rises).mean())
    slope = float(np.median(rises / (at[other] - at[one])))
    change = slope * span
    noise = float(np.median(np.abs(means - slope * at - np.median(means - slope * at))))
    if abs(tau) < 0.5 or abs(change) <= 3 * noise:
        return None
    return Trend(change, tau)


def _grid(times: NDArray[np.int64], values: NDArray[np.float64], step: float) -> tuple[NDArray[np.float64], float]:
    """(n,) means of cells of one step, NaN where a cell is empty; and the step."""
    cell = np.rint((times - times[0]) / step).astype(np.int64)
    counts = np.bincount(cell)
    with np.errstate(invalid="ignore"):
        return np.bincount(cell, values) / np.where(counts > 0, counts, np.nan), step


def _of_grid(y: NDArray[np.float64], step: float, *, least: float) -> list[Season]:
    """Seasons of at least `least` cells."""
    found: list[Season] = []
    y = _tamed(y)
    for _ in range(MOST_SEASONS):
        if not np.nanstd(y) > 0:
            break
        judged = [(lag, *_judged(y, lag)) for lag in _candidates(y, step, least)]
        good = [(lag, strength) for lag, strength, agreed in judged if agreed and strength >= LEAST_STRENGTH]
        if not good:
            break
        best = max(strength for _, strength in good)
        # Multiples of a season explain as much as it does: the shortest that explains nearly all is it.
        lag, strength = min(g for g in good if g[1] >= 0.6 * best)
        found.append(Season(_snapped(lag, step, len(y)) * step, strength, len(y) / lag))
        y = y - _fold(y - _slow(y, lag), lag)
    return found


def _tamed(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without a straight line, and with what lies far out brought near: one outage is no season."""
    y = _near(y)
    x = np.arange(len(y), dtype=np.float64) / len(y)
    known = np.isfinite(y)
    slope, level = np.polyfit(x[known], y[known], 1)
    return _near(y - (slope * x + level))


def _near(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Clipped to the middle nine tenths and twice their width around them."""
    low, high = np.nanquantile(y, [0.05, 0.95])
    width = high - low
    return np.clip(y, low - 2 * width, high + 2 * width) if width > 0 else y


def _autocorrelation(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n // 2 + 1,) by FFT, pairs with a missing cell left out."""
    known = np.isfinite(y)
    x = np.where(known, y - np.nanmean(y), 0.0)
    size = 1 << int(2 * len(y) - 1).bit_length()
    lags = len(y) // 2 + 1
    products = np.fft.irfft(np.abs(np.fft.rfft(x, size)) ** 2)[:lags]
    pairs = np.rint(np.fft.irfft(np.abs(np.fft.rfft(known.astype(float), size)) ** 2)[:lags])
    with np.errstate(invalid="ignore", divide="ignore"):
        out = np.where(pairs > 3, products / pairs, 0.0)
    return out / out[0] if out[0] > 0 else np.zeros(lags)


def _candidates(y: NDArray[np.float64], step: float, least: float) -> list[float]:
    """Lags, in cells, at which a season may be: hills of the autocorrelation, and the calendar's lengths."""
    rho = _autocorrelation(y)
    inner = np.arange(1, len(rho) - 1)
    hills = inner[(rho[1:-1] >= rho[:-2]) & (rho[1:-1] > rho[2:]) & (rho[1:-1] > LEAST_HILL)]
    hills = hills[hills >= max(least, 2)]
    # The highest, and the first: later ones are multiples of these.
    chosen = {*hills[np.argsort(-rho[hills])][:CANDIDATES].tolist(), *hills[:CANDIDATES].tolist()}
    lags = [_refined(rho, lag) for lag in chosen]
    lags += [length / step for length in CALENDAR if max(least, 3) <= length / step <= len(y) / 2]
    return [lag for lag in lags if len(y) / lag >= 2]


def _refined(rho: NDArray[np.float64], lag: int) -> float:
    """A hill's lag to a part of a cell, from the hills at its multiples."""
    exact, times = float(lag), 1
    while 2 * times * exact < len(rho) - 1:
        times *= 2
        at = round(times * exact)
        reach = max(1, min(round(exact / 4), round(0.6 * times)))
        around = rho[max(at - reach, 0) : at + reach + 1]
        if around.max() < 0.5 * rho[lag]:
            break
        exact = (max(at - reach, 0) + int(around.argmax())) / times
    return exact


def _snapped(lag: float, step: float, cells: int) -> float:
    """The calendar's length where the lag is as near as so many cells can tell."""
    for length in CALENDAR:
        if abs(lag - length / step) <= max(0.02 * lag, lag * lag / (2 * cells)):
            return length / step
    return lag


def _slow(y: NDArray[np.float64], lag: float) -> NDArray[np.float64]:
    """Moving average over one cycle; where half a cycle is missing at the ends, the nearest."""
    width = max(round(lag), 2)
    known = np.isfinite(y)
    sums = np.cumsum(np.r_[0.0, np.where(known, y, 0.0)])
    counts = np.cumsum(np.r_[0, known])
    first = np.clip(np.arange(len(y)) - width // 2, 0, max(len(y) - width, 0))
    last = np.minimum(first + width, len(y))
    there = counts[last] - counts[first]
    return np.where(there > 0, (sums[last] - sums[first]) / np.maximum(there, 1), 0.0)


def _phase(n: int, lag: float) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Of n cells: in which cycle each is, (n,), in which cell of the folded one, (n,), and how many that has."""
    cells, cycles = min(max(round(lag), 2), FOLDS), np.arange(n) / lag
    whole = np.floor(cycles)
    return whole.astype(np.int64), np.minimum(((cycles - whole) * cells + 1e-9).astype(np.int64), cells - 1), cells


def _mean(y: NDArray[np.float64], at: NDArray[np.int64], cells: int) -> NDArray[np.float64]:
    """Mean (cells,) of what is known of y (n,) in each cell; NaN where nothing is."""
    known = np.isfinite(y)
    if not known.all():
        y, at = y[known], at[known]
    counts = np.bincount(at, minlength=cells)
    with np.errstate(invalid="ignore"):
        return np.bincount(at, y, minlength=cells) / np.where(counts > 0, counts, np.nan)


def _fold(y: NDArray[np.float64], lag: float) -> NDArray[np.float64]:
    """The mean cycle at each cell (n,), 0 where nothing is known."""
    _, phase, cells = _phase(len(y), lag)
    return np.nan_to_num(_mean(y, phase, cells))[phase]


def _judged(y: NDArray[np.float64], lag: float) -> tuple[float, bool]:
    """How strong a season of this lag would be, and whether odd cycles agree with even ones."""
    rest = y - _slow(y, lag)
    known = np.isfinite(rest)
    total = float(np.var(rest[known]))
    if total <= 0:
        return 0.0, False
    number, phase, cells = _phase(len(y), lag)
    even, odd = np.split(_mean(rest, phase + (number & 1) * cells, 2 * cells), 2)
    both = np.isfinite(odd) & np.isfinite(even)
    if both.sum() < 2 or np.std(odd[both]) == 0 or np.std(even[both]) == 0:
        return 0.0, False
    agreement = float(np.corrcoef(odd[both], even[both])[0, 1])
    cycles = len(y) / lag
    wanted = min(w for most, w in _LEAST_AGREEMENT if cycles >= most)
    if both.sum() < 4:  # cycles of two or three cells agree by chance
        wanted = 0.9
    remainder = float(np.var((rest - np.nan_to_num(_mean(rest, phase, cells))[phase])[known]))
    # What a mean cycle takes of mere noise, one number of each fold, is no season.
    by_chance = len(odd) / max(int(known.sum()), 1)
    return max(0.0, 1 - remainder / total - by_chance), agreement >= wanted
