"""Passengers of New York's taxis, every half hour from July 2014 to January 2015, with five events that people know.

The series is NAB's `realKnownCause/nyc_taxi.csv` (Taxi and Limousine Commission); a window of NAB's labels that
holds an event's moment gets its name.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from producers.datasets import nab
from producers.datasets.base import Dataset, Labels, Series, Window, inside

SOURCE = "New York taxi passengers, July 2014 to January 2015 (NAB's realKnownCause/nyc_taxi.csv, MIT)"

EVENTS = (
    ("marathon", "2014-11-02T09:00"),
    ("Thanksgiving", "2014-11-27T12:00"),
    ("Christmas", "2014-12-25T12:00"),
    ("New Year", "2015-01-01T00:00"),
    ("blizzard", "2015-01-27T00:00"),
)
"""Name and moment (local time, as the file's) of the events behind the five windows."""


def load(folder: Path) -> Dataset:
    """The one series `nyc_taxi` from a folder laid out as NAB's."""
    series = nab.read_series(folder / "data" / "realKnownCause" / "nyc_taxi.csv", "nyc_taxi")
    windows = nab.read_windows(folder / "labels" / "combined_windows.json")["realKnownCause/nyc_taxi"]
    return dataset(series, tuple(_named(w) for w in windows))


def dataset(series: Series, windows: tuple[Window, ...]) -> Dataset:
    """A taxi data set of this series."""
    labels = Labels(windows, inside(series.timestamps, windows))
    return Dataset("taxi", "metric", ("value",), SOURCE, {series.name: series}, {series.name: labels})


def _named(window: Window) -> Window:
    for name, moment in EVENTS:
        if window.first <= int(np.datetime64(moment, "ms").astype(np.int64)) <= window.last:
            return replace(window, name=name)
    return window
