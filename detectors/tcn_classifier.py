"""Dilated TCN classifier: the network of `detectors.tcn`, told which windows or rows are anomalous.

Bai, Kolter, Koltun 2018 (see `detectors.tcn`). Only what reaches the last position of the sequence is computed.

Examples
--------
>>> import numpy as np
>>> from detectors.networks import TrainingConfig
>>> from detectors.tcn_classifier import TCNClassifier, TCNClassifierConfig
>>> rng = np.random.default_rng(0)
>>> labels = (np.arange(400) % 10 == 0).astype(np.int8)
>>> rows = rng.normal(size=(400, 1, 6)) + labels[:, None, None] * 3.0
>>> detector = TCNClassifier(TCNClassifierConfig(channels=6, blocks=2, training=TrainingConfig(epochs=5, trim=0.0)))
>>> report = detector.fit(rows, labels)
>>> raw = detector.score(rows).raw
>>> bool(raw[labels == 1].mean() > raw[labels == 0].mean())
True
"""

from __future__ import annotations

from types import MappingProxyType

from pydantic import Field
from torch import nn

from detectors.classifier import Classifier, ClassifierConfig, SequenceClassifier
from detectors.torched.forecasting import TCNEncoder


class TCNClassifierConfig(ClassifierConfig):
    """Settings of the dilated TCN classifier."""

    hidden: int = Field(16, ge=1)
    """Channels of every convolution."""
    blocks: int = Field(4, ge=1, le=20)
    """Residual blocks; block i has dilation 2^i."""
    kernel: int = Field(3, ge=2)


class TCNClassifier(Classifier):
    """Scores by the log-odds of a dilated TCN that was fitted on labels."""

    name = "tcn-classifier"
    summary = "supervised: dilated TCN fitted on labels, log-odds of windows or rows"
    Config = TCNClassifierConfig
    config: TCNClassifierConfig
    unit_test_params = MappingProxyType(
        {"channels": 5, "hidden": 8, "blocks": 2, "training": {"epochs": 15, "learning_rate": 0.01, "trim": 0.0}}
    )

    def _build(self) -> nn.Module:
        c = self.config
        return SequenceClassifier(TCNEncoder(self.sequence_width, c.hidden, c.blocks, c.kernel), c.hidden, c.limit)
