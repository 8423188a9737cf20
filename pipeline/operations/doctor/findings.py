"""What a look at one thing gives; see `pipeline.operations.doctor.examine`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at: how it is, and where it is not well, what mends it."""

    what: str
    state: State
    detail: str


def counted(number: int, what: str) -> str:
    """As people say it.

    >>> counted(1, "stream"), counted(1200, "stream")
    ('1 stream', '1,200 streams')
    """
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
