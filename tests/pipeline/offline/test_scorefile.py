"""What `tidewatch score` holds and writes: parts that fit, whatever the length and the width of a file."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.offline import run, scorefile
from pipeline.offline.scorefile import ScoredRows, score_dataset, write
from producers.cells import plain_cell
from producers.datasets import Dataset, Series


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
    monkeypatch.setattr(scorefile, "WRITTEN", 7)
    write(scored, tmp_path / "s.csv")
    write(scored, tmp_path / "s.parquet")
    whole = scored.frame()
    assert whole["anomalous"].any()
    assert pd.read_parquet(tmp_path / "s.parquet").equals(whole)
    whole.assign(series=[plain_cell(name) for name in scored.series]).to_csv(tmp_path / "whole.csv", index=False)
    assert pd.read_csv(tmp_path / "s.csv").equals(pd.read_csv(tmp_path / "whole.csv"))
    assert whole["timestamp"][0] == "2017-07-14T02:40:00.123Z"


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
    observations, _ = scorefile.observations_of(data, model)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    cells = 4_000 * 200 * 8
    assert held < 1.5 * cells  # the encoded numbers; the rows themselves are made when they are asked for
    assert peak < 4 * cells
    assert observations.originals is not None
    assert list(observations.originals[1]) == [c[1] for c in data.all_series["t"].columns]
