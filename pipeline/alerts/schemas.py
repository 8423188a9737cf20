"""JSON Schemas of what is published, written to docs/schemas: `python -m pipeline.alerts.schemas docs/schemas`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from pipeline.alerts.records import Alert, ErrorHeaders, Score

_TITLES = {
    "alert.v1": (Alert, "Tidewatch alert: value of a message on the alert topic"),
    "score.v1": (Score, "Tidewatch score: value of a message on a score topic"),
    "dead-letter-headers.v1": (ErrorHeaders, "Tidewatch dead letter: its headers, after the prefix tidewatch.error."),
}


def schemas() -> dict[str, dict[str, Any]]:
    """File name -> JSON Schema (2020-12) of each published record."""
    out = {}
    for name, (kind, title) in _TITLES.items():
        (body,), shared = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
        own = shared.pop(kind.__name__)
        assert body == {"$ref": f"#/$defs/{kind.__name__}"}
        out[f"{name}.json"] = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **own,
            "title": title,
            **({"$defs": shared} if shared else {}),
        }
    return out


def main() -> None:
    """Write all schemas into the folder that is named."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schemas")
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        (folder / name).write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
