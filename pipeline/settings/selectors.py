"""What holds for some series of a stream only."""

from __future__ import annotations

import math
import re
from typing import Literal, Self, get_args

from pydantic import Field, SerializationInfo, field_serializer, field_validator, model_validator

from detectors.budget import parse as parse_budget
from pipeline.settings.durations import Duration, Patience
from pipeline.settings.table import Table

Severity = Literal["info", "warning", "critical"]


class Severities(Table):
    """How severe alerts may be."""

    least: Severity = "info"
    most: Severity = "critical"

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        names = get_args(Severity)
        if names.index(self.least) > names.index(self.most):
            msg = f"severity: least {self.least} is more than most {self.most}: swap them"
            raise ValueError(msg)
        return self


_PER_CENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAKEN_LABELS = ("alertname", "stream", "series", "detector")
MOST_LABELS = 32


class SelectSettings(Table):
    """What holds for some series of the stream. Of several that match, later ones override earlier ones, setting by setting.

    A series is meant where any glob of `series` matches, and all of `where` do; one of the two may be left out.
    """

    series: tuple[str, ...] = Field(
        (), description="Globs over the series' names, with labels or without; one may be written as a text."
    )
    where: dict[str, str] = Field(
        {},
        description='Globs over labels in the series\' names, as `{ service = "api-*" }`: all must match. A label that a name has not is empty.',
    )
    direction: Literal["both", "up", "down"] | None = Field(
        None, description="As in [streams.alerts]: an anomaly on the other side of what was expected is no alert."
    )
    deviation: float | str | None = Field(
        None,
        description="Least deviation from what was expected that is an alert: in the unit of the series, `0.5`, or of what was expected, "
        '`"10 %"`. In place of both minimum deviations of [streams.alerts].',
    )
    valid: tuple[float | None, float | None] | None = Field(
        None,
        description="`[low, high]`: a value outside is an alert at once, of the kind out of range: also in probation, and whatever hold, direction and "
        "deviation are. `inf` and `-inf` leave a side open. Of counters it is the rate; of several channels, any.",
    )
    level: float | None = Field(
        None, ge=0, le=12, description="In place of the stream's level, where scores are compared to one."
    )
    false_alarms: str | None = Field(
        None, description='In place of the stream\'s, of each of these series, as `"1 per series per week"`.'
    )
    hold: Duration | None = Field(None, description="As in [streams.alerts].")
    absent_after: Patience | None = Field(
        None, description="As in [streams.alerts]: a duration, auto, or off for series that nobody waits for."
    )
    severity: Severities | None = Field(
        None,
        description='Severity of the alerts of these series: one for all, `"warning"`, or bounds, `{ least = "warning" }`, `{ most = "info" }`.',
    )
    labels: dict[str, str] = Field(
        {},
        description='What travels on every alert record of these series, as `{ team = "db", runbook_url = "https://..." }`. Those of several '
        "selectors are taken together; an empty text takes one away.",
    )

    @field_validator("series", mode="before")
    @classmethod
    def _one_or_several(cls, globs: object) -> object:
        return (globs,) if isinstance(globs, str) else globs

    @field_validator("deviation", mode="before")
    @classmethod
    def _units_or_per_cent(cls, value: object) -> object:
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
        if value is None or number or (isinstance(value, str) and _PER_CENT.fullmatch(value)):
            return value
        msg = f'{str(value)[:40]!r} is no deviation; write it in the unit of the series, 0.5, or in per cent, "10 %"'
        raise ValueError(msg)

    @field_validator("valid", mode="before")
    @classmethod
    def _two_sides(cls, value: object) -> object:
        if value is None:
            return None
        sides = (
            [None if side in (math.inf, -math.inf) else side for side in value]
            if isinstance(value, list | tuple)
            else []
        )
        low, high = [*sides, None, None][:2]
        told = all(side is None or (isinstance(side, int | float) and side == side) for side in sides)
        ordered = low is None or high is None or not told or low < high
        open_wrongly = (
            isinstance(value, list | tuple) and len(value) == 2 and (value[0] == math.inf or value[1] == -math.inf)
        )
        if len(sides) != 2 or not told or (low is None and high is None) or not ordered or open_wrongly:
            raise ValueError("valid is [low, high], the lower one first; inf or -inf leaves one side open: [0, inf]")
        return low, high

    @field_serializer("valid", when_used="unless-none")
    def _sides(self, valid: tuple[float | None, float | None], info: SerializationInfo) -> list[float | None]:
        low, high = valid  # JSON knows no infinity, TOML no null
        if info.mode == "json":
            return [low, high]
        return [-math.inf if low is None else low, math.inf if high is None else high]

    @field_validator("false_alarms")
    @classmethod
    def _is_a_budget(cls, text: str | None) -> str | None:
        if text is not None and parse_budget(text).shared:
            msg = (
                f'{text!r} is a budget of the whole stream; write that of each series here, as "1 per series per week"'
            )
            raise ValueError(msg)
        return text

    @field_validator("severity", mode="before")
    @classmethod
    def _one_is_both(cls, severity: object) -> object:
        return {"least": severity, "most": severity} if isinstance(severity, str) else severity

    @field_validator("labels", "where")
    @classmethod
    def _few(cls, labels: dict[str, str]) -> dict[str, str]:
        if len(labels) > MOST_LABELS or any(len(text) > 1000 for text in labels.values()):
            msg = f"at most {MOST_LABELS} labels, of 1000 characters each"
            raise ValueError(msg)
        return labels

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for name in labels:
            if name in (*_TAKEN_LABELS, "severity"):
                mend = "set severity = ... in place of it" if name == "severity" else "name it otherwise"
                msg = f"label {name} says something else already: {mend}"
                raise ValueError(msg)
            if not _LABEL.fullmatch(name):
                msg = f"{name[:40]!r} is no name for a label: letters, digits and underscore, no digit first"
                raise ValueError(msg)
        return labels

    @model_validator(mode="after")
    def _selects_and_says_something(self) -> Self:
        if not (self.series or self.where):
            raise ValueError('it selects no series: add series = "glob" ("*" for all) or where = { label = "glob" }')
        if not self.model_fields_set - {"series", "where"}:
            says = ", ".join(n for n in type(self).model_fields if n not in ("series", "where"))
            msg = f"it says nothing of the series it selects: add one of {says}"
            raise ValueError(msg)
        if self.false_alarms is not None and self.level is not None:
            raise ValueError("false_alarms and level both say from when on a score is anomalous: leave one of them out")
        return self

    @property
    def whom(self) -> str:
        """Which series, as people wrote it."""
        told = [", ".join(self.series), ", ".join(f"{k}={v}" for k, v in self.where.items())]
        return " where ".join(told) if all(told) else told[0] or f"where {told[1]}"

    @property
    def deviations(self) -> tuple[float, float]:
        """Least deviation in the unit of the series, and as a share of what was expected."""
        if isinstance(self.deviation, str):
            match = _PER_CENT.fullmatch(self.deviation)
            assert match is not None
            return 0.0, float(match[1]) / 100
        return float(self.deviation or 0.0), 0.0
