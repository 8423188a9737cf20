"""The log that every fault is tried on: real NAB metrics with planted anomalies, garbage between them, and a small trained model.

    page 0 of each partition   640 short series ("host-..."), one after the other, done before half of the log has passed
    page 1                     40 long ones ("nab-..."), with two planted anomalies each

Two pages, because a state of which half is older than the other half is what a missing check would leave behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detectors.calibration import create
from detectors.model_file import save
from detectors.training import train_metric
from producers.datasets import open_dataset
from producers.datasets.base import Series
from producers.replay import Timeline

PARTITIONS = 4
SHORT, SHORT_POINTS = 640, 8
LONG, LONG_POINTS = 40, 200
MINUTE = 60_000
START = 1_420_070_400_000  # 2015-01-01T00:00:00Z
GARBAGE_EVERY = 97
PROBATION = 40
WINDOW = 12


@dataclass(frozen=True)
class Recording:
    """Keys and values in the order to send them."""

    keys: list[bytes]
    values: list[bytes]
    garbage: int

    def __len__(self) -> int:
        return len(self.values)


def record() -> Recording:
    """The log: every call gives the same."""
    rng = np.random.default_rng(5)
    sources = [s for s in open_dataset("nab").series().values() if s.values.std() > 0]
    series = [_short(i, sources) for i in range(SHORT)] + [_long(i, sources, rng) for i in range(LONG)]
    records = (timeline := Timeline(series)).encode(0, len(timeline))
    keys, values = [], []
    for at, (key, value) in enumerate(zip(records.keys, records.values, strict=True)):
        keys.append(key)
        values.append(value)
        if at % GARBAGE_EVERY == 0:
            keys.append(key)
            values.append(
                (b"", b"not json", b'{"series":"x"', value[:-1] + b',"value":"many"}')[at // GARBAGE_EVERY % 4]
            )
    return Recording(keys, values, len(values) - len(records))


LSTM = ("lstm", {"window": WINDOW, "hidden": 8, "training": {"epochs": 2}})
DENSE = ("autoencoder", {"window": WINDOW, "layers": (16, 8, 16), "training": {"epochs": 2}})
"""Its code of 8 is a layer whose products some kernels of MKL sum in another order for another place in memory."""


def train(file: Path, member: tuple[str, dict[str, object]] = LSTM) -> Path:
    """A small network and a z-score, trained on the first observations of some of the sources; writes the model file."""
    sources = list(open_dataset("nab").series("real*").values())[:6]
    trained = train_metric(
        {s.name: (s.timestamps[:600], s.values[:600]) for s in sources},
        [member, ("zscore", {"window": WINDOW})],
        create("gaussian-tail"),
        training_rows=lambda n: n,
    )
    save(trained, file)
    return file


def _short(number: int, sources: list[Series]) -> Series:
    """Starts within the first quarter, in turn; eight observations a minute apart."""
    first = START + number * (LONG_POINTS * 5 * MINUTE // 4) // SHORT
    source = sources[number % len(sources)]
    return Series(
        f"host-{number:03d}", first + MINUTE * np.arange(SHORT_POINTS), (source.values[:SHORT_POINTS, 0].copy(),)
    )


def _long(number: int, sources: list[Series], rng: np.random.Generator) -> Series:
    """Every five minutes, from the second quarter on, with a spike and a dip; now and then one comes late or twice."""
    source = sources[number % len(sources)]
    values = source.values[1000 : 1000 + LONG_POINTS, 0].copy()
    spread = max(float(values.std()), 1.0)
    for at, sign in ((rng.integers(60, 110), 1), (rng.integers(130, 190), -1)):
        values[at : at + 3] += sign * 30 * spread
    times = START + LONG_POINTS * 5 * MINUTE // 4 + 5 * MINUTE * np.arange(LONG_POINTS)
    again = rng.integers(20, LONG_POINTS - 1, 2)
    times[again] = times[again - 1]  # repeated
    return Series(f"nab-{number:02d}", times, (values,))
