"""When a score is anomalous, and the life of what comes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from detectors.budget import METRIC as METRIC_BUDGET
from detectors.budget import TABLE as TABLE_BUDGET
from detectors.budget import Budget
from detectors.budget import parse as parse_budget
from pipeline.settings.durations import Duration, Patience
from pipeline.settings.table import Table


class ThresholdSettings(Table):
    """When a score is anomalous."""

    method: Literal["fixed", "quantile", "pot"] = Field(
        "fixed",
        description="fixed: the level that the false-alarm budget asks for, or `level`; else the series' own quantile, or POT.",
    )
    false_alarms: str | None = Field(
        None,
        description='How many alerts there may be that are none: `"1 per series per month"` (day, week and year too, `"per 3 months"`), `"2 per week"` '
        'of the whole stream, shared among the series that live in it, or `"1 per 10000 rows"`. It becomes a level by the usual step of each '
        "series, never laxer than one alert in 200 observations. Where nothing is said: `1 per series per month`, of tables `1 per 10000 rows`.",
    )
    level: float | None = Field(
        None,
        ge=0,
        le=12,
        description="fixed, in place of a budget: the calibrated score from which on an observation is anomalous (4 = 1 in 10,000).",
    )
    probability: float = Field(1e-4, gt=0, lt=1, description="quantile, pot: the tail probability that is anomalous.")
    hysteresis: float = Field(
        1.0,
        ge=0,
        description="A firing alert stays anomalous down to this much below the threshold (calibrated score).",
    )

    @field_validator("false_alarms")
    @classmethod
    def _is_a_budget(cls, text: str | None) -> str | None:
        if text is not None:
            parse_budget(text)
        return text

    @model_validator(mode="after")
    def _stated_once(self) -> Self:
        if self.false_alarms is not None and self.level is not None:
            raise ValueError("false_alarms and level both say from when on a score is anomalous: leave one of them out")
        if self.false_alarms is not None and self.method != "fixed":
            msg = f"false_alarms is for method fixed; {self.method} takes a probability: leave one of them out"
            raise ValueError(msg)
        return self

    def budget(self, kind: Literal["metric", "table"]) -> Budget:
        """What is stated, or what holds for such a stream where nothing is.

        Raises
        ------
        ValueError
            Of a table, whose rows have no time between them, it speaks of time.
        """
        if self.false_alarms is None:
            return parse_budget(METRIC_BUDGET if kind == "metric" else TABLE_BUDGET)
        budget = parse_budget(self.false_alarms)
        if kind == "table" and budget.period_ms is not None:
            msg = f"the rows of a table have no time between them: write false_alarms in rows, as {TABLE_BUDGET!r}"
            raise ValueError(msg)
        return budget


class AlertSettings(Table):
    """The life of this stream's alerts, all in event time."""

    hold: Duration = Field(timedelta(0), description="How long an anomaly must last before pending becomes firing.")
    resolve_count: int = Field(
        5,
        ge=1,
        description="Normal observations in a row that resolve an alert (with resolve_after). Of rows of a table as many as the alert had "
        "anomalous ones, where these are more, 100 at most. Where it is not set, a model file's own recommendation holds, if it has one.",
    )
    resolve_after: Duration = Field(
        timedelta(0),
        description="How long a series must be normal, besides, before its alert resolves; 0 = resolve_count alone decides.",
    )
    quiet: Duration = Field(
        timedelta(hours=6),
        description="What comes back within this time after an alert resolved, as the same kind of thing, opens the same alert again. "
        "0: it is a new one. Metrics only.",
    )
    split: bool = Field(
        True,
        description="An alert ends where what is wrong becomes lastingly something else (another direction or kind), and the next one "
        "begins. false: the same alert goes on.",
    )
    suppression: Duration = Field(
        timedelta(0),
        description="After an alert resolved, a further anomaly of the series within this time re-opens none.",
    )
    silence: Duration = Field(
        timedelta(hours=6),
        description="An alert whose series falls silent for this much of the partition's event time ends: it becomes one of the kind no data, or resolves where absent_after is off.",
    )
    absent_after: Patience = Field(
        "auto",
        description="A series that says nothing for this much of the partition's event time gets an alert of the kind no data. auto: five of its "
        "usual steps, where it has one and reported for a day; longer where it is away for longer habitually. off: never. Metrics only.",
    )
    update_every: Duration = Field(
        timedelta(hours=1), description="A firing alert is published again at these steps of event time."
    )
    direction: Literal["both", "up", "down"] = Field(
        "both", description="Which deviations from the expected value count."
    )
    min_deviation: float = Field(
        0.0, ge=0, description="Smallest absolute deviation from the expected value that counts."
    )
    min_relative_deviation: float = Field(
        0.0, ge=0, description="Smallest deviation relative to the expected value that counts."
    )
    warning: float | None = Field(
        None,
        ge=0,
        le=12,
        description="Score from which on severity is warning (below: info). Not set: ten times as rare as the level asks for, or ten "
        "observations at the level.",
    )
    critical: float | None = Field(
        None,
        ge=0,
        le=12,
        description="Score from which on severity is critical. Not set: a hundred times as rare, or a hundred observations; each tenfold "
        "of the one makes up for a tenfold of the other.",
    )
