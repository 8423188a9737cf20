"""Which threshold the settings of a stream ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from detectors.budget import Budget
from detectors.budget_threshold import BudgetThreshold
from detectors.thresholds import FixedThreshold, PotThreshold, QuantileThreshold, Threshold


class ThresholdChoice(Protocol):
    """What `from_settings` reads: `pipeline.settings.ThresholdSettings`, which this package does not import."""

    @property
    def method(self) -> Literal["fixed", "quantile", "pot"]: ...  # noqa: D102
    @property
    def level(self) -> float | None: ...  # noqa: D102
    @property
    def probability(self) -> float: ...  # noqa: D102
    @property
    def hysteresis(self) -> float: ...  # noqa: D102


def from_settings(settings: ThresholdChoice, budgets: Sequence[Budget], calm: int) -> Threshold:
    """Make the threshold that the settings of a stream ask for; the budgets hold where they state no level and no other method.

    The first budget is the stream's, others are of some of its series. `calm` normal observations in a row end an alert.
    """
    if settings.method == "quantile":
        return QuantileThreshold(settings.probability)
    if settings.method == "pot":
        return PotThreshold(settings.probability)
    return (
        BudgetThreshold(budgets[0], settings.hysteresis, calm, budgets[1:])
        if settings.level is None
        else FixedThreshold(settings.level)
    )
