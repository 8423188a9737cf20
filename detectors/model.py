"""A model: all that training produces for one stream, and exactly what a model file holds.

    windows, raw unit          scaled             raw scores     calibrated      aggregated
    (B, T, C) ── scaling ──▶ (B, T, C + F) ──▶ M detectors ──▶ M calibrators ──▶ (B,)
                 per series                     (B, M)          (B, M), per series

The pipeline runs these steps (`pipeline.partition.loop`), keeping the per-series calibration states; this module only says what
belongs together. Reading and writing it is `detectors.model_file`, making it `detectors.training`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from detectors import numerics
from detectors.base import Detector
from detectors.calibration import Calibrator
from detectors.features import FeatureEncoder
from detectors.judgement import VERSION
from detectors.judgement.calendar import UTC, Calendar
from detectors.outlying import Outlying
from detectors.scaling import SeriesScaling

if TYPE_CHECKING:
    from detectors.judgement.population import Population

Aggregation = Literal["mean", "rms", "max", "vote"]


@dataclass(frozen=True)
class History:
    """What the judgement of one series was learnt from.

    Attributes
    ----------
    until
        Event time of its last row, ms: no row up to there is news.
    negative
        Channels that were below zero at some time.
    """

    until: int
    negative: tuple[int, ...] = ()

    @classmethod
    def of(cls, times: NDArray[np.int64], values: NDArray[np.float64]) -> History:
        """Of rows (n,), (n, C) in order of time."""
        return cls(int(times[-1]), tuple(np.flatnonzero((values < 0).any(axis=0)).tolist()))


@dataclass(frozen=True)
class Model:
    """Detectors of one stream with everything around them that was learnt.

    Attributes
    ----------
    kind
        `metric`: windows of a metric in event time. `table`: rows without a time policy.
    detectors
        M members, each with a window of at most `window`; a shorter one sees the last positions.
    calibrator
        The calibration method (settings only; states are per series and member).
    scaling
        Centre and scale per known series, and how an unknown series gets its own.
    features
        For tables: from named columns to C numbers. None for metrics.
    time_features
        Covariates computed from the event time and appended to the channels, e.g. `("day", "week")`: sine and cosine each.
    aggregation
        How M calibrated scores become one.
    training_rows
        Known series -> how many of its first observations trained and calibrated it; they can raise no alert.
    calibrations
        Known series -> (M,) array of `calibrator.dtype`: the calibration state after training.
    interval_ms
        Known series -> its usual step in event time; 0 = irregular, no gap policy.
    judgement
        Metrics: what judges each newest row beside the members (`detectors.judgement`); None: the members' calibrated scores alone decide.
    histories
        Series that `judgement` knows -> what it was learnt from.
    outlying
        Tables: one score of all members that ranks, and its tail, by which the alarm decides; None: the members' calibrated scores decide.
    calendar
        Whose day, week and holidays `judgement` learnt.
    hash
        SHA-256 of the model file, "" for a model that was not saved yet.
    facts
        What a reader of the header wants to know: data set, seeds, dates of the data, losses. No wall-clock time.
    """

    kind: Literal["metric", "table"]
    detectors: tuple[Detector, ...]
    calibrator: Calibrator
    scaling: SeriesScaling
    features: FeatureEncoder | None
    time_features: tuple[str, ...]
    aggregation: Aggregation
    training_rows: Mapping[str, int]
    calibrations: Mapping[str, NDArray[Any]]
    interval_ms: Mapping[str, int]
    hash: str = ""
    facts: Mapping[str, Any] = ()  # type: ignore[assignment]
    judgement: Population | None = None
    histories: Mapping[str, History] = field(default_factory=dict)
    calendar: Calendar = UTC
    outlying: Outlying | None = None

    @property
    def window(self) -> int:
        """T: observations that the longest member needs."""
        return max(d.config.window for d in self.detectors)

    @property
    def channels(self) -> int:
        """C: channels that are judged."""
        return self.detectors[0].config.channels

    @property
    def detector_name(self) -> str:
        """`lstm`, or `lstm+tcn+autoencoder` for several; with a judgement `judgement+lstm+...`."""
        return "+".join([*(["judgement"] if self.judgement is not None else []), *(d.name for d in self.detectors)])

    @property
    def detector_version(self) -> str:
        """Versions of the members' scores, part of every alert's id."""
        return ".".join(
            [*([str(VERSION)] if self.judgement is not None else []), *(str(d.version) for d in self.detectors)]
        )

    @property
    def gains_by_gpu(self) -> bool:
        """Whether a GPU would score faster for one of its detectors, see `Detector.gains_by_gpu`."""
        return any(of.gains_by_gpu for of in self.detectors)

    def to(self, device: str) -> Self:
        """Move its detectors to `cpu`, `cuda` or `cuda:N`; `auto`: to a GPU, where there is one and a detector gains by it. Returns itself.

        Raises
        ------
        DetectorError
            The device is not there.
        """
        if device == "auto":
            device = "cuda" if self.gains_by_gpu and numerics.gpu_there() else "cpu"
        for of in self.detectors:
            of.to(device)
        return self


def aggregate(calibrated: NDArray[np.float64], how: Aggregation) -> NDArray[np.float64]:
    """From calibrated scores (B, M) to one (B,).

    `rms` (root mean square) lies between `mean` and `max`: what one member is sure of is not drowned by those that cannot see it.
    `vote` is the median: more than half of the members must be high for it to be high.
    """
    if how == "mean":
        return np.asarray(np.add.reduce(calibrated, axis=1) / calibrated.shape[1])
    if how == "rms":
        return np.asarray(np.sqrt(np.square(calibrated).mean(axis=1)))
    if how == "max":
        return np.asarray(calibrated.max(axis=1))
    return np.asarray(np.median(calibrated, axis=1))
