"""What is no table of rows: the most anomalous digit of MNIST, and one-step forecasts of the taxi series."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.cache import Outcomes
from detectors import registry
from detectors.base import Detector
from detectors.evaluation import delay, ranking
from detectors.windowing import covariates, windows
from producers.datasets import Labels, Series, open_dataset, open_digits

DIGIT_LAYERS = (100, 50, 100)  # between 784 and 784, the textbook's
WINDOW = 48
QUANTILE = 0.999
TRAIN_UNTIL = "2014-10-01"
CALIBRATION_SHARE = 0.3
JOIN = 48
"""Residuals above the threshold at most a day apart are one alarm."""


@dataclass(frozen=True)
class DigitOutcome:
    """How far one digit stands out: held out of the training, or (`error`) in the mean error when all are trained on."""

    contender: str
    digit: int
    seed: int
    error: float | None
    roc_auc: float | None
    average_precision: float | None
    cpu_s: float


DIGIT_CONTENDERS = {"autoencoder 784-100-50-100-784": "network", "PCA": "classical"}


def digits(seed: int, quick: bool, wanted: tuple[str, ...]) -> Iterator[tuple[str, Outcomes]]:
    """MNIST: mean reconstruction error per digit when all train, and each digit against the nine that train."""
    one_thread()
    train, test = open_digits()
    x, x_test = _images(train.images), _images(test.images)
    for label in wanted:
        began = time.process_time()
        detector = _digit_detector(label, seed, quick)
        detector.fit(x)
        raw = detector.score(x_test).raw
        spent = time.process_time() - began
        found = [
            DigitOutcome(label, d, seed, float(raw[test.digits == d].mean()), None, None, spent) for d in range(10)
        ]
        for held in range(1, 2) if quick else range(10):
            began = time.process_time()
            detector = _digit_detector(label, seed, quick)
            detector.fit(x[train.digits != held])
            scores = detector.score(x_test).raw
            y = (test.digits == held).astype(np.int8)
            roc, precision = ranking.roc_auc(y, scores), ranking.average_precision(y, scores)
            found.append(DigitOutcome(label, held, seed, None, roc, precision, time.process_time() - began))
        yield label, [asdict(o) for o in found]


def _digit_detector(label: str, seed: int, quick: bool) -> Detector:
    if DIGIT_CONTENDERS[label] == "classical":
        return registry.create("pca", channels=784, trim=0.0)
    # Grey values are 0..1: nothing to clip.
    training = {"epochs": 5 if quick else 25, "trim": 0.0}
    return registry.create(
        "autoencoder", channels=784, seed=seed, layers=DIGIT_LAYERS, activation="relu", training=training
    )


def _images(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return (images[:, None, :] / np.float32(255)).astype(np.float32)


@dataclass(frozen=True)
class TaxiOutcome:
    """One forecaster on the taxi series."""

    contender: str
    group: str
    protocol: str
    seed: int
    rmse: float
    """Of the tested rows, in the series' range (0 = its minimum, 1 = its maximum)."""
    threshold: float
    """The 0.999 quantile of the residuals, in the same unit."""
    events: list[str]
    false_alarms: int
    cpu_s: float


FORECASTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "LSTM": ("lstm", ()),
    "LSTM with time of day and week": ("lstm", ("day", "week")),
    "GRU": ("gru", ()),
    "TCN": ("tcn", ()),
}
BEFORE: Mapping[str, int] = {"the value before": 1, "the value a week before": 7 * 48}
"""Yardsticks: the value so many rows before is the forecast."""


def taxi(protocol: str, seed: int, quick: bool, wanted: tuple[str, ...]) -> Iterator[tuple[str, Outcomes]]:
    """The taxi series: one-step forecasts, and which of the five events hold a residual above the threshold."""
    one_thread()
    data = open_dataset("taxi")
    [series], [labels] = data.series().values(), data.labels().values()
    values = series.values[:, 0]
    for label in wanted:
        began = time.process_time()
        if label in FORECASTERS:
            name, features = FORECASTERS[label]
            group, (rows, expected, observed) = "network", _forecast(series, name, features, seed, protocol, quick)
        else:
            lag = BEFORE[label]
            last = np.arange(lag, len(values))
            rows = (last, _calibration_rows(series, protocol, lag), _test_rows(series, protocol, lag))
            group, expected, observed = "yardstick", values[last - lag], values[last]
        yield label, [asdict(_judged(label, group, protocol, seed, series, labels, rows, expected, observed, began))]


Rows = tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_]]
"""Rows that are forecast, which of them set the threshold, which are tested."""


def _forecast(
    series: Series, name: str, features: tuple[str, ...], seed: int, protocol: str, quick: bool
) -> tuple[Rows, NDArray[np.float64], NDArray[np.float64]]:
    values = series.values[:, 0]
    fitted = _fit_rows(series, protocol)
    centre, scale = values[fitted].mean(), values[fitted].std()
    known = covariates(series.timestamps, features)
    x = windows(((values - centre) / scale)[:, None], WINDOW, known)
    last = np.arange(WINDOW - 1, len(values))
    training = {"epochs": 4 if quick else 40, "trim": 0.0 if protocol == "textbook" else 0.05}
    detector: Detector = registry.create(name, window=WINDOW, covariates=known.shape[1], seed=seed, training=training)
    detector.fit(x[fitted[last]])
    expected = detector.score(x).expected
    assert expected is not None
    rows = (last, _calibration_rows(series, protocol, WINDOW - 1), _test_rows(series, protocol, WINDOW - 1))
    return rows, expected[:, 0].astype(np.float64) * scale + centre, values[last]


def _judged(
    label: str,
    group: str,
    protocol: str,
    seed: int,
    series: Series,
    labels: Labels,
    rows: Rows,
    expected: NDArray[np.float64],
    observed: NDArray[np.float64],
    began: float,
) -> TaxiOutcome:
    last, calibration, tested = rows
    span = float(np.ptp(series.values[:, 0]))
    residual = np.abs(observed - expected) / span
    threshold = float(np.quantile(residual[calibration], QUANTILE))
    flagged = (residual > threshold) & tested
    times = series.timestamps[last]
    events = [w.name for w in labels.windows if (flagged & (times >= w.first) & (times <= w.last)).any()]
    alarms = [(times[a], times[b]) for a, b in delay.episodes(flagged.astype(np.int8), join=JOIN)]
    false = sum(not any(a <= w.last and b >= w.first for w in labels.windows) for a, b in alarms)
    rmse = float(np.sqrt(np.mean(np.square(residual[tested]))))
    return TaxiOutcome(label, group, protocol, seed, rmse, threshold, events, false, time.process_time() - began)


def _fit_rows(series: Series, protocol: str) -> NDArray[np.bool_]:
    """(n,) rows whose windows train: all in the textbook's protocol, else the first 70 % up to October."""
    if protocol == "textbook":
        return np.ones(len(series), np.bool_)
    return np.arange(len(series)) < (1 - CALIBRATION_SHARE) * _before(series)


def _calibration_rows(series: Series, protocol: str, first: int) -> NDArray[np.bool_]:
    rows = np.arange(first, len(series))
    if protocol == "textbook":
        return np.ones(len(rows), np.bool_)
    return (rows >= (1 - CALIBRATION_SHARE) * _before(series)) & (rows < _before(series))


def _test_rows(series: Series, protocol: str, first: int) -> NDArray[np.bool_]:
    rows = np.arange(first, len(series))
    return np.ones(len(rows), np.bool_) if protocol == "textbook" else rows >= _before(series)


def _before(series: Series) -> int:
    limit = int(np.datetime64(TRAIN_UNTIL, "ms").astype(np.int64))
    return int(np.searchsorted(series.timestamps, limit))


def one_thread() -> None:
    """Two processes share two cores: one thread each."""
    import torch

    torch.set_num_threads(1)
