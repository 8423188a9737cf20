"""The real data sets: counts that their READMEs state, and the quirks that a reader must not smooth away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from producers.datasets import Dataset, creditcard, ctg, kdd, mnist, nab, taxi
from producers.errors import DataError


@pytest.fixture(scope="module")
def nab_data(data_dir: Path) -> Dataset:
    return nab.load(data_dir / "nab")


@pytest.fixture(scope="module")
def http(data_dir: Path) -> Dataset:
    return kdd.load(data_dir / "kdd")


def test_nab_has_58_series_365558_rows_and_116_windows(nab_data: Dataset) -> None:
    assert len(nab_data.series()) == 58
    assert len(nab_data) == 365_558
    windows = [w for labels in nab_data.labels().values() for w in labels.windows]
    assert len(windows) == 116
    assert sum(1 for labels in nab_data.labels().values() if not labels.windows) == 6


def test_every_window_holds_observations_of_its_series(nab_data: Dataset) -> None:
    for name, labels in nab_data.labels().items():
        times = nab_data.series()[name].timestamps
        for w in labels.windows:
            assert ((times >= w.first) & (times <= w.last)).any()


def test_nab_repeats_time_stamps_and_steps_back_once(nab_data: Dataset) -> None:
    steps = {name: np.diff(s.timestamps) for name, s in nab_data.series().items()}
    assert sum(1 for s in nab_data.series().values() if len(np.unique(s.timestamps)) < len(s)) == 8
    back = {name: int((s < 0).sum()) for name, s in steps.items() if (s < 0).any()}
    assert back == {"realKnownCause/machine_temperature_system_failure": 1}


def test_globs_choose_series(nab_data: Dataset) -> None:
    assert len(nab_data.series("realAWSCloudwatch/*")) == 17
    assert len(nab_data.series("realKnownCause/*", "realTraffic/*")) == 14
    rest = nab_data.select("realKnownCause/*", without=["*/nyc_taxi"])
    assert len(rest.series()) == len(rest.labels()) == 6
    with pytest.raises(DataError, match="no series of nab matches mars"):
        nab_data.series("mars")


def test_the_taxi_series_has_five_named_events(data_dir: Path) -> None:
    data = taxi.load(data_dir / "nab")
    [series] = data.series().values()
    assert (len(series), series.interval_ms) == (10_320, 1_800_000)
    windows = data.labels()["nyc_taxi"].windows
    assert [w.name for w in windows] == ["marathon", "Thanksgiving", "Christmas", "New Year", "blizzard"]


def test_kdd_http_has_the_counts_of_its_readme(http: Dataset) -> None:
    assert list(http.series()) == ["http"]
    labels = http.labels()["http"]
    kinds, counts = np.unique(labels.categories[labels.anomalous].astype(str), return_counts=True)
    assert dict(zip(kinds.tolist(), counts.tolist(), strict=True)) == {
        "back": 2203, "neptune": 192, "phf": 4, "portsweep": 3, "ipsweep": 3, "satan": 2,
    }  # fmt: skip
    assert len(labels.anomalous) == 64_293
    assert int(np.argmax(labels.anomalous)) == 20_170  # 31 % of the rows come before the first attack


def test_kdd_episodes_are_the_runs_of_each_attack(http: Dataset) -> None:
    labels = http.labels()["http"]
    back = [w for w in labels.windows if w.name == "back"]
    covered = [round((w.last - w.first) / 100) + 1 for w in back]  # ten connections a second
    assert sum(covered) >= 2203
    assert len(labels.windows) == 21


def test_no_label_is_among_kdds_features(http: Dataset) -> None:
    assert len(http.channels) == 41
    [row] = http.series()["http"].rows(0, 1)
    assert row[:6] == [0.0, "tcp", "http", "SF", 181.0, 5450.0]
    assert len(row) == 41
    assert not any("normal" in str(cell) for cell in row)


def test_kdd_arrives_at_the_stated_rate(data_dir: Path) -> None:
    series = kdd.load(data_dir / "kdd", part="corrected", rate=50.0).series()["http"]
    assert len(series) == 41_237
    assert set(np.diff(series.timestamps).tolist()) == {20}


@pytest.mark.slow
def test_all_services_together_are_the_file(data_dir: Path) -> None:
    data = kdd.load(data_dir / "kdd", part="corrected", subset="all")
    positions = np.sort(np.concatenate([s.positions for s in data.series().values()]))
    assert np.array_equal(positions, np.arange(311_029))
    assert sum(int(v.anomalous.sum()) for v in data.labels().values()) == 250_436


def test_the_cards_hold_all_492_frauds_in_order_of_time(data_dir: Path) -> None:
    data = creditcard.load(data_dir / "creditcard")
    [series] = data.series().values()
    assert series.values.shape == (19_562, 29)
    assert (np.diff(series.timestamps) >= 0).all()
    assert int(data.labels()["cards"].anomalous.sum()) == 492


def test_suspect_recordings_are_left_out_of_ctg(data_dir: Path) -> None:
    data = ctg.load(data_dir / "ctg")
    [series] = data.series().values()
    assert series.values.shape == (1655 + 176, 21)
    assert not {"CLASS", "NSP"} & set(data.channels)
    assert int(data.labels()["ctg"].anomalous.sum()) == 176


def test_mnist_has_its_digits(data_dir: Path) -> None:
    train, test = mnist.load(data_dir / "mnist")
    assert train.images.shape == (60_000, 784)
    assert test.digits[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.parametrize("load", [nab.load, taxi.load, kdd.load, creditcard.load, ctg.load, mnist.load])
def test_a_folder_without_the_files_is_a_data_error(load: object, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        load(tmp_path)  # type: ignore[operator]


def test_mnist_as_a_data_set_learns_from_nine_digits_and_finds_the_tenth(data_dir: Path) -> None:
    data = mnist.load_without(data_dir / "mnist", 0)
    [series], [labels] = data.series().values(), data.labels().values()
    assert (data.kind, len(data.channels), len(series)) == ("table", 784, 20_000)
    assert not labels.anomalous[:10_000].any()
    assert int(labels.anomalous.sum()) == 980
    assert labels.categories is not None
    assert set(labels.categories[labels.anomalous]) == {"0"}
    assert max(float(c.max()) for c in series.columns) == 1.0
