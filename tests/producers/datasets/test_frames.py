"""What is in memory as a DataFrame: its index, its types, its names are told as those of a file; nothing is dropped in silence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from producers.datasets import Dataset, Layout, Series, open_frame
from producers.errors import DataError

N = 300
TIMES = pd.date_range("2026-03-01", periods=N, freq="5min")
MS = TIMES.as_unit("ms").astype("int64").tolist()
LOAD = np.round(40 + np.sin(np.arange(N) / 9), 3)
ENDS = pd.IntervalIndex.from_breaks(pd.date_range("2026-03-01", periods=N + 1, freq="5min"))


@pytest.mark.parametrize(
    "frame",
    [
        pd.Series(LOAD, TIMES),
        pd.Series(LOAD, TIMES, name="value"),
        pd.DataFrame({"value": LOAD}, TIMES),
        pd.DataFrame({"value": LOAD}, TIMES.tz_localize("UTC").tz_convert("Europe/Berlin")),
        pd.DataFrame({"value": LOAD}, TIMES.to_period("5min")),
        pd.DataFrame({"value": LOAD}, ENDS),
        pd.DataFrame({"value": LOAD}, TIMES.astype(str)),
        pd.DataFrame({"value": LOAD}, TIMES.as_unit("s").astype("int64")),
        pd.DataFrame({"value": LOAD, "time": TIMES}).set_index("time", drop=False),
        pd.DataFrame({"when": TIMES.to_period("5min"), "value": pd.array(LOAD, dtype="Float64")}),
        pd.DataFrame({("value", ""): LOAD}, TIMES),
        pa.table({"time": TIMES.to_numpy(), "value": LOAD}),
    ],
)
def test_times_of_an_index_are_times(frame: Any) -> None:
    data = open_frame(frame, name="host")
    assert (data.kind, data.channels) == ("metric", ("value",)), data.reading
    [series] = data.series().values()
    assert series.timestamps.tolist() == MS
    assert series.values[:, 0].tolist() == LOAD.tolist()


def test_durations_count_from_a_start() -> None:
    for frame in (
        pd.DataFrame({"value": LOAD}, TIMES - TIMES[0]),
        pd.DataFrame({"elapsed": TIMES - TIMES[0], "value": LOAD}),
    ):
        [series] = open_frame(frame).series().values()
        assert (series.timestamps - series.timestamps[0]).tolist() == [m - MS[0] for m in MS]
    data = open_frame(pd.DataFrame({"took": TIMES - TIMES[0], "value": LOAD}, TIMES))
    assert (data.kind, data.channels) == ("metric", ("took (s)", "value"))


def test_levels_of_an_index_without_names_are_columns() -> None:
    index = pd.MultiIndex.from_product([["a", "b"], TIMES])
    data = open_frame(pd.DataFrame({"value": np.r_[LOAD, LOAD + 1]}, index))
    assert sorted(data.series()) == ["a", "b"]
    assert data.series()["b"].values[:, 0].tolist() == (LOAD + 1).tolist()


def test_an_index_that_numbers_rows_is_none() -> None:
    kept = pd.DataFrame({"time": TIMES, "value": LOAD})[::3]
    assert open_frame(kept).channels == ("value",)
    assert open_frame(pd.Series(LOAD)).kind == "table"


def test_what_is_no_frame_or_has_a_name_twice_is_refused_in_a_line() -> None:
    for thing in (LOAD, {"time": TIMES, "value": LOAD}, [1, 2, 3], "load.csv"):
        with pytest.raises(
            DataError, match=f"^frame: a DataFrame or Series is opened, not {type(thing).__name__}; (pandas|open_file)"
        ):
            open_frame(thing)
    with pytest.raises(DataError, match=r"^frame: two columns are called 'a'"):
        open_frame(pd.DataFrame(np.c_[LOAD, LOAD], TIMES, ["a", "a"]))


def test_infinite_numbers_are_told() -> None:
    data = open_frame(pd.DataFrame({"value": np.where(np.arange(N) == 7, np.inf, LOAD)}, TIMES))
    assert "note: 1 number is infinite, 1 in value: as if missing, none is judged" in data.reading


def test_a_data_set_made_by_hand_takes_times_of_numpy_and_says_what_does_not_fit() -> None:
    assert Series("a", TIMES.to_numpy(), (LOAD,)).timestamps.tolist() == MS
    with pytest.raises(DataError, match="series a: its times are float64; give datetime64"):
        Series("a", np.arange(N) / 2, (LOAD,))
    with pytest.raises(DataError, match="series a has 1 columns, but there are 2 channels: x, y"):
        Dataset("mine", "metric", ("x", "y"), "made here", {"a": Series("a", TIMES.to_numpy(), (LOAD,))})


def test_one_column_may_be_named_alone() -> None:
    frame = pd.DataFrame({"load": LOAD, "more": LOAD}, TIMES)
    given: Any
    for given in ("load", ["load"], ("load",)):
        assert open_frame(frame, Layout(value_columns=given)).channels == ("load",)
