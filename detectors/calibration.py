"""From raw scores to calibrated ones: -log10 of the tail probability in the series' own history, clipped to 0..12.

A calibrated score of 3 says: one in a thousand of this series' scores is as high. That makes detectors, series and
streams comparable, and one threshold serve all.

A calibrator is settings and arithmetic; what it learns is a *state*, one numpy record (of `dtype`) per series and member,
kept by whoever owns the series (`pipeline.state` in the stream). Its reference moves on at fixed counts per series
(`step` scores), never at batch borders: a score is compared with the reference of the last full step, so that results
are the same however the stream was cut.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

MAX_CALIBRATED = 12.0


class CalibratorConfig(BaseModel):
    """Settings of a calibrator; kept in the model file's header."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int = 64
    """Scores of a series after which its reference moves on."""
    adapt_after: int = 256
    """Scores in a row above `poison_level` after which a lasting shift is taken as the new normal and learnt."""
    poison_level: float = 3.0
    """Calibrated scores from here on are not learnt (until `adapt_after`): an anomaly must not raise its own bar."""


class Calibrator(ABC):
    """Vectorised over series; at most 160 bytes of state per series and member."""

    name: ClassVar[str]
    Config: ClassVar[type[CalibratorConfig]] = CalibratorConfig

    def __init__(self, config: CalibratorConfig | None = None) -> None:
        self.config = config if config is not None else self.Config()

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Structured, fixed size, little-endian; all zeros is a valid empty state."""

    @abstractmethod
    def fit(self, raw: NDArray[np.float64]) -> NDArray[Any]:
        """State (0-d array of `dtype`) after raw scores (n,) of rows that the detector was not fitted on."""

    @abstractmethod
    def calibrate(
        self, state: NDArray[Any], rows: NDArray[np.intp], raw: NDArray[np.float64], learn: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Calibrate raw scores (B,) and move the states on, in place.

        Parameters
        ----------
        state : (S,) of `dtype`
            States of one member; a view, written to.
        rows : (B,)
            Which state each score belongs to. Scores of one row stand in stream order; rows may be mixed in any way.
        learn : (B,) bool
            False: score only, neither learnt nor counted (training part, filled gaps).

        Returns
        -------
        (B,) float64 in 0..12; NaN where raw is NaN (which is not learnt); 0 where the state is not `ready`.
        """

    @abstractmethod
    def ready(self, state: NDArray[Any]) -> NDArray[np.bool_]:
        """(S,) whether a state has seen enough to speak of a tail."""

    @abstractmethod
    def needed(self, state: NDArray[Any]) -> NDArray[np.int64]:
        """(S,) further scores until `ready`: the progress of probation."""

    @abstractmethod
    def raw_at(self, state: NDArray[Any], level: NDArray[np.float64]) -> NDArray[np.float64]:
        """The raw score that would be calibrated to `level` (k,) under states (k,): the expected band's half width."""
