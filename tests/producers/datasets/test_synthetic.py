from __future__ import annotations

import numpy as np
import pytest

from producers.datasets import open_dataset
from producers.datasets.synthetic import TWINS
from producers.errors import DataError

SHAPES = {"nab": (58, 365_558), "taxi": (1, 10_320), "kdd": (1, 64_293), "creditcard": (1, 19_562)}


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_the_shape_of_the_real_one_and_says_that_it_is_none(name: str) -> None:
    data = open_dataset(f"synthetic-{name}")
    assert (len(data.series()), len(data)) == SHAPES[name]
    assert data.synthetic
    assert "SYNTHETIC" in data.source
    assert all("synthetic" in series for series in data.series())


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_is_the_same_every_time_and_differs_with_the_seed(name: str) -> None:
    first, again, other = TWINS[name](), TWINS[name](), TWINS[name](1)
    for series in first.series():
        a, b = first.series()[series], again.series()[series]
        assert np.array_equal(a.timestamps, b.timestamps)
        assert all(np.array_equal(x, y) for x, y in zip(a.columns, b.columns, strict=True))
    some = next(s for s in first.series() if "flatline" not in s and "NoAnomaly" not in s)
    assert any(
        not np.array_equal(x, y)
        for x, y in zip(first.series()[some].columns, other.series()[some].columns, strict=True)
    )


@pytest.mark.parametrize("name", TWINS)
def test_a_twins_anomalies_are_labelled_and_none_lies_in_the_training_part(name: str) -> None:
    data = open_dataset(f"synthetic-{name}")
    labels = data.labels()
    assert sum(int(v.anomalous.sum()) for v in labels.values()) > 100
    for series, found in labels.items():
        train = min(0.15, 750 / len(data.series()[series])) if data.kind == "metric" else 0.30 if name == "kdd" else 0
        assert not found.anomalous[: int(train * len(found.anomalous))].any()


def test_planted_anomalies_stand_out() -> None:
    data = open_dataset("synthetic-taxi")
    [series], [labels] = data.series().values(), data.labels().values()
    week = 48 * 7
    values = series.values[:, 0]
    change = np.abs(values[week:] - values[:-week])
    inside = labels.anomalous[week:]
    assert np.quantile(change[inside], 0.95) > 3 * np.quantile(change[~inside], 0.95)
    assert len(labels.windows) == 5


def test_there_is_no_twin_of_everything() -> None:
    with pytest.raises(DataError, match="ctg has no synthetic twin"):
        open_dataset("synthetic-ctg")
