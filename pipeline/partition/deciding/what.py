"""What people decide, and workers for them: each kind of decision, as it stands in the list, in the topic of decisions and in an API's answer."""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.alerts.selecting.feedback import Feedback
from pipeline.alerts.selecting.silences import Calendar, Silenced


class SettingsOf(msgspec.Struct, frozen=True, tag="settings"):
    """Settings and model that hold from here on.

    `settings` is complete: defaults and the model's recommendations are filled in. `shape` is what cannot change under a state
    (`pipeline.partition.deciding.carrying.shape_of`), for whoever has not the model at hand; `path`, where the model file lay.
    """

    settings: dict[str, Any]
    model: str
    shape: dict[str, str]
    path: str = ""


class Silence(msgspec.Struct, frozen=True, tag="silence"):
    """Alerts of series that match are published as silenced, from `since` up to `until`, event times in ms since the epoch.

    With a `calendar` only within its windows, and `until` 0 is for ever. `where`: globs over labels, as selectors have them.
    """

    series: str
    until: int
    why: str = ""
    where: dict[str, str] = {}
    since: int = 0
    calendar: Calendar | None = None

    def in_force(self, serial: int) -> Silenced:
        """The same without its reason."""
        return Silenced(serial, self.series, self.until, self.where, self.since, self.calendar)


class Lift(msgspec.Struct, frozen=True, tag="lift"):
    """The silence with this serial ends."""

    silence: int


class Undo(msgspec.Struct, frozen=True, tag="undo"):
    """What the feedback, the acknowledgement or the comment with this serial said counts no more."""

    feedback: int
    """Serial of what is taken back, whichever of them it is."""


class Acknowledge(msgspec.Struct, frozen=True, tag="acknowledge"):
    """Somebody looks after the open alerts of series that match."""

    series: str
    why: str = ""


class Comment(msgspec.Struct, frozen=True, tag="comment"):
    """Somebody says something about a series (a name, no pattern), or about the one of its alerts with this id. No record and no state depends on it."""

    series: str
    text: str
    alert: str = ""


class Close(msgspec.Struct, frozen=True, tag="close"):
    """The open alerts of series that match end."""

    series: str
    why: str = ""


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """Series that match are forgotten: their alerts end, and what was learnt of them goes."""

    series: str
    why: str = ""


class Partitions(msgspec.Struct, frozen=True, tag="partitions"):
    """The input topic has so many partitions. `ends` has, by partition, where each log ended when Kafka said so: what lies before is of a time before.

    `log` is Kafka's id of the topic: of another one of that name it says nothing.
    """

    count: int
    ends: tuple[int, ...]
    log: str = ""

    def end(self, partition: int) -> int:
        """Where the log of a partition ended; one that is not among them did not begin."""
        return self.ends[partition] if partition < len(self.ends) else 0


What = SettingsOf | Silence | Lift | Acknowledge | Comment | Close | Forget | Feedback | Undo | Partitions


class Decision(msgspec.Struct, frozen=True):
    """One decision. `by` is who made it, `at` when by the wall clock (RFC 3339, UTC): no result depends on either."""

    id: str
    what: What
    by: str
    at: str
    serial: int = 0

    @property
    def kind(self) -> str:
        """The word for what it is, as it stands in the list: acknowledge, silence, undo, ..."""
        return str(self.what.__struct_config__.tag)

    def numbered(self, serial: int) -> Decision:
        """With the serial that the list gave it."""
        return msgspec.structs.replace(self, serial=serial)
