"""What the newest records of a topic become, as far as it is hardly meant so: dead letters, totals that are judged, labels that change."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.operations.doctor.findings import Finding
from pipeline.operations.previewing.preview import Preview

TOO_MANY = 0.01
"""Share of the records that are looked at that may be dead letters."""


def warnings_of(what: str, topic: str, look: Preview) -> Iterator[Finding]:
    """A warning for each thing that a look at a topic shows, under the name of who reads it."""
    bad = sum(len(found) for found in look.letters.values())
    if bad > TOO_MANY * look.records:
        (reason, detail), _ = max(look.letters.items(), key=lambda item: len(item[1]))
        found = f"{bad:,} of the {look.records:,} newest records of {topic} would be dead letters ({reason}: {detail[:100]})"
        yield Finding(what, "warning", f"{found}; `tidewatch formats kafka:{topic}` shows what they are")
    for text in look.suspicions:
        yield Finding(what, "warning", f"{topic}: {text}")
