"""Alerts as people read them: what, when, how much, why; right for planted anomalies of known place and size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.offline import alert_list
from pipeline.offline.scorefile import score_dataset
from producers.cells import read_cell
from producers.datasets import Dataset, Series

START, STEP = 1_767_225_600_000, 300_000
NAME = "=HYPERLINK(1)"


def planted(channels: int = 1) -> Dataset:
    rng = np.random.default_rng(0)
    columns = [50 + rng.normal(size=2_000) for _ in range(channels)]
    columns[-1][1_500:1_510] += 40
    times = START + np.arange(2_000) * STEP
    names = tuple(f"c{k}" for k in range(channels))
    return Dataset("d", "metric", names, "here", {NAME: Series(NAME, times, tuple(columns))})


def found(data: Dataset, detector: str = "zscore") -> list[alert_list.AlertRow]:
    return alert_list.alert_rows(data, score_dataset(data, detector=detector))


def test_a_planted_outage_is_told_with_place_size_and_reason() -> None:
    data = planted()
    [alert] = [a for a in found(data) if a.first_row <= 1_501 <= a.last_row]
    assert (alert.first_row, alert.series, alert.channel) == (1_501, NAME, "c0")
    assert alert.starts_at == "2026-01-06T05:00:00.000Z"
    assert alert.observed == data.all_series[NAME].columns[0][1_500:1_510].max() or alert.observed > 85
    assert alert.expected == pytest.approx(50, abs=3)
    assert f"c0 was {alert.observed:.5g} where" in alert.why
    assert alert.severity == "critical"


def test_the_channel_that_is_off_is_the_reason() -> None:
    [alert, *_] = [a for a in found(planted(3), "pca") if a.first_row <= 1_505 <= a.last_row]
    assert alert.channel == "c2"
    assert alert.why.startswith("c2 was ")


def test_rows_of_a_table_are_named_by_their_columns() -> None:
    rng = np.random.default_rng(0)
    columns = [rng.normal(size=2_000) for _ in range(4)]
    columns[2][1_500] = 40.0
    data = Dataset("t", "table", tuple("abcd"), "here", {"t": Series("t", np.arange(2_000) * 1_000, tuple(columns))})
    [alert] = [a for a in found(data, "") if a.first_row <= 1_501 <= a.last_row]
    assert (alert.first_row, alert.starts_at, alert.channel) == (1_501, "", "c")
    assert alert.why.startswith("c is 40 ")


@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
def test_the_list_is_written_and_no_cell_of_it_is_a_formula(tmp_path: Path, ending: str) -> None:
    alerts, out = found(planted()), tmp_path / f"alerts.{ending}"
    alert_list.write(alerts, out)
    if ending == "json":
        assert json.loads(out.read_text())[0]["series"] == NAME
    elif ending == "parquet":
        assert pd.read_parquet(out)["series"].tolist() == [a.series for a in alerts]
    else:
        cells = pd.read_csv(out)
        assert [read_cell(c) for c in cells["series"]] == [a.series for a in alerts]
        assert not cells["series"].str.startswith("=").any()


def test_no_alerts_are_an_empty_list_with_its_columns(tmp_path: Path) -> None:
    alert_list.write([], tmp_path / "none.csv")
    assert list(pd.read_csv(tmp_path / "none.csv")) == list(alert_list.AlertRow.__dataclass_fields__)


def test_many_alerts_are_told_by_their_scores() -> None:
    alerts = found(planted())
    said = list(alert_list.lines(alerts, 1))
    assert len(said) == (2 if len(alerts) > 1 else 1)
    assert "critical" in said[0]
