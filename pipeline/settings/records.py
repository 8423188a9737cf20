"""What the records of a stream and of raw topics are: their format, their fields, their channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from pipeline.settings.table import Table
from producers.formats.channels import check_channels
from producers.formats.fields import Fields

WITH_FIELDS = ("json", "registry", "auto")
"""Formats whose records may have any fields."""

ALONE = ("prometheus", "remote-write")
"""Formats in which a message may hold some of the values of a time only, and the next one the others."""

Format = Literal[
    "native", "telegraf", "influx", "prometheus", "remote-write", "otlp", "cloudevents", "csv", "json", "registry", "auto"
]  # fmt: skip
"""What records may be, of a stream and of raw topics."""


class FieldSettings(Table):
    """Which fields of a record are what, for formats `json` and `registry` (docs/formats.md, Fields); what is empty is found by their names and types."""

    time: str = Field("", description="Field that is the time.")
    name: str = Field("", description="Field whose text names the series.")
    labels: tuple[str, ...] = Field((), description="Fields that are labels; then no others are.")
    values: tuple[str, ...] = Field((), description="Fields that are values, a series for each; then no others are.")
    record_time: bool = Field(
        False,
        description="No field is the time: the time that Kafka has of the record is (when it was sent; with LogAppendTime, when it came).",
    )

    def chosen(self) -> Fields:
        """As the formats take them."""
        return Fields(self.time, self.name, self.labels, self.values, self.record_time)


def fit_fields(fields: FieldSettings, of: str) -> None:
    """Raise ValueError where records of format `of` have no fields of one's own."""
    if fields != FieldSettings() and of not in WITH_FIELDS:
        msg = f"fields is for records of one's own fields: set format to one of {', '.join(WITH_FIELDS)}"
        raise ValueError(msg)
    if fields.record_time and (fields.time or of == "auto"):
        why = "fields.time names a field" if fields.time else "set format to json or registry"
        msg = f"fields.record_time is for records in which no field is the time: {why}"
        raise ValueError(msg)


def fit_channels(channels: Sequence[str], of: str) -> None:
    """Raise ValueError where these are no channels, or messages of format `of` do not hold all of them."""
    check_channels(channels)
    if channels and of in ALONE:
        msg = f"channels is for messages that hold all channels of a series; in format {of} each value may come in another one"
        raise ValueError(msg)
