"""JSON Schema of the lines in the topic of decisions: `python -m pipeline.partition.deciding.schemas docs/schemas`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from pipeline.partition.deciding.decisions import Entry

NAME = "decision.v1.json"


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a line."""
    (body,), shared = msgspec.json.schema_components([Entry], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tidewatch decisions: value of a message on the topic of decisions",
        **body,
        "$defs": shared,
    }


if __name__ == "__main__":
    Path(sys.argv[1], NAME).write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf-8")
