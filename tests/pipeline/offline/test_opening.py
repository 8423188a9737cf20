"""What a topic is read as: as the stream reads it, or the intake that feeds one from it."""

from __future__ import annotations

from pipeline.offline.opening import stream_of
from pipeline.settings import FieldSettings, Settings


def test_a_raw_topic_is_read_as_its_intake_does_with_the_streams_counters() -> None:
    settings = Settings.model_validate({
        "streams": [{"name": "a", "model": "m"}, {"name": "b", "model": "m", "counter": ["net_*"]}],
        "intake": [{"stream": "b", "topics": ["raw-*"], "format": "json", "fields": {"time": "made"}}],
    })  # fmt: skip

    def read(topic: str) -> tuple[str, str, tuple[str, ...], FieldSettings] | None:
        found = stream_of(settings, topic)
        return None if found is None else (found.name, found.format, found.counter, found.fields)

    assert read("a.observations") == ("a", "native", (), FieldSettings())
    assert read("b.observations") == ("b", "native", ("net_*",), FieldSettings())
    assert read("raw-1") == ("b", "json", ("net_*",), FieldSettings(time="made"))
    assert read("other") is None
