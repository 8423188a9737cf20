"""Metrics move once per batch by the batch's counts."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pipeline.operations.metrics import POLICY, REASONS, STAGES, WorkerMetrics
from pipeline.partition import core, settling
from pipeline.steps import decoding, windows
from producers.formats.base import Reason


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, {"stream": "taxi", **labels})


def test_a_batch_moves_each_counter_by_its_count() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    counts = Counter(records=10, observations=8, scored=5, anomalous=1, late=2, alerts_firing=1, unscorable=3)
    counts["rejected_not JSON"] = 2
    metrics.batch("taxi", 3, counts, {"score": 0.2, "batch": 0.3})
    metrics.batch("taxi", 3, Counter(records=4), {"score": 0.0, "batch": 0.0})
    p = {"partition": "3"}
    assert value(registry, "tidewatch_records_total", **p) == 14
    assert value(registry, "tidewatch_observations_total", **p) == 8
    assert value(registry, "tidewatch_windows_scored_total", **p) == 5
    assert value(registry, "tidewatch_anomalous_total", **p) == 1
    assert value(registry, "tidewatch_policy_total", **p, case="late") == 2
    assert value(registry, "tidewatch_alerts_total", **p, status="firing") == 1
    assert value(registry, "tidewatch_dead_letters_total", **p, reason="not JSON") == 2
    assert value(registry, "tidewatch_stage_seconds_sum", stage="score") == pytest.approx(0.2)
    assert value(registry, "tidewatch_batch_records_count") == 2


def test_records_that_expired_and_records_read_again_are_counted() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    metrics.missed("taxi", 3, 20)
    metrics.missed("taxi", 3, 5)
    metrics.batch("taxi", 3, Counter(records=7, rebuilt=7, control=1), {})
    p = {"stream": "taxi", "partition": "3"}
    assert value(registry, "tidewatch_records_missed_total", **p) == 25
    assert value(registry, "tidewatch_records_rebuilt_total", **p) == 7
    assert value(registry, "tidewatch_control_records_total", **p) == 1


def test_every_counter_is_there_with_all_its_labels_before_the_first_record() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    metrics.stream("taxi", 2)
    before = {(s.name, *sorted(s.labels.items())) for f in registry.collect() for s in f.samples}
    counts = Counter(
        dict.fromkeys(("records", "observations", "scored", "anomalous", "rebuilt", "control", *POLICY), 1)
    )
    counts += Counter(f"rejected_{reason}" for reason in REASONS)
    counts += Counter(f"alerts_{status}" for status in ("pending", "firing", "resolved"))
    counts += Counter(f"fired_{severity}" for severity in ("info", "warning", "critical"))
    for partition in (0, 1):
        metrics.batch("taxi", partition, counts, dict.fromkeys(STAGES, 0.1))
        metrics.missed("taxi", partition, 1)
    metrics.checkpoint("taxi", 0, 100, 5_000, 0.01)
    after = {(s.name, *sorted(s.labels.items())) for f in registry.collect() for s in f.samples}
    assert {name for name, *_ in after - before} == {"tidewatch_checkpoint_offset"}


def test_the_reasons_are_all_there_are() -> None:
    source = "".join(Path(module.__file__).read_text() for module in (decoding, core, settling))
    said = set(re.findall(r'(?:\), |reason = )"([a-z ]+)", ', source)) | {str(r) for r in Reason}
    assert said == set(REASONS)


def test_open_alerts_are_told_also_where_there_are_none() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    metrics.open_alerts("taxi", 0, Counter({("firing", "critical"): 2}))
    p = {"partition": "0", "status": "firing"}
    assert value(registry, "tidewatch_alerts_open", **p, severity="critical") == 2
    assert value(registry, "tidewatch_alerts_open", **p, severity="info") == 0
    metrics.open_alerts("taxi", 0, Counter())
    assert value(registry, "tidewatch_alerts_open", **p, severity="critical") == 0


def test_every_name_has_the_prefix_and_a_help_text() -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry)
    families = list(registry.collect())
    assert families
    assert all(f.name.startswith("tidewatch_") and f.documentation.endswith(".") for f in families)


def test_a_partition_given_away_leaves_no_gauge_behind() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    metrics.checkpoint("taxi", 0, 100, 5_000, 0.01)
    metrics.position("taxi", 0, 90, 120)
    metrics.series("taxi", 0, warming=3, live=4, once=0)
    metrics.waiting("taxi", 0, True, "state store")
    metrics.open_alerts("taxi", 0, Counter({("firing", "info"): 1}))
    assert value(registry, "tidewatch_lag_records", partition="0") == 30
    assert value(registry, "tidewatch_series", partition="0", state="warming") == 3
    assert value(registry, "tidewatch_checkpoint_offset", partition="0") == 100
    metrics.forget("taxi", 0)
    metrics.forget("taxi", 7)
    left = [s.name for f in registry.collect() if f.type == "gauge" for s in f.samples]
    assert left == []


def test_all_counts_of_the_time_policy_have_their_case() -> None:
    assert set(POLICY) == set(windows._COUNTS)


def test_event_time_and_how_many_clocks_are_far_from_it() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    metrics.clocks("taxi", 3, 0, [])
    assert value(registry, "tidewatch_event_time_seconds", partition="3") is None
    metrics.clocks("taxi", 3, 1_500, [("x", 10**9), ("y", -(10**9))])
    assert value(registry, "tidewatch_event_time_seconds", partition="3") == 1.5
    assert value(registry, "tidewatch_clocks_apart", partition="3") == 2
    for ready in (None, 0.25):
        metrics.shadow("taxi", 3, ready)
        assert value(registry, "tidewatch_shadow_ready_ratio", partition="3") == ready
    metrics.forget("taxi", 3)
    assert value(registry, "tidewatch_clocks_apart", partition="3") is None
    assert value(registry, "tidewatch_shadow_ready_ratio", partition="3") is None
