"""What a topic is read as: as the stream reads it, or the intake that feeds one from it."""

from __future__ import annotations

from typing import Any

from pipeline.offline.opening import form_of
from pipeline.settings import FieldSettings, Settings


def test_a_raw_topic_is_read_as_its_intake_does_with_the_streams_counters() -> None:
    settings = Settings.model_validate({
        "streams": [{"name": "a", "model": "m"}, {"name": "b", "model": "m", "counter": ["net_*"]}],
        "intake": [{"stream": "b", "topics": ["raw-*"], "format": "json", "fields": {"time": "made"}, "drop_labels": ["pod"]}],
    })  # fmt: skip

    def read(topic: str) -> tuple[str, dict[str, Any]] | None:
        found = form_of(settings, topic)
        return None if found is None else (found[0].name, found[1])

    own = {"format": "native", "counter": (), "gauge": (), "fields": FieldSettings().chosen(), "named": ()}
    raw = {"format": "json", "fields": FieldSettings(time="made").chosen(), "drop_labels": ("pod",), "series": ""}
    assert read("a.observations") == ("a", own)
    assert read("b.observations") == ("b", own | {"counter": ("net_*",)})
    assert read("raw-1") == ("b", own | {"counter": ("net_*",)} | raw)
    assert read("other") is None
