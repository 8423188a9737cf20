"""All detectors by name: the one place that a new one is added to."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from detectors.autoencoder import Autoencoder, DeepAutoencoder, DenoisingAutoencoder, SparseAutoencoder
from detectors.base import Detector, DetectorError
from detectors.baselines import Constant, Random, Range, SeasonalNaive, ZScore
from detectors.code_clusters import CodeClusters
from detectors.conv_autoencoder import ConvAutoencoder, DenoisingImageAutoencoder, ImageAutoencoder
from detectors.ed_tcn import EDTCN, EDTCNClassifier
from detectors.gru import GRU
from detectors.isolation_forest import IsolationForest
from detectors.kmeans import KMeans
from detectors.lstm import LSTM
from detectors.lstm_autoencoder import LSTMAutoencoder
from detectors.mahalanobis import Mahalanobis
from detectors.ocsvm import OneClassSVM
from detectors.pca import PCA
from detectors.rbm import RBM
from detectors.seasonal import Seasonal
from detectors.tcn import TCN
from detectors.tcn_classifier import TCNClassifier
from detectors.vae import VAE

DETECTORS: Mapping[str, type[Detector]] = {
    detector.name: detector
    for detector in (
        # Autoencoders.
        Autoencoder,
        SparseAutoencoder,
        DeepAutoencoder,
        DenoisingAutoencoder,
        ConvAutoencoder,
        ImageAutoencoder,
        DenoisingImageAutoencoder,
        VAE,
        LSTMAutoencoder,
        EDTCN,
        CodeClusters,
        # Forecasters.
        LSTM,
        GRU,
        TCN,
        # Energy.
        RBM,
        # Supervised.
        TCNClassifier,
        EDTCNClassifier,
        # Classical.
        IsolationForest,
        OneClassSVM,
        PCA,
        Mahalanobis,
        KMeans,
        # Yardsticks.
        Seasonal,
        SeasonalNaive,
        Range,
        ZScore,
        Random,
        Constant,
    )
}


def find(name: str) -> type[Detector]:
    """Return the detector's class.

    Raises
    ------
    DetectorError
        There is none of that name; the message lists those there are.
    """
    if name not in DETECTORS:
        meant = "".join(f"; did you mean {near}?" for near in get_close_matches(name, DETECTORS, 1))
        there = f"; there are: {', '.join(sorted(DETECTORS))}"
        msg = f"there is no detector {name!r}{meant or there}"
        raise DetectorError(msg)
    return DETECTORS[name]


def create(name: str, **settings: Any) -> Detector:
    """Build an unfitted detector from its name and settings.

    Raises
    ------
    DetectorError
        No such detector, no such setting, or a value that does not fit; the message names it.

    Examples
    --------
    >>> create("zscore", window=24).config.window
    24
    """
    detector = find(name)
    try:
        config = detector.Config(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        msg = f"{name}: setting {where}: {first['msg']}; it has: {', '.join(detector.Config.model_fields)}"
        raise DetectorError(msg) from error
    return detector(config)
