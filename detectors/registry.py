"""All detectors by name: the one place that a new one is added to.

A detector's module is brought when the detector is first asked for: a z-score needs no torch, which takes seconds and 400 MB.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from detectors.base import Detector, DetectorError

_HOME = {
    # Autoencoders.
    "autoencoder": "autoencoder.Autoencoder",
    "sparse-autoencoder": "autoencoder.SparseAutoencoder",
    "deep-autoencoder": "autoencoder.DeepAutoencoder",
    "denoising-autoencoder": "autoencoder.DenoisingAutoencoder",
    "conv-autoencoder": "conv_autoencoder.ConvAutoencoder",
    "image-autoencoder": "conv_autoencoder.ImageAutoencoder",
    "denoising-image-autoencoder": "conv_autoencoder.DenoisingImageAutoencoder",
    "vae": "vae.VAE",
    "lstm-autoencoder": "lstm_autoencoder.LSTMAutoencoder",
    "ed-tcn": "ed_tcn.EDTCN",
    "code-clusters": "code_clusters.CodeClusters",
    # Forecasters.
    "lstm": "lstm.LSTM",
    "gru": "gru.GRU",
    "tcn": "tcn.TCN",
    # Energy.
    "rbm": "rbm.RBM",
    # Supervised.
    "tcn-classifier": "tcn_classifier.TCNClassifier",
    "ed-tcn-classifier": "ed_tcn.EDTCNClassifier",
    # Classical.
    "isolation-forest": "isolation_forest.IsolationForest",
    "ocsvm": "ocsvm.OneClassSVM",
    "pca": "pca.PCA",
    "mahalanobis": "mahalanobis.Mahalanobis",
    "kmeans": "kmeans.KMeans",
    # Yardsticks.
    "seasonal": "seasonal.Seasonal",
    "seasonal-naive": "baselines.SeasonalNaive",
    "range": "baselines.Range",
    "zscore": "baselines.ZScore",
    "random": "baselines.Random",
    "constant": "baselines.Constant",
}
"""Name -> module and class of `detectors`."""


class _Detectors(Mapping[str, type[Detector]]):
    """Name -> class, in the order of `_HOME`."""

    def __getitem__(self, name: str) -> type[Detector]:
        module, kind = _HOME[name].split(".")
        found: type[Detector] = getattr(importlib.import_module(f"detectors.{module}"), kind)
        return found

    def __contains__(self, name: object) -> bool:
        return name in _HOME

    def __iter__(self) -> Iterator[str]:
        return iter(_HOME)

    def __len__(self) -> int:
        return len(_HOME)


DETECTORS: Mapping[str, type[Detector]] = _Detectors()


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
