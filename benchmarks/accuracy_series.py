"""What is no table of rows: the most anomalous digit of MNIST, an LSTM on the taxi series, and NAB through the whole stream."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    seconds: float


def digits(seed: int, quick: bool) -> list[dict[str, Any]]:
    """MNIST: mean reconstruction error per digit when all train, and each digit against the nine that train."""
    _one_thread()
    train, test = open_digits()
    x, x_test = _images(train.images), _images(test.images)
    found = []
    for label, make in _digit_contenders(seed, quick).items():
        began = time.monotonic()
        detector = make()
        detector.fit(x)
        raw = detector.score(x_test).raw
        spent = time.monotonic() - began
        found += [
            DigitOutcome(label, d, seed, float(raw[test.digits == d].mean()), None, None, spent) for d in range(10)
        ]
        for held in range(1, 2) if quick else range(10):
            began = time.monotonic()
            detector = make()
            detector.fit(x[train.digits != held])
            scores = detector.score(x_test).raw
            y = (test.digits == held).astype(np.int8)
            roc, precision = ranking.roc_auc(y, scores), ranking.average_precision(y, scores)
            found.append(DigitOutcome(label, held, seed, None, roc, precision, time.monotonic() - began))
    return [asdict(o) for o in found]


def _digit_contenders(seed: int, quick: bool) -> dict[str, Any]:
    training = {"epochs": 5 if quick else 25, "trim": 0.0}
    # Grey values are 0..1: nothing to clip.
    network = {"channels": 784, "seed": seed, "layers": DIGIT_LAYERS, "activation": "relu", "training": training}
    found = {"autoencoder 784-100-50-100-784": lambda: registry.create("autoencoder", **network)}
    if not seed:
        found["PCA"] = lambda: registry.create("pca", channels=784, trim=0.0)
    return found


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
    seconds: float


def taxi(seed: int, quick: bool) -> list[dict[str, Any]]:
    """The taxi series: one-step forecasts, and which of the five events hold a residual above the threshold."""
    _one_thread()
    data = open_dataset("taxi")
    [series], [labels] = data.series().values(), data.labels().values()
    found = []
    for protocol in ("textbook", "honest"):
        for label, name, features in (
            ("LSTM", "lstm", ()),
            ("LSTM with time of day and week", "lstm", ("day", "week")),
            ("GRU", "gru", ()),
            ("TCN", "tcn", ()),
        ):
            if quick and label != "LSTM":
                continue
            began = time.monotonic()
            rest, expected, observed = _forecast(series, name, features, seed, protocol, quick)
            found.append(_judged(label, "network", protocol, seed, series, labels, rest, expected, observed, began))
        if not seed:
            for label, lag in (("the value before", 1), ("the value a week before", 7 * 48)):
                began = time.monotonic()
                values = series.values[:, 0]
                rows = np.arange(lag, len(values))
                rest = (rows, _calibration_rows(series, protocol, lag), _test_rows(series, protocol, lag))
                found.append(
                    _judged(
                        label, "yardstick", protocol, 0, series, labels, rest, values[rows - lag], values[rows], began
                    )
                )
    return [asdict(o) for o in found]


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
    return TaxiOutcome(label, group, protocol, seed, rmse, threshold, events, false, time.monotonic() - began)


NAB_DETECTORS = {"": "the product's default for metrics", "lstm": "LSTM alone", "zscore": "rolling z-score"}


def nab(detector: str) -> list[dict[str, Any]]:
    """NAB by the stream's own steps, as `tidewatch evaluate --data nab`: a model per series, fitted on its first rows."""
    from pipeline import evaluation

    _one_thread()
    results = list(evaluation.score_each(open_dataset("nab"), detector, lambda name: None))
    figures = evaluation.all_metric_figures(results)
    scores = {profile: score.score for profile, score in evaluation.nab_figures(results).items()}
    found = {"found": figures.found, "windows": figures.windows, "false_per_day": figures.false_per_day}
    return [
        {"detector": NAB_DETECTORS[detector], "group": "network" if detector != "zscore" else "yardstick"}
        | scores
        | found
    ]


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


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
