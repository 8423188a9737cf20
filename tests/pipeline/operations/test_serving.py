"""The worker's server answers what it has, over real HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter

import pytest
from prometheus_client import CollectorRegistry

from pipeline.errors import SettingsError
from pipeline.operations.health import Health
from pipeline.operations.metrics import WorkerMetrics
from pipeline.operations.serving import serve


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_server_answers_metrics_health_and_nothing_else() -> None:
    clock, registry = _Clock(), CollectorRegistry()
    metrics = WorkerMetrics(registry, Health(patience=60, clock=clock))
    with serve(registry, metrics.health, port=0) as port:
        metrics.batch("taxi", 0, Counter(records=3), {})
        status, text = get(port, "/metrics")
        assert status == 200
        assert 'tidewatch_records_total{partition="0",stream="taxi"} 3.0' in text
        assert get(port, "/healthz") == (200, '{"status":"ok"}')
        metrics.position("taxi", 0, 3, 10)
        clock.now = 61
        status, text = get(port, "/healthz?verbose=1")
        assert (status, json.loads(text)["status"]) == (503, "degraded")
        assert get(port, "/table")[0] == 404
        with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port} cannot be bound .* worker\.metrics_port"):
            serve(registry, metrics.health, port=port).__enter__()
    with pytest.raises(OSError, match="refused"):
        get(port, "/healthz")
