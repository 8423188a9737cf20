"""Who takes part in the experiments on tables, fitted on what and how set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Columns = Literal["encoded", "clipped", "clipped at 25", "unit variance", "wide", "raw"]
"""`encoded` as the product does it (`detectors.features`); clipped to 3 or 25 scaled units by the same encoder; brought to mean 0
and variance 1 over the fitted rows; `wide`, clipped to 6 and brought to variance 2.25; or as they stand in the file, categories as
their place in the alphabet, which is what the textbook does."""


@dataclass(frozen=True)
class Contender:
    """A detector as it takes part.

    `fits_on`: `normal` rows of the training part, `all` of them without labels, or `labels` (supervised). `only`: the
    experiments it is in.
    """

    label: str
    detector: str
    group: str
    fits_on: str = "normal"
    settings: dict[str, Any] = field(default_factory=dict)
    columns: Columns = "encoded"
    only: frozenset[str] = frozenset()
    quick: bool = False

    def takes_part(self, experiment: str) -> bool:
        """Whether it is in an experiment."""
        return not self.only or experiment in self.only

    @property
    def seedless(self) -> bool:
        """Whether its scores are the same for every seed."""
        return self.detector in {"range", "random", "pca", "mahalanobis"}


# One set of settings for all tables. Networks fit on normal rows only, so there is nothing to trim, and clipping what they are
# shown would hide what is judged; hidden sizes are the textbook's where it gives them. `default` is the registry's own.
_OPEN = {"activation": "relu", "limit": 1e6, "training": {"trim": 0.0}}
_UNCUT = {"limit": 1e6, "training": {"trim": 0.0}}
_MACHINE = {"limit": 1e6, "training": {"trim": 0.0, "weight_decay": 0.01}}
_LABELLED = frozenset({"creditcard", "ctg", "make_classification"})
# These take minutes for the 311,029 test rows of all services, or for 100,000.
_SMALL = frozenset({"creditcard", "ctg"})
_CARDS = frozenset({"creditcard"})
_HTTP = frozenset({"kdd-http"})
CONTENDERS = (
    Contender(
        "autoencoder, simple (n-12-n)", "autoencoder", "network", settings={"layers": (12,), **_OPEN}, quick=True
    ),
    Contender("autoencoder, default", "autoencoder", "network", quick=True),
    Contender("autoencoder, sparse", "sparse-autoencoder", "network", settings=_OPEN),
    Contender("autoencoder, deep", "deep-autoencoder", "network", settings=_OPEN),
    Contender("autoencoder, denoising", "denoising-autoencoder", "network", settings=_OPEN),
    Contender("VAE", "vae", "network", settings=_UNCUT),
    Contender(
        "ED-TCN", "ed-tcn", "network", settings={"window": 1, "limit": 1e6, "training": {"trim": 0.0}}, only=_CARDS
    ),
    Contender("RBM", "rbm", "network", settings=_MACHINE, quick=True),
    # Gaussian visible units have unit variance; the textbook's scaler gives its rows the same.
    Contender("RBM, unit variance", "rbm", "network", settings=_MACHINE, columns="unit variance"),
    # Gaussian visible units have variance 1 when the hidden ones are given: the columns must have more for these to explain.
    Contender(
        "RBM, 128 hidden units",
        "rbm",
        "network",
        settings=_MACHINE | {"hidden": 128},
        columns="wide",
        only=_HTTP | _LABELLED,
    ),
    Contender("RBM, clipped", "rbm", "network", settings=_MACHINE, columns="clipped"),
    Contender("autoencoder, clipped", "autoencoder", "network", settings=_UNCUT, columns="clipped"),
    Contender("VAE, clipped", "vae", "network", settings=_UNCUT, columns="clipped"),
    Contender("RBM, clipped at 25", "rbm", "network", settings=_MACHINE, columns="clipped at 25"),
    Contender("VAE, clipped at 25", "vae", "network", settings=_UNCUT, columns="clipped at 25"),
    Contender("TCN classifier", "tcn-classifier", "network", "labels", only=_LABELLED),
    Contender("ED-TCN classifier", "ed-tcn-classifier", "network", "labels", only=_LABELLED),
    Contender("isolation forest", "isolation-forest", "classical", "all", quick=True),
    Contender("isolation forest, normal rows", "isolation-forest", "classical"),
    Contender("isolation forest, raw columns", "isolation-forest", "classical", "all", columns="raw", only=_HTTP),
    Contender("one-class SVM", "ocsvm", "classical", settings={"nu": 0.01}, quick=True),
    Contender("one-class SVM, unit variance", "ocsvm", "classical", settings={"nu": 0.01}, columns="unit variance"),
    Contender("one-class SVM, raw columns", "ocsvm", "classical", settings={"nu": 0.01}, columns="raw", only=_HTTP),
    Contender("PCA", "pca", "classical", settings={"trim": 0.0}, quick=True),
    Contender("Mahalanobis distance", "mahalanobis", "classical", settings={"trim": 0.0}),
    Contender("k-means", "kmeans", "classical", settings={"trim": 0.0}, only=_HTTP | _SMALL),
    Contender("outside the range seen", "range", "yardstick", quick=True),
    Contender("random", "random", "yardstick"),
)
_MACHINES = ("RBM", "RBM, unit variance", "RBM, clipped", "RBM, 128 hidden units")
MORE_SEEDS = {("creditcard", "random"): (10, _MACHINES)}
"""Experiment and protocol -> how many seeds, and of whom: a mark lies within the spread of these, and they are cheap."""
