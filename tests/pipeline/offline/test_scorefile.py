"""What `tidewatch score` holds and writes: parts that fit, whatever the length and the width of a file."""

from __future__ import annotations

import mmap
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.offline import run
from pipeline.offline.scorefile import score_dataset
from pipeline.offline.scoring import room, writing
from pipeline.offline.scoring.recorded import recorded
from pipeline.offline.scoring.rows import ScoredRows
from pipeline.offline.scoring.writing import write
from producers.cells import plain_cell
from producers.datasets import Dataset, Series
from producers.errors import DataError


def metric(*names: str) -> Dataset:
    series = {}
    for k, name in enumerate(names):
        values = np.random.default_rng(k).normal(size=200)
        values[150] += 40
        times = 1_500_000_000_123 + np.arange(200) * 60_000
        series[name] = Series(name, times, (values,), 60_000, np.arange(200) * len(names) + k)
    return Dataset("d", "metric", ("v",), "here", series)


def table(n: int, columns: int) -> Dataset:
    values = np.random.default_rng(0).normal(size=(columns, n))
    names = tuple(f"c{k}" for k in range(columns))
    return Dataset("t", "table", names, "here", {"t": Series("t", np.arange(n) * 1000, tuple(values))})


@pytest.fixture(scope="module")
def scored() -> ScoredRows:
    return score_dataset(metric("a", "b"), detector="zscore")


@pytest.mark.parametrize("names", [("a", "b"), ("=1+1", 'b, "q"\nr')])
def test_a_file_written_in_parts_is_the_one_that_pandas_writes_at_once(
    scored: ScoredRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str]
) -> None:
    scored = replace(scored, series=[*names] * 200)
    monkeypatch.setattr(writing, "WRITTEN", 7)
    write(scored, tmp_path / "s.csv")
    write(scored, tmp_path / "s.parquet")
    whole = scored.frame()
    assert whole["anomalous"].any()
    assert pd.read_parquet(tmp_path / "s.parquet").equals(whole)
    whole.assign(series=[plain_cell(name) for name in scored.series]).to_csv(tmp_path / "whole.csv", index=False)
    assert pd.read_csv(tmp_path / "s.csv").equals(pd.read_csv(tmp_path / "whole.csv"))
    assert whole["timestamp"][0] == "2017-07-14T02:40:00.123Z"


def gappy() -> Dataset:
    """Two series that stand mixed, one of them newest first, with a number missing here and there."""
    data = metric("a", "b")
    a, b = data.all_series.values()
    values = np.where(np.arange(200) % 23 == 5, np.nan, a.columns[0])
    return replace(
        data, all_series={"a": replace(a, columns=(values,)), "b": replace(b, timestamps=b.timestamps[::-1])}
    )


@pytest.mark.parametrize(
    ("data", "detector"), [(metric("a"), "zscore"), (gappy(), "zscore"), (gappy(), "range+zscore")]
)
def test_columns_in_files_say_what_columns_in_memory_do(
    data: Dataset, detector: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = score_dataset(data, detector=detector)
    write(held, tmp_path / "held.csv")
    monkeypatch.setattr(room, "SPILLED", 1)
    monkeypatch.setattr(room, "PART", 7)
    spilled = score_dataset(data, detector=detector, model=held.model)
    assert isinstance(spilled.calibrated_score.base, mmap.mmap)
    write(spilled, tmp_path / "spilled.csv")
    assert (tmp_path / "held.csv").read_bytes() == (tmp_path / "spilled.csv").read_bytes()
    assert held.alerts == spilled.alerts > 0
    assert [bool(i) for i in held.alert_ids] == [bool(i) for i in spilled.alert_ids]


def test_a_disk_without_room_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room, "SPILLED", 1)
    monkeypatch.setattr("os.posix_fallocate", full)
    found = room.column((3, 2), np.float64, np.nan)
    assert not isinstance(found.base, mmap.mmap)
    assert np.isnan(found).all()


def test_times_beyond_what_arrow_writes_are_written(scored: ScoredRows) -> None:
    far = scored.timestamps.copy()
    far[0] = 1_000_000_000_000_000
    assert replace(scored, timestamps=far).frame()["timestamp"].tolist()[:2] == [
        "33658-09-27T01:46:40.000Z",
        "2017-07-14T02:40:00.123Z",
    ]


def test_wide_rows_go_in_smaller_batches_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = table(300, 20)
    whole = score_dataset(data, detector="mahalanobis")
    monkeypatch.setattr(run, "CELLS", 7 * 20)
    done: list[int] = []
    cut = score_dataset(data, detector="mahalanobis", model=whole.model, on_scored=lambda rows, _: done.append(rows))
    assert done[:3] == [7, 14, 21]
    np.testing.assert_array_equal(whole.score, cut.score)
    np.testing.assert_array_equal(whole.calibrated_score, cut.calibrated_score)
    assert list(whole.records) == list(cut.records)


def test_a_table_is_not_held_as_python_s_numbers() -> None:
    """They take 32 bytes each, and gigabytes of 20,000 rows of 784 columns."""
    data = table(4_000, 200)
    model = score_dataset(table(200, 200), detector="mahalanobis").model
    tracemalloc.start()
    observations = recorded(data, model)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    cells = 4_000 * 200 * 8
    assert held < 1.5 * cells  # the encoded numbers; the rows themselves are made when they are asked for
    assert peak < 4 * cells
    assert observations.originals is not None
    assert list(observations.originals[1]) == [c[1] for c in data.all_series["t"].columns]


def test_a_short_file_in_which_nothing_moves_but_one_row_has_one_alert() -> None:
    values = np.full(40, 5.0)
    values[30] = 80.0
    times = 1_767_225_600_000 + np.arange(40) * 3_600_000
    told = score_dataset(Dataset("still", "metric", ("v",), "here", {"a": Series("a", times, (values,))}))
    assert np.flatnonzero(told.anomalous).tolist() == [30]


def test_a_file_in_which_hardly_anything_moves_says_so_and_not_that_rows_are_missing() -> None:
    values = np.full(40, 5.0)
    values[10] = 80.0
    times = 1_767_225_600_000 + np.arange(40) * 3_600_000
    still = Dataset("still", "metric", ("v",), "here", {"a": Series("a", times, (values,))})
    with pytest.raises(
        DataError, match=r"^still: no row could be scored: hardly anything moves in it, .* 4 of its rows"
    ):
        score_dataset(still)
