"""An intake: raw topics and the stream that they feed."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Self

from pydantic import Field, field_validator, model_validator

from pipeline.settings.records import FieldSettings, Format, fit_channels, fit_fields
from pipeline.settings.table import Table
from producers.formats.naming import check_template


class IntakeSettings(Table):
    """An intake: raw topics that are written, each series whole in one partition, into the topic of a stream of metrics (docs/intake.md)."""

    stream: str = Field(description="The stream that it feeds.")
    topics: tuple[str, ...] = Field(
        min_length=1,
        description="Raw topics, by name or by a glob such as `telegraf-*`; new ones that match are found.",
    )
    name: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9_-]*)?$",
        description="Name of the intake, part of its consumer group and of each source's name: another name reads everything anew. "
        "Default: the stream's.",
    )
    format: Format = Field("auto", description="Format of the raw records (docs/formats.md).")
    channels: tuple[str, ...] = Field(
        (),
        description="For a model of several channels, in its order: the fields of a message, or ends of its metrics' names, that are the channels of one series "
        "(docs/formats.md, Channels). Empty: each is a series.",
    )
    fields: FieldSettings = Field(default_factory=FieldSettings)
    drop_labels: tuple[str, ...] = Field(
        (),
        description="Labels that tell no series apart, such as `pod`: they are left out of the names, so a pod that restarts under another name is the same series.",
    )
    series: str = Field(
        "",
        description='What series are called, as `"{service}/{metric}"`: `{metric}` is the name before the labels. A series without one of these labels keeps its '
        "name. Empty: the name with its labels.",
    )
    share: bool = Field(
        False,
        description="Whether processes share the raw partitions. Only where all records of a series lie in one of them (they have a key): "
        "what lies in pieces is put in order by one process that reads them all, and the others stand by.",
    )
    dead_letter_topic: str = Field(
        "", description="Topic for raw records that cannot be used; default `<name>.intake.dlq`."
    )

    @property
    def dlq(self) -> str:
        """The topic its dead letters go to."""
        return self.dead_letter_topic or f"{self.name}.intake.dlq"

    @field_validator("series")
    @classmethod
    def _is_a_template(cls, template: str) -> str:
        if template:
            check_template(template)
        return template

    @property
    def named(self) -> list[str]:
        """Raw topics that are meant by name, and so must be there."""
        return [topic for topic in self.topics if not any(sign in topic for sign in "*?[")]

    def reads(self, topic: str) -> bool:
        """Whether it reads a topic of that name."""
        return any(fnmatchcase(topic, glob) for glob in self.topics)

    @model_validator(mode="after")
    def _fields_of_a_format_that_has_some(self) -> Self:
        fit_fields(self.fields, self.format)
        fit_channels(self.channels, self.format)
        return self

    @property
    def width(self) -> int:
        """How many channels its observations have."""
        return len(self.channels) or 1

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: object) -> object:
        return (
            {**given, "name": given.get("stream", "")} if isinstance(given, dict) and not given.get("name") else given
        )
