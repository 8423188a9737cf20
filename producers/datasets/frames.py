"""What people have in memory as a DataFrame that can be read as a file is: one index, told as a column where it says something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from producers.errors import DataError

EPOCH = 100_000_000
"""An index of whole numbers from here on counts no rows: seconds since 1970 reach it in 1973."""


def framed(data: Any) -> pd.DataFrame:
    """A DataFrame without an index that means anything, from one of pandas, a Series, or what turns itself into one (polars, Arrow).

    Spans of time become their beginning, durations seconds. Raises DataError where it is none of these, or two columns have one name.
    """
    if isinstance(data, pd.Series):
        data = data.to_frame("value" if data.name is None else data.name)
    elif hasattr(data, "to_pandas"):
        data = data.to_pandas()
    if not isinstance(data, pd.DataFrame):
        mend = (
            "open_file opens a file"
            if isinstance(data, str | Path)
            else "pandas.DataFrame(...) makes one, with a column for the times"
        )
        msg = f"a DataFrame or Series is opened, not {type(data).__name__}; {mend}"
        raise DataError(msg)
    frame = data.set_axis([_flat(name) for name in data.columns], axis=1)
    if twice := next((str(n) for n, again in zip(frame.columns, frame.columns.duplicated(), strict=True) if again), ""):
        msg = f"two columns are called {twice!r}; give each a name of its own"
        raise DataError(msg)
    frame = _with_index(frame)
    durations = [n for n in frame.columns if pd.api.types.is_timedelta64_dtype(frame[n])]
    dated = any(
        pd.api.types.is_datetime64_any_dtype(frame[n]) or isinstance(frame[n].dtype, pd.PeriodDtype)
        for n in frame.columns
    )
    names = {n: f"{n} (s)" for n in durations if f"{n} (s)" not in frame.columns}
    if len(durations) == 1 and not dated and "time (s)" not in frame.columns:  # what counts from a start is the time
        names = {durations[0]: "time (s)"}
    return pd.DataFrame({names.get(n, n): _plain(frame[n]) for n in frame.columns})


def _flat(name: Any) -> str:
    """A column's name, of several levels in one."""
    return " ".join(str(part) for part in name if str(part)) if isinstance(name, tuple) else str(name)


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """With the index as columns, but where it only numbers the rows."""
    index = frame.index
    if not (any(n is not None for n in index.names) or _says(index)):
        return frame.reset_index(drop=True)
    for level, name in enumerate(index.names):
        values = index.get_level_values(level)
        own = _usual_name(values, level, index.nlevels) if name is None else _flat(name)
        if own in frame.columns and list(frame[own]) == list(values):  # set_index(..., drop=False)
            continue
        while own in frame.columns:
            own = f"{own} of the index"
        frame.insert(level, own, values)
    return frame.reset_index(drop=True)


def _usual_name(values: pd.Index[Any], level: int, levels: int) -> str:
    epochs = levels == 1 and pd.api.types.is_integer_dtype(values.dtype)
    if epochs or isinstance(values, pd.DatetimeIndex | pd.PeriodIndex):
        return "timestamp"
    if isinstance(values, pd.TimedeltaIndex):
        return "time"
    return "index" if levels == 1 else f"level {level}"


def _says(index: pd.Index[Any]) -> bool:
    """Whether an index without a name is more than a numbering of rows."""
    if pd.api.types.is_integer_dtype(index.dtype):
        return len(index) > 0 and bool((index >= EPOCH).all()) and index.is_monotonic_increasing
    return True


def _plain(column: pd.Series[Any]) -> Any:
    """Beginnings of spans, seconds of durations, other columns as they are."""
    if isinstance(column.dtype, pd.PeriodDtype):
        return column.dt.to_timestamp()
    if isinstance(column.dtype, pd.IntervalDtype):
        return pd.IntervalIndex(column.array).left
    return column.dt.total_seconds() if pd.api.types.is_timedelta64_dtype(column) else column
