"""Made-up metrics with planted anomalies, seeded: what `unseen.py` measures on, written before any default was looked at.

A series is a kind of *normal* (how it looks when nothing happens) with one kind of *anomaly* planted one to four times behind
the training part. No anomaly is planted in the training part, but its noise is the noise of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.training import metric_training_rows
from producers.datasets import Dataset, Labels, Series

START = 1_704_067_200_000
"""2024-01-01, a Monday."""
MINUTE = 60_000

Rng = np.random.Generator
Array = NDArray[Any]


@dataclass(frozen=True)
class Planted:
    """A series with its labels, and how it was made."""

    normal: str
    anomaly: str
    data: Dataset

    @property
    def series(self) -> Series:
        """The one series."""
        return next(iter(self.data.all_series.values()))

    @property
    def y(self) -> NDArray[np.int8]:
        """(n,) labels."""
        return next(iter(self.data.all_labels.values())).anomalous.astype(np.int8)


# What is normal: (rng, event time in minutes (n,)) -> values (n,), about one unit high, without noise of measurement


def _daily(rng: Rng, minutes: Array) -> Array:
    day = 2 * np.pi * (minutes / 1440 + rng.random())
    return np.asarray(np.sin(day) + 0.4 * np.sin(2 * day + rng.random() * 6) + 0.2 * np.sin(3 * day + rng.random() * 6))


def _business(rng: Rng, minutes: Array) -> Array:
    weekend = (minutes // 1440) % 7 >= 5
    return np.asarray(_daily(rng, minutes) * np.where(weekend, 0.3, 1.0) - 0.8 * weekend)


def _weekdays(rng: Rng, minutes: Array) -> Array:
    """One value a day: the weekday decides."""
    return np.asarray(
        rng.normal(0, 1, 7)[(minutes // 1440).astype(int) % 7] + 0.2 * np.sin(minutes / 1440 / 365 * 6.28)
    )


def _cycle(rng: Rng, minutes: Array) -> Array:
    """A machine's cycle, some tens of observations long, that has nothing to do with the clock."""
    rows = np.arange(len(minutes)) / rng.integers(25, 120)
    phase = rows + 0.02 * np.cumsum(rng.normal(0, 0.05, len(rows)))
    return np.asarray(np.sin(2 * np.pi * phase) + 0.5 * np.sin(4 * np.pi * phase + 1.0))


def _pulses(rng: Rng, minutes: Array) -> Array:
    """Sharp pulses on a flat line, as a heart beats."""
    phase = (np.arange(len(minutes)) / rng.integers(30, 90)) % 1.0
    return 3.0 * np.exp(-((phase - 0.5) ** 2) / 0.002) - np.exp(-((phase - 0.62) ** 2) / 0.004)


def _wander(rng: Rng, minutes: Array) -> Array:
    """A random walk that comes back."""
    return _autoregressive(rng, len(minutes), 0.98)


def _load(rng: Rng, minutes: Array) -> Array:
    """A server's load: bursts that decay, on a floor."""
    jumps = (rng.random(len(minutes)) < 0.05) * rng.exponential(1.0, len(minutes))
    out = np.zeros(len(minutes))
    for i in range(1, len(out)):
        out[i] = 0.8 * out[i - 1] + jumps[i]
    return out


def _counts(rng: Rng, minutes: Array) -> Array:
    rate = 6.0 * (1.2 + np.sin(2 * np.pi * (minutes / 1440 + rng.random())))
    return np.asarray(rng.poisson(rate) / 4.0)


def _flat(rng: Rng, minutes: Array) -> Array:
    return np.zeros(len(minutes))


def _switch(rng: Rng, minutes: Array) -> Array:
    """On and off, for tens of observations each."""
    lengths = rng.integers(20, 60, len(minutes) // 20 + 2)
    return np.repeat(np.arange(len(lengths)) % 2, lengths)[: len(minutes)].astype(np.float64)


NORMAL: dict[str, Callable[[Rng, Array], Array]] = {
    "daily": _daily,
    "business": _business,
    "weekdays": _weekdays,
    "cycle": _cycle,
    "pulses": _pulses,
    "wander": _wander,
    "load": _load,
    "counts": _counts,
    "flat": _flat,
    "switch": _switch,
}


def _autoregressive(rng: Rng, n: int, memory: float) -> Array:
    steps = rng.normal(0, np.sqrt(1 - memory**2), n)
    out = np.zeros(n)
    for i in range(1, n):
        out[i] = memory * out[i - 1] + steps[i]
    return out


# Anomalies: (rng, values (n,), first, length, size) changes values in place


def _spike(rng: Rng, x: Array, at: slice, size: float) -> None:
    x[at] += rng.choice([-1.0, 1.0]) * 2.0 * size


def _shift(rng: Rng, x: Array, at: slice, size: float) -> None:
    x[at] += rng.choice([-1.0, 1.0]) * size


def _variance(rng: Rng, x: Array, at: slice, size: float) -> None:
    x[at] += rng.normal(0, size, at.stop - at.start)


def _frozen(rng: Rng, x: Array, at: slice, size: float) -> None:
    x[at] = x[at.start]


def _missing(rng: Rng, x: Array, at: slice, size: float) -> None:
    """The season does not come: half its height, about its mean."""
    x[at] = x.mean() + 0.3 * (x[at] - x.mean())


def _faster(rng: Rng, x: Array, at: slice, size: float) -> None:
    """The same twice as fast."""
    n = at.stop - at.start
    x[at] = x[at.start + (2 * np.arange(n)) % n]


def _mirrored(rng: Rng, x: Array, at: slice, size: float) -> None:
    x[at] = x[at].mean() - (x[at] - x[at].mean())


def _drift(rng: Rng, x: Array, at: slice, size: float) -> None:
    n = at.stop - at.start
    x[at] += rng.choice([-1.0, 1.0]) * size * np.linspace(0, 1.5, n)


ANOMALIES: dict[str, Callable[[Rng, Array, slice, float], None]] = {
    "spike": _spike,
    "shift": _shift,
    "variance": _variance,
    "frozen": _frozen,
    "missing": _missing,
    "faster": _faster,
    "mirrored": _mirrored,
    "drift": _drift,
}
# Flat, wandering and random series have no season that could be missing and no shape that could be mirrored.
_SHAPELESS = ("wander", "load", "flat", "counts", "switch")
_NEEDS_SHAPE = ("missing", "faster", "mirrored")
_STEPS = {"daily": (5, 30, 60), "business": (30, 60), "counts": (10, 60), "weekdays": (1440,)}
_LENGTHS = (500, 1000, 2000, 4000, 10_000)


def metrics(seed: int) -> Iterator[Planted]:
    """Every kind of normal with every anomaly that it can have, of one channel."""
    for k, normal in enumerate(NORMAL):
        for j, anomaly in enumerate(ANOMALIES):
            if normal in _SHAPELESS and anomaly in _NEEDS_SHAPE:
                continue
            if (normal, anomaly) == ("flat", "frozen") or (normal, anomaly) == ("switch", "frozen"):
                continue
            rng = np.random.default_rng([seed, k, j])
            n, step = int(rng.choice(_LENGTHS)), int(rng.choice(_STEPS.get(normal, (1, 5))))
            noise = float(rng.choice([0.03, 0.1, 0.25]))
            x = NORMAL[normal](rng, np.arange(n) * float(step))
            y = _plant(rng, x, anomaly, n, noise)
            values = (x + rng.normal(0, noise, n)) * 10.0 ** rng.uniform(-2, 5) + 10.0 ** rng.uniform(-2, 5)
            yield _planted(normal, anomaly, step, values[:, None], y)


def several(seed: int) -> Iterator[Planted]:
    """Several channels that move together; in the anomaly one or two of them do something of their own."""
    kinds = ("broken", "spike", "shift", "frozen", "swapped")
    for k, normal in enumerate(("daily", "cycle", "wander", "load")):
        for j, anomaly in enumerate(kinds):
            rng = np.random.default_rng([seed, 100 + k, j])
            n, step = int(rng.choice(_LENGTHS[1:])), int(rng.choice(_STEPS.get(normal, (1, 5))))
            channels, hidden = int(rng.integers(3, 13)), 2
            minutes = np.arange(n) * float(step)
            sources = np.stack([NORMAL[normal](rng, minutes) for _ in range(hidden)])
            x = (sources.T @ rng.normal(0, 1, (hidden, channels))) / np.sqrt(hidden)  # (n, channels)
            y = np.zeros(n, np.bool_)
            for at in _places(rng, n, spike=anomaly == "spike"):
                y[at] = True
                c = int(rng.integers(channels))
                if anomaly == "broken":
                    x[at, c] = np.roll(x[:, c], int(n * 0.37))[at]
                elif anomaly == "swapped":
                    x[at, c] = -x[at, c]
                else:
                    ANOMALIES[anomaly](rng, x[:, c], at, 1.0 + 2.0 * rng.random())
            noise = float(rng.choice([0.03, 0.1, 0.2]))
            values = (x + rng.normal(0, noise, x.shape)) * 10.0 ** rng.uniform(-1, 3, channels)
            yield _planted(f"{normal} x{channels}", anomaly, step, values, y)


def _plant(rng: Rng, x: Array, anomaly: str, n: int, noise: float) -> NDArray[np.bool_]:
    y = np.zeros(n, np.bool_)
    spread = max(float(x.std()), 5 * noise)
    for at in _places(rng, n, spike=anomaly == "spike"):
        y[at] = True
        ANOMALIES[anomaly](rng, x, at, spread * float(rng.choice([0.7, 1.2, 2.0])))
    return y


def _places(rng: Rng, n: int, *, spike: bool) -> list[slice]:
    """Where anomalies are planted: one to four, none in the training part, none overlapping."""
    begin = metric_training_rows(n) + max(60, n // 20)
    count = int(rng.integers(1, 5))
    room = (n - 5 - begin) // count
    found = []
    for i in range(count):
        length = int(rng.integers(1, 3)) if spike else int(rng.integers(max(8, n // 200), max(30, n // 40)))
        first = begin + i * room + int(rng.integers(0, max(1, room - length)))
        found.append(slice(first, min(first + length, n)))
    return found


def _planted(normal: str, anomaly: str, step: int, values: Array, y: NDArray[np.bool_]) -> Planted:
    name = f"{normal}, {anomaly}"
    times = START + np.arange(len(values), dtype=np.int64) * step * MINUTE
    series = Series(name, times, tuple(np.ascontiguousarray(c) for c in values.T), step * MINUTE)
    channels = tuple(f"c{i}" for i in range(values.shape[1]))
    source = "made up, with planted anomalies"
    data = Dataset(name, "metric", channels, source, {name: series}, {name: Labels((), y)}, synthetic=True)
    return Planted(normal, anomaly, data)
