"""What all calibrators share: settings, poison and lasting shifts.

series a   ···· step ····│···· step ····│··          a score here ──┐
reference  learnt so far ▲ moves on     ▲ moves on                  ▼ is compared with the last ▲
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

MAX_CALIBRATED = 12.0
LN10 = float(np.log(10.0))
HUGE = 1e30
"""Raw scores are kept as float32; beyond this they are as high as can be (so that sums of a step still fit)."""


class CalibratorConfig(BaseModel):
    """Settings of a calibrator; kept in the model file's header."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int = Field(64, ge=8, le=255)
    """Scores of a series after which its reference moves on."""
    adapt_after: int = Field(256, ge=1, le=60_000)
    """Scores in a row above `poison_level` after which a lasting shift is taken as the new normal and learnt."""
    poison_level: float = Field(4.5, gt=0.0, le=MAX_CALIBRATED)
    """Calibrated scores from here on are poisoned: an anomaly must not raise its own bar. In each step one that follows a
    lower score is learnt, cut down to the raw score of this level; the others not at all (until `adapt_after`)."""
    minimum: int = Field(32, ge=8, le=10_000)
    """Learnt scores from which on a state is `ready`."""


class Calibrator(ABC):
    """Vectorised over series; at most 100 bytes of state per series and member.

    What is far out must be learnt a little, or a tail heavier than thought would stay so for ever: learning nothing
    above 3 halves the score on NAB (measured). So in each step the first poisoned score that follows a lower one is
    learnt, cut down to `poison_level`: rare events lift the bar, a long one lifts it once.

    A lasting shift is normal again `adapt_after + 2 * step` scores after it came, at the latest: `adapt_after` scores in a
    row above `poison_level` are not learnt, those after them are, and at the next border what was learnt before the
    shift shrinks to the weight of one step.

    A subclass says what its reference is (`_levels`, `_invert`), and how it moves on (`calibrate`): those of `detectors.calibration.stepped` all
    series at once, the product's own score by score, compiled.
    """

    name: ClassVar[str]
    Config: ClassVar[type[CalibratorConfig]] = CalibratorConfig

    def __init__(self, config: CalibratorConfig | None = None) -> None:
        self.config = config if config is not None else self.Config()

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Structured, fixed size, little-endian; all zeros is a valid empty state.

        Every one has the fields `seen` (scores counted so far), `run` (poisoned scores in a row), `known` (learnt scores
        that the reference rests on) and `cut` (whether a poisoned score of this step was learnt, cut down).
        """

    def fit(self, raw: NDArray[np.float64]) -> NDArray[Any]:
        """State (0-d array of `dtype`) after raw scores (n,) of rows that the detector was not fitted on.

        NaN is left out. With fewer than `minimum` scores the state is not `ready` yet and goes on learning in the stream.
        """
        states = np.zeros(1, self.dtype)
        values = single(raw[~np.isnan(raw)])
        if len(values):
            self._fit(states, values)
        state: NDArray[Any] = states[0:1].reshape(())
        return state

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

    def calibrate_members(
        self, states: NDArray[Any], rows: NDArray[np.intp], raw: NDArray[np.float64], learn: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """The same of M members at once.

        Parameters
        ----------
        states : (S, M) of `dtype`
        raw : (B, M)
        rows, learn : (B,)
            As in `calibrate`.

        Returns
        -------
        (B, M) float64
        """
        out = np.empty_like(raw)
        for m in range(raw.shape[1]):
            out[:, m] = self.calibrate(states[:, m], rows, raw[:, m], learn)
        return out

    def prepare(self) -> None:  # noqa: B027  # most have nothing to
        """Load what would take its time at the first score."""

    def ready(self, state: NDArray[Any]) -> NDArray[np.bool_]:
        """(S,) whether a state has seen enough to speak of a tail."""
        return np.asarray(state["known"] >= self.config.minimum)

    def needed(self, state: NDArray[Any]) -> NDArray[np.int64]:
        """(S,) further scores until `ready`, if none of them is NaN: the progress of probation."""
        step, missing = self.config.step, self.config.minimum - self._pending(state).astype(np.int64)
        to_border = step - state["seen"].astype(np.int64) % step
        more = to_border + np.maximum(-(-(missing - to_border) // step), 0) * step
        return np.where(self.ready(state), 0, more)

    def raw_at(self, state: NDArray[Any], level: NDArray[np.float64]) -> NDArray[np.float64]:
        """The raw score that would be calibrated to `level` (k,) under states (k,): the expected band's half width.

        NaN where the state is not ready.
        """
        if not len(state):
            return np.empty(0)
        return np.where(self.ready(state), self._invert(state, np.clip(level, 0.0, MAX_CALIBRATED)), np.nan)

    def against(self, state: NDArray[Any], raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """How rare raw scores (n,) are under one state (0-d), which does not move on: calibrated, but not clipped.

        What a file's rows are ranked by, where several detectors judge them: the same raw score is worth the same in every row.
        NaN where raw is NaN.
        """
        out = np.full(len(raw), np.nan)
        known = np.flatnonzero(~np.isnan(raw))
        out[known] = self._levels(state.reshape(1), np.zeros(len(known), np.intp), single(raw[known]))
        return out

    @abstractmethod
    def _fit(self, states: NDArray[Any], raw: NDArray[np.float32]) -> None:
        """Learn scores (n,), none of them NaN, into the one empty state and make them its reference."""

    @abstractmethod
    def _levels(
        self, states: NDArray[Any], local: NDArray[np.intp], values: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Calibrated scores (n,), not yet clipped, of values (n,) under `states[local]`; anything where not ready."""

    @abstractmethod
    def _invert(self, states: NDArray[Any], level: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw scores (k,) that states (k,) calibrate to levels (k,)."""

    @abstractmethod
    def _pending(self, state: NDArray[Any]) -> NDArray[Any]:
        """(S,) learnt scores, those included that the reference does not rest on yet."""


def single(raw: NDArray[np.float64]) -> NDArray[np.float32]:
    """As raw scores are kept."""
    return np.clip(raw, -HUGE, HUGE).astype(np.float32)
