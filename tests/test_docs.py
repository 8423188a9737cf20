"""The documentation says what is true: generated pages are current, links lead somewhere, commands parse."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from pipeline.settings import Settings, StreamSettings
from pipeline.settings_reference import reference

PROJECT = Path(__file__).parents[1]


def test_the_settings_page_is_current() -> None:
    assert (PROJECT / "docs/settings.md").read_text() == reference(), "run `make docs`"


def test_every_setting_has_its_sentence() -> None:
    def fields(table: type[BaseModel], path: str = "") -> list[str]:
        bare = []
        for name, field in table.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                bare += fields(inner, f"{path}{name}.")
            elif not (field.description or "").endswith("."):
                bare.append(f"{path}{name}")
        return bare

    assert [f for f in fields(Settings) if f != "streams"] + fields(StreamSettings, "streams.") == []
