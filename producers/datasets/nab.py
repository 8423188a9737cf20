"""NAB, the Numenta Anomaly Benchmark: 58 metrics in seven folders, 116 labelled windows.

Lavin and Ahmad, "Evaluating Real-Time Anomaly Detection Algorithms - the Numenta Anomaly Benchmark", ICMLA 2015;
https://github.com/numenta/NAB, MIT licence. Its time stamps have no time zone; they are taken as UTC. They are not clean:
there are gaps, eight files repeat some, one steps back. They are handed on as they are: the stream's time policy is
what must cope with them.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from producers.datasets.base import Dataset, Labels, Series, Window, inside, usual_step
from producers.errors import DataError

SOURCE = "Numenta Anomaly Benchmark 1.1 (github.com/numenta/NAB, MIT)"


def load(folder: Path) -> Dataset:
    """All 58 series of a folder laid out as NAB's own; a series is named `realKnownCause/nyc_taxi`."""
    windows = read_windows(folder / "labels" / "combined_windows.json")
    files = sorted((folder / "data").glob("*/*.csv"))
    series = {name: read_series(path, name) for path in files if (name := f"{path.parent.name}/{path.stem}")}
    labels = {n: Labels(windows[n], inside(s.timestamps, windows[n])) for n, s in series.items()}
    return Dataset("nab", "metric", ("value",), SOURCE, series, labels)


def read_series(path: Path, name: str) -> Series:
    """One file: `timestamp` (YYYY-MM-DD HH:MM:SS) and `value`."""
    try:
        table = pacsv.read_csv(path)
        timestamps = table["timestamp"].to_numpy().astype("datetime64[ms]").astype(np.int64)
        values: NDArray[np.float64] = table["value"].to_numpy().astype(np.float64)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        msg = f"{path}: not a NAB file with the columns timestamp and value ({error})"
        raise DataError(msg) from error
    return Series(name, timestamps, (values,), usual_step(timestamps))


def read_windows(path: Path) -> dict[str, tuple[Window, ...]]:
    """Labelled windows by series."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, list[tuple[str, str]]])
    except (OSError, msgspec.DecodeError) as error:
        msg = f"{path}: not NAB's combined_windows.json ({error})"
        raise DataError(msg) from error
    return {
        file.removesuffix(".csv"): tuple(Window(_milliseconds(a), _milliseconds(b)) for a, b in pairs)
        for file, pairs in found.items()
    }


def _milliseconds(text: str) -> int:
    return int(np.datetime64(text.replace(" ", "T"), "ms").astype(np.int64))
