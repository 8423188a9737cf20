"""A stream: its topics, its model, its policy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from detectors.budget import Budget
from detectors.judgement.calendar import WEEKDAYS, Calendar, Holidays, dates_of
from pipeline.countries import public_holidays
from pipeline.settings.alerting import AlertSettings, ThresholdSettings
from pipeline.settings.durations import Duration
from pipeline.settings.records import FieldSettings, Format, fit_channels, fit_fields
from pipeline.settings.selectors import SelectSettings
from pipeline.settings.table import Table


class StreamSettings(Table):
    """One stream: an input topic with its model and alert policy."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the stream, part of keys, ids and topics.")
    topic: str = Field("", description="Input topic; default `<name>.observations`.")
    model: Path = Field(description="Model file (`tidewatch train` writes one).")
    format: Format = Field(
        "native", description="Format of the records (docs/formats.md); auto: told apart one by one, by their content."
    )
    counter: tuple[str, ...] = Field(
        (),
        description="Series that are counters, by globs over their names (with labels or without): judged by their rate per second. "
        "Known as such without it: Prometheus names in _total, _count, _sum, _bucket, and OTLP's sums.",
    )
    gauge: tuple[str, ...] = Field((), description="Series that are no counters, whatever their name or format says.")
    channels: tuple[str, ...] = Field(
        (),
        description="For a model of several channels, in its order: the fields of a message, or ends of its metrics' names, that are the channels of one series (docs/formats.md, Channels). Empty: each is a series.",
    )
    time_zone: str = Field(
        "",
        description="Whose midnight and weekend the series keep, as Europe/Berlin (summer time included); empty: as the model file says, UTC "
        "where it was trained without.",
    )
    country: str = Field(
        "",
        description="Whose public holidays the series keep, as US, US-NY or DE-BY: such a day may be as the day of rest of its week, as the day "
        "that it is, or between. Where nothing is said of holidays, those hold that the model file was trained with.",
    )
    holidays: dict[str, str] = Field(
        {},
        description='Further days that are judged so, by year: `{ 2026 = "12-24 12-31" }`. Where the settings are decided, the days of the country are written here.',
    )
    rest_day: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] | None = Field(
        None,
        description="Which day of its week a holiday is like. Not set: the last of the country's weekend, Sunday where no country is named.",
    )
    fields: FieldSettings = Field(default_factory=FieldSettings)
    threshold: ThresholdSettings = Field(default_factory=ThresholdSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    select: tuple[SelectSettings, ...] = Field(
        (), description="What holds for some of the series only, a table `[[streams.select]]` each; see below."
    )
    alert_topic: str = Field("tidewatch.alerts", description="Topic that alerts are published to.")
    dead_letter_topic: str = Field("", description="Topic for records that cannot be used; default `<topic>.dlq`.")
    score_topic: str = Field("", description="Topic for the score of every observation; empty: none are published.")
    decision_topic: str = Field(
        "tidewatch.decisions", description="Topic that says which decision each partition took at which offset."
    )
    probation: int = Field(256, ge=0, description="Observations of an unknown series before it can raise an alert.")
    max_series: int = Field(
        100_000, ge=1, description="Series per partition; observations of further ones go to dead letters."
    )
    idle_after: Duration = Field(
        timedelta(days=7), description="A series without observations for this event time is forgotten."
    )
    future_limit: Duration = Field(
        timedelta(days=1),
        description="A jump ahead of the series' newest by more than this needs the next record's confirmation.",
    )
    lateness: Duration = Field(
        timedelta(0),
        description="How long observations wait for older ones of their series that come after them: up to 8 a series, where something is missing "
        "before them or the series has no usual step; then they are judged in order. 0: none waits. Metrics only.",
    )
    fill_gaps: int = Field(
        3, ge=0, description="A gap of up to this many intervals is filled; a longer one starts the window anew."
    )

    @field_validator("time_zone")
    @classmethod
    def _a_zone_that_there_is(cls, name: str) -> str:
        try:
            if name:
                ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            msg = f"there is no time zone {name[:60]!r}; write it as Europe/Berlin, America/New_York or UTC"
            raise ValueError(msg) from error
        return name

    @field_validator("country")
    @classmethod
    def _a_country_that_there_is(cls, country: str) -> str:
        public_holidays(country)
        return country

    @field_validator("holidays")
    @classmethod
    def _dates(cls, years: dict[str, str]) -> dict[str, str]:
        try:
            list(dates_of(years))
        except ValueError as error:
            msg = f'{error}; write the days of a year as 2026 = "01-01 12-25"'
            raise ValueError(msg) from error
        return years

    @model_validator(mode="after")
    def _fields_of_a_format_that_has_some(self) -> Self:
        fit_fields(self.fields, self.format)
        fit_channels(self.channels, self.format)
        return self

    def calendar(self, learnt: Calendar) -> Calendar:
        """By whose clock the series live, where the model was `learnt` by this one."""
        return Calendar(self.time_zone or learnt.time_zone, self.closed or learnt.holidays)

    @property
    def closed(self) -> Holidays:
        """The country's holidays and the further ones."""
        public = public_holidays(self.country)
        rest = WEEKDAYS.index(self.rest_day) if self.rest_day else public.rest
        return Holidays.of((*public.dates, *dates_of(self.holidays)), rest)

    def budgets(self, kind: Literal["metric", "table"]) -> tuple[Budget, ...]:
        """The stream's false-alarm budget, and that of each selector: the stream's where it has none.

        Raises
        ------
        ValueError
            Of a table, whose rows have no time between them, one speaks of time.
        """
        own = self.threshold.budget(kind)
        told = [ThresholdSettings(false_alarms=s.false_alarms) for s in self.select]
        return own, *(own if t.false_alarms is None else t.budget(kind) for t in told)

    @property
    def input_topic(self) -> str:
        """The topic observations come from."""
        return self.topic or f"{self.name}.observations"

    @property
    def dlq(self) -> str:
        """The topic dead letters go to."""
        return self.dead_letter_topic or f"{self.input_topic}.dlq"


_STATED = ("false_alarms", "level")
"""Ways to say from when on a score is anomalous; one excludes the other."""


def with_recommended(settings: StreamSettings, recommended: Mapping[str, Any]) -> StreamSettings:
    """The settings of a stream, and where they say nothing of threshold and alerts, what its model file recommends.

    Parameters
    ----------
    recommended
        As in tidewatch.toml: `{"threshold": {"level": 2.5}, "alerts": {"resolve_count": 100}}`.

    Raises
    ------
    ValidationError
        A recommendation is no such setting, or out of its range.
    """
    tables = {}
    for name in ("threshold", "alerts"):
        table = getattr(settings, name)
        given = {field: getattr(table, field) for field in table.model_fields_set}
        proposed = dict(recommended.get(name, {}))
        if any(given.get(field) is not None for field in _STATED):  # one of them is stated: no other takes its place
            proposed = {field: value for field, value in proposed.items() if field not in _STATED}
        tables[name] = type(table).model_validate(
            {**given, **proposed, **{k: v for k, v in given.items() if v is not None}}
        )
    return settings.model_copy(update=tables)
