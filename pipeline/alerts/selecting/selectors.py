"""What holds for each series of a stream: its settings, and over them those of the selectors that match the series' name.

    series' name ──▶ which selectors match ──▶ one `Policy` for all series of the same matches ──▶ columns over rows of the state

Which policy a series has follows from its name and the settings, so it is no part of the state: it is found when a row is first met, and kept as one
number beside the state. What a batch asks for is a look-up in small arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from detectors.model import Model
from pipeline.alerts.row import SEVERITIES
from pipeline.alerts.selecting.matching import matches
from pipeline.errors import SettingsError
from pipeline.settings import AlertSettings, SelectSettings, StreamSettings, duration_text
from pipeline.steps.judgement import decides
from pipeline.steps.state import PartitionState

OPEN = (-np.inf, np.inf)
_DIRECTIONS = {"both": 0, "up": 1, "down": -1}


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for a series.

    Attributes
    ----------
    selectors
        Places in the settings of those that match, from 0.
    alerts
        The stream's alert policy with what they say.
    valid
        Lowest and highest value that is in range; infinite: open.
    level
        In place of the stream's; NaN: none.
    budget
        Which of `StreamSettings.budgets`.
    least, most
        Severities, places in `SEVERITIES`.
    labels
        What travels on alert records.
    """

    selectors: tuple[int, ...]
    alerts: AlertSettings
    valid: tuple[float, float]
    level: float
    budget: int
    least: int
    most: int
    labels: Mapping[str, str]


class Selectors:
    """Policies of the series of one partition.

    Parameters
    ----------
    settings
        With its selectors.
    """

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings
        self.policies: list[Policy] = []
        self._known: dict[tuple[int, ...], int] = {}
        self._of_row = np.zeros(0, np.int32)  # place in `policies`
        self.policy("")
        self.ranged = any(s.valid is not None for s in settings.select)
        """Whether any series has a valid range."""
        own = self.policy("").alerts
        asked = own.direction != "both" or own.min_deviation or own.min_relative_deviation
        self.deviations = bool(asked) or any(s.direction or s.deviation is not None for s in settings.select)
        """Whether of any series not every deviation matters."""

    def policy(self, series: str) -> Policy:
        """What holds for a series."""
        return self.policies[self._number(series)]

    def admit(self, state: PartitionState, new: Sequence[int]) -> None:
        """Find the policies of rows that are met first; rows may be used again."""
        known = len(self._of_row)
        if not self._settings.select or (not new and known == len(state.names)):
            return
        self._of_row = np.append(self._of_row, np.zeros(len(state.names) - known, np.int32))
        for row in {*new, *range(known, len(state.names))}:
            self._of_row[row] = self._number(state.names[row] or "")

    def of(self, state: PartitionState, rows: NDArray[np.intp]) -> NDArray[np.int32]:
        """Places in `policies` (n,) of series in rows (n,)."""
        if not self._settings.select:
            return np.zeros(len(rows), np.int32)
        self.admit(state, ())
        return self._of_row[rows]

    def budgets(self, state: PartitionState, rows: NDArray[np.intp]) -> NDArray[np.int64] | None:
        """Which budget (n,) series in rows (n,) have; None: all the stream's."""
        if all(s.false_alarms is None for s in self._settings.select):
            return None
        of = self.of(state, rows)  # finds the policies
        return np.array([p.budget for p in self.policies])[of]

    def levels(self, state: PartitionState, rows: NDArray[np.intp], levels: NDArray[np.float64]) -> NDArray[np.float64]:
        """The levels (n,) of series in rows (n,), given those of the stream's threshold."""
        if all(s.level is None for s in self._settings.select):
            return levels
        of = self.of(state, rows)
        own = np.array([p.level for p in self.policies])[of]
        return np.where(np.isnan(own), levels, own)

    def outside(
        self, state: PartitionState, rows: NDArray[np.intp], values: NDArray[np.float64]
    ) -> NDArray[np.bool_] | None:
        """Which values (n, C) of series in rows (n,) are out of their valid range; None: no series has one."""
        if not self.ranged:
            return None
        of = self.of(state, rows)
        low, high = np.array([p.valid for p in self.policies]).T[:, of, None]
        return np.asarray((values < low) | (values > high))

    def has_range(self, state: PartitionState, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether series in rows (n,) have a valid range."""
        of = self.of(state, rows)
        return np.array([p.valid != OPEN for p in self.policies])[of]

    def deviates(
        self,
        state: PartitionState,
        rows: NDArray[np.intp],
        observed: NDArray[np.float64],
        expected: NDArray[np.float64],
    ) -> NDArray[np.bool_]:
        """Whether any channel of observations (n, C) deviates from what was expected, far enough and the right way.

        A channel without an expected value cannot be tested and counts as deviating.
        """
        of = self.of(state, rows)
        side, least, share = np.array(
            [
                (_DIRECTIONS[a.direction], a.min_deviation, a.min_relative_deviation)
                for a in (p.alerts for p in self.policies)
            ]
        ).T[:, of, None]
        deviation = observed - expected
        signed = np.where(side == 0, np.abs(deviation), side * deviation)
        enough = (signed > 0) & (signed >= np.maximum(least, share * np.abs(expected)))
        free = (side == 0) & (least == 0) & (share == 0)
        return np.asarray((np.isnan(expected) | enough | free).any(axis=1))

    def _number(self, series: str) -> int:
        select = self._settings.select
        matching = tuple(k for k, s in enumerate(select) if matches(s, series))
        if (number := self._known.get(matching)) is None:
            number = self._known[matching] = len(self.policies)
            self.policies.append(resolved(self._settings, matching))
        return number


def resolved(settings: StreamSettings, selectors: Sequence[int]) -> Policy:
    """What holds for a series that these selectors match; later ones override earlier ones."""
    policy: dict[str, Any] = {
        "valid": OPEN, "level": np.nan, "budget": 0, "least": 0, "most": len(SEVERITIES) - 1,
    }  # fmt: skip
    alerts: dict[str, Any] = {}
    labels: dict[str, str] = {}
    for k in selectors:
        selector = settings.select[k]
        alerts |= {n: v for n in ("direction", "hold", "absent_after") if (v := getattr(selector, n)) is not None}
        if selector.deviation is not None:
            alerts["min_deviation"], alerts["min_relative_deviation"] = selector.deviations
        if selector.valid is not None:
            low, high = selector.valid
            policy["valid"] = (-np.inf if low is None else low, np.inf if high is None else high)
        if selector.level is not None:
            policy["level"] = selector.level
        if selector.false_alarms is not None:
            policy["budget"] = k + 1
        if selector.severity is not None:
            policy["least"], policy["most"] = (
                SEVERITIES.index(selector.severity.least), SEVERITIES.index(selector.severity.most),
            )  # fmt: skip
        labels |= selector.labels
    return Policy(
        selectors=tuple(selectors),
        alerts=settings.alerts.model_copy(update=alerts),
        labels={name: labels[name] for name in sorted(labels) if labels[name]},
        **policy,
    )


def told(settings: StreamSettings, series: str) -> list[tuple[str, str]]:
    """What holds for a series, setting by setting, and which selectors say so (from 1)."""
    policy = Selectors(settings).policy(series)
    alerts, threshold = policy.alerts, settings.threshold
    by = ", ".join(f"{k + 1} ({settings.select[k].whom})" for k in policy.selectors)
    low, high = policy.valid
    if policy.level == policy.level:
        level = ("level", f"{policy.level:g}")
    elif policy.budget:
        level = ("false_alarms", str(settings.select[policy.budget - 1].false_alarms))
    elif threshold.method != "fixed" or threshold.level is not None:
        level = ("level", "as the stream's" if threshold.level is None else f"{threshold.level:g}")
    else:
        level = ("false_alarms", threshold.false_alarms or "as the stream's default, or its model's level")
    return [
        ("selectors", by or "none matches: all as the stream's"),
        ("direction", alerts.direction),
        ("deviation", f"{alerts.min_deviation:g}, and {100 * alerts.min_relative_deviation:g} %"),
        ("valid", f"{low:g} to {high:g}"),
        level,
        ("hold", duration_text(alerts.hold)),
        ("absent_after", after if isinstance(after := alerts.absent_after, str) else duration_text(after)),
        ("severity", f"{SEVERITIES[policy.least]} to {SEVERITIES[policy.most]}"),
        ("labels", ", ".join(f"{name}={text}" for name, text in policy.labels.items()) or "none"),
    ]


def check(settings: StreamSettings, model: Model) -> None:
    """Raise SettingsError where a selector asks for what there is not of such a model, or under such a threshold."""
    for k, selector in enumerate(settings.select):
        if problem := _problem(selector, settings, model):
            msg = f"selector {k + 1} of stream {settings.name} ({selector.whom}) {problem}"
            raise SettingsError(msg)


def _problem(selector: SelectSettings, settings: StreamSettings, model: Model) -> str:
    deviating = [n for n in ("direction", "deviation") if getattr(selector, n) is not None]
    of_metrics = [*deviating, *(n for n in ("valid", "absent_after") if getattr(selector, n) is not None)]
    if model.kind == "table" and of_metrics:
        return f"sets {of_metrics[0]}, which is for metrics, and the stream's model is of a table: leave it out"
    if deviating and not expects(model, settings):
        return (
            f"sets {deviating[0]}, which needs an expected value, and {model.detector_name} expects none: leave it out, or train a model that "
            "forecasts or has a judgement"
        )
    judged, threshold = decides(model, settings), settings.threshold
    if selector.level is not None and judged:
        return "sets level, and an alarm decides in this stream: set false_alarms in place of it"
    if selector.false_alarms is not None and threshold.method != "fixed":
        return (
            f"sets false_alarms, and the stream's threshold is of method {threshold.method}: set level in place of it"
        )
    if selector.false_alarms is not None and threshold.level is not None:
        return f"sets false_alarms, and the stream (or what its model file recommends) a level, {threshold.level:g}: set level in place of it"
    return ""


def expects(model: Model, settings: StreamSettings) -> bool:
    """Whether what judges a stream says what it expects of an observation."""
    by_judgement = model.judgement is not None and decides(model, settings)
    return by_judgement or any(_expects(d) for d in model.detectors)


def _expects(detector: Any) -> bool:
    """Found by scoring two windows of zeros: a detector says so nowhere else."""
    config = detector.config
    windows = np.zeros((2, config.window, detector.width), np.float32)
    return cast("Any", detector.score(windows)).expected is not None
