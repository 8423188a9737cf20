"""A stream on real Kafka that a worker watches, with an alert that fires, for those who look at it on the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from operated_stream import OperatedStream, Watched, observations, write_model

from pipeline.alerts.subscribe import AlertSubscriber
from pipeline.embedded.servers import start_redis
from pipeline.settings import load_settings


@pytest.fixture
def watched(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """300 observations, the last of them anomalous; the settings are in the environment."""
    with ExitStack() as running:
        redis = running.enter_context(start_redis(tmp_path / "redis"))
        stream = OperatedStream(tmp_path, kafka, redis.url, write_model(tmp_path / "quiet.model"), running=running)
        stream.create_topic()
        worker = stream.start()
        stream.send(*observations(0, 300, 299))
        stream.wait(lambda: bool(stream.alerts()), worker)
        for name, value in stream.environment.items():
            monkeypatch.setenv(name, value)
        settings = load_settings(None)
        yield Watched(
            stream,
            worker,
            settings,
            AlertSubscriber(settings.kafka, f"{stream.name}.alerts", start="beginning"),
        )
