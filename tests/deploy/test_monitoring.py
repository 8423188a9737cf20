"""What Prometheus and Grafana are given speaks of metrics that a worker has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pipeline.intake.metrics import IntakeMetrics
from pipeline.operations.metrics import WorkerMetrics

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus/rules.yml"
DASHBOARD = DEPLOY / "grafana/dashboards/tidewatch.json"


def known() -> set[str]:
    """Names as they stand in a scrape."""
    registry = CollectorRegistry()
    WorkerMetrics(registry)
    IntakeMetrics(registry)
    names = set()
    for metric in registry.collect():
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(metric.type, ("",))
        names |= {metric.name + end for end in ends}
    return names


def unknown(texts: Iterable[str]) -> set[str]:
    return {name for text in texts for name in re.findall(r"\btidewatch_\w+", text)} - known()


def test_rules_and_dashboard_ask_only_for_metrics_that_there_are() -> None:
    expressions = [line for line in RULES.read_text().splitlines() if "description:" not in line]
    dashboard = json.loads(DASHBOARD.read_text())
    targets = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    assert len(targets) > 15
    assert unknown(expressions) == set()
    assert unknown(targets) == set()
    assert unknown(["rate(tidewatch_records[5m])"]) == {"tidewatch_records"}


def test_the_dashboard_asks_the_data_source_that_is_provisioned() -> None:
    provisioned = (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    sources = {p["datasource"]["uid"] for p in json.loads(DASHBOARD.read_text())["panels"] if "datasource" in p}
    assert sources == {"prometheus"}
    assert "uid: prometheus\n" in provisioned


def promtool(*arguments: str, cwd: Path) -> str:
    program = shutil.which("promtool")
    if program is None:
        missing = "needs promtool (apt install prometheus)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    done = subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_reads_its_configuration_and_rules(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/token").write_text("the containers' volume holds it")
    (tmp_path / "rules.yml").write_text(RULES.read_text())
    config = (DEPLOY / "prometheus/prometheus.yml").read_text()
    assert "/secrets/metrics/token" in config
    (tmp_path / "prometheus.yml").write_text(config.replace("/secrets/", f"{tmp_path}/"))
    assert "22 rules found" in promtool("check", "config", "prometheus.yml", cwd=tmp_path)


# A partition with lag that stands; one with lag that moves; one without lag; a store that is away; half of the records broken.
# Stream t: nothing comes, and of its three partitions worker a reads two and worker b none; s is not silent.
# Records that expired before a worker's start, while it ran, and long ago.
# Intake i stands in two processes, of which one stands by; j cannot run; k goes on, falls behind, and half of its records are broken.
CASES = """
rule_files: [RULES]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'up{job="tidewatch", instance="a"}', values: '1x20'}
      - {series: 'tidewatch_lag_records{stream="s", partition="0"}', values: '7x20'}
      - {series: 'tidewatch_position{stream="s", partition="0"}', values: '100x20'}
      - {series: 'tidewatch_lag_records{stream="s", partition="1"}', values: '7x20'}
      - {series: 'tidewatch_position{stream="s", partition="1"}', values: '100+10x20'}
      - {series: 'tidewatch_lag_records{stream="s", partition="2"}', values: '0x20'}
      - {series: 'tidewatch_position{stream="s", partition="2"}', values: '100x20'}
      - {series: 'tidewatch_store_waiting{stream="s", partition="1"}', values: '1x20'}
      - {series: 'tidewatch_registry_waiting{stream="t", partition="0"}', values: '1x20'}
      - {series: 'tidewatch_series_away_ratio{stream="s", partition="0"}', values: '0x20'}
      - {series: 'tidewatch_series_away_ratio{stream="s", partition="1"}', values: '0.75x20'}
      - {series: 'tidewatch_series_away_ratio{stream="t", partition="0"}', values: '0.05x20'}
      - {series: 'tidewatch_records_missed_total{stream="s", partition="0", instance="a"}', values: '_x5 40x60'}
      - {series: 'tidewatch_records_missed_total{stream="s", partition="1", instance="a"}', values: '0x9 90x60'}
      - {series: 'tidewatch_records_missed_total{stream="s", partition="2", instance="a"}', values: '0x60'}
      - {series: 'tidewatch_records_total{stream="s", partition="0"}', values: '0+100x20'}
      - {series: 'tidewatch_records_total{stream="t", partition="0"}', values: '5x40'}
      - {series: 'tidewatch_lag_records{stream="t", partition="0"}', values: '0x40'}
      - {series: 'tidewatch_topic_partitions{stream="t", instance="a"}', values: '3x40'}
      - {series: 'tidewatch_topic_partitions{stream="t", instance="b"}', values: '3x40'}
      - {series: 'tidewatch_partitions_open{stream="t", instance="a"}', values: '2x40'}
      - {series: 'tidewatch_partitions_open{stream="t", instance="b"}', values: '0x40'}
      - {series: 'tidewatch_topic_partitions{stream="s", instance="a"}', values: '3x40'}
      - {series: 'tidewatch_partitions_open{stream="s", instance="a"}', values: '3x40'}
      - {series: 'tidewatch_dead_letters_total{stream="s", partition="0", reason="syntax"}', values: '0+50x20'}
      - {series: 'tidewatch_intake_failing{intake="i", instance="a"}', values: '0x20'}
      - {series: 'tidewatch_intake_sources{intake="i", instance="a"}', values: '2x20'}
      - {series: 'tidewatch_intake_failing{intake="i", instance="b"}', values: '1x20'}
      - {series: 'tidewatch_intake_sources{intake="i", instance="b"}', values: '0x20'}
      - {series: 'tidewatch_intake_lag_records{intake="i", topic="r", partition="0"}', values: '4x20'}
      - {series: 'tidewatch_intake_position{intake="i", topic="r", partition="0"}', values: '9x20'}
      - {series: 'tidewatch_intake_lag_records{intake="i", topic="r", partition="1"}', values: '3x20'}
      - {series: 'tidewatch_intake_position{intake="i", topic="r", partition="1"}', values: '9x20'}
      - {series: 'tidewatch_intake_failing{intake="j", instance="a"}', values: '1x20'}
      - {series: 'tidewatch_intake_sources{intake="j", instance="a"}', values: '0x20'}
      - {series: 'tidewatch_intake_sources{intake="k", instance="a"}', values: '1x30'}
      - {series: 'tidewatch_intake_lag_records{intake="k", topic="r", partition="0"}', values: '200000+600x30'}
      - {series: 'tidewatch_intake_position{intake="k", topic="r", partition="0"}', values: '0+100x30'}
      - {series: 'tidewatch_intake_records_total{intake="k", topic="r", partition="0"}', values: '0+100x30'}
      - {series: 'tidewatch_intake_dead_letters_total{intake="k", reason="undecodable"}', values: '0+50x30'}
      - {series: 'tidewatch_intake_records_missed_total{intake="k", topic="r", partition="0"}', values: '_x5 40x60'}
    alert_rule_test:
      - alertname: TidewatchIntakeFailing
        eval_time: 15m
        exp_alerts:
          - exp_labels: {severity: critical, intake: j}
            exp_annotations:
              summary: Intake j cannot run.
              description: Nothing comes into its stream; raw records wait in Kafka. /healthz and the log of its process say why.
      - alertname: TidewatchIntakeUnread
        eval_time: 15m
        exp_alerts:
          - exp_labels: {severity: critical, intake: j}
            exp_annotations:
              summary: Nobody reads the raw topics of intake j.
              description: No topic matches, or its process waits for the group; the log says which.
      - alertname: TidewatchIntakeStands
        eval_time: 15m
        exp_alerts:
          - exp_labels: {severity: critical, intake: i}
            exp_annotations:
              summary: Intake i stands, with 7 raw records waiting.
              description: /healthz of its process says why; most often a broker or the schema registry does not answer.
      - alertname: TidewatchIntakeLagGrows
        eval_time: 25m
        exp_alerts:
          - exp_labels: {severity: warning, intake: k}
            exp_annotations:
              summary: Intake k is 10 raw records a second too slow.
              description: Run it alone (`tidewatch intake`, worker.intake = false), or set share where each series lies in one raw partition.
      - alertname: TidewatchIntakeRecordsMissed
        eval_time: 8m
        exp_alerts:
          - exp_labels: {severity: critical, intake: k, topic: r, partition: "0"}
            exp_annotations:
              summary: Raw records of r[0] expired before intake k read them.
              description: About 40 of them are lost to it. Raise retention.ms of that topic.
      - alertname: TidewatchIntakeDeadLetters
        eval_time: 15m
        exp_alerts:
          - exp_labels: {severity: warning, intake: k, reason: undecodable}
            exp_annotations:
              summary: "50% of intake k's raw records become dead letters: undecodable."
              description: The intake's dead-letter topic holds them as they came, with the reason in their headers.
      - alertname: TidewatchPartitionStands
        eval_time: 15m
        exp_alerts:
          - exp_labels: {severity: critical, stream: s, partition: "0"}
            exp_annotations:
              summary: "s[0] stands, with 7 records waiting."
              description: /healthz of its worker says why; most often Redis or the broker does not answer.
      - alertname: TidewatchSeriesNotAtHome
        eval_time: 15m
        exp_alerts:
          - exp_labels: {severity: warning, stream: s}
            exp_annotations:
              summary: Series of s do not lie in the partition of their key.
              description: A series that lies in pieces is judged in pieces; /healthz and the log of its worker say why, and what mends it.
      - alertname: TidewatchSchemaRegistryAway
        eval_time: 3m
        exp_alerts:
          - exp_labels: {severity: critical, stream: t}
            exp_annotations:
              summary: Workers of t wait for the schema registry.
              description: Nothing is lost; scoring goes on when it answers. The worker's log says what is wrong.
      - alertname: TidewatchStateStoreAway
        eval_time: 15m
        exp_alerts:
          - exp_labels: {severity: critical, stream: s}
            exp_annotations:
              summary: Workers of s wait for Redis.
              description: Nothing is lost; scoring goes on when Redis answers.
      - alertname: TidewatchDeadLetters
        eval_time: 15m
        exp_alerts:
          - exp_labels: {severity: warning, stream: s, reason: syntax}
            exp_annotations:
              summary: "50% of s's records become dead letters: syntax."
              description: The dead-letter topic holds them as they came, with the reason in their headers.
      - {alertname: TidewatchRecordsMissed, eval_time: 4m, exp_alerts: []}
      - alertname: TidewatchRecordsMissed
        eval_time: 8m
        exp_alerts:
          - exp_labels: {severity: critical, stream: s, partition: "0"}
            exp_annotations:
              summary: Records of s[0] expired before they were read.
              description: About 40 of them are lost to it. Raise retention.ms, or add workers.
      - alertname: TidewatchRecordsMissed
        eval_time: 30m
        exp_alerts:
          - exp_labels: {severity: critical, stream: s, partition: "0"}
            exp_annotations:
              summary: Records of s[0] expired before they were read.
              description: About 40 of them are lost to it. Raise retention.ms, or add workers.
          - exp_labels: {severity: critical, stream: s, partition: "1"}
            exp_annotations:
              summary: Records of s[1] expired before they were read.
              description: About 90 of them are lost to it. Raise retention.ms, or add workers.
      - {alertname: TidewatchRecordsMissed, eval_time: 50m, exp_alerts: []}
      - {alertname: TidewatchNoInput, eval_time: 4m, exp_alerts: []}
      - alertname: TidewatchNoInput
        eval_time: 21m
        exp_alerts:
          - exp_labels: {severity: warning, stream: t}
            exp_annotations:
              summary: Nothing comes in on stream t.
              description: No record for 20 minutes and none waits in Kafka, so its producers have stopped or write elsewhere. Series that are waited for (absent_after) are told as no data where the stream was live.
      - alertname: TidewatchPartitionUnread
        eval_time: 15m
        exp_alerts:
          - exp_labels: {severity: critical, stream: t}
            exp_annotations:
              summary: Of t's partitions only 2 are read.
              description: No worker has opened the others. The workers' logs say what they wait for; most often Redis or the broker does not answer.
      - alertname: TidewatchWorkerIdle
        eval_time: 15m
        exp_alerts:
          - exp_labels: {severity: warning, instance: b}
            exp_annotations:
              summary: Worker b reads no partition.
              description: There are more workers than partitions, or it cannot join the group or open what it was given; its log says which.
      - {alertname: TidewatchWorkerDown, eval_time: 15m, exp_alerts: []}
      - {alertname: TidewatchNoWorker, eval_time: 15m, exp_alerts: []}
"""


def test_the_rules_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    (tmp_path / "cases.yml").write_text(CASES.replace("RULES", str(RULES)))
    assert "SUCCESS" in promtool("test", "rules", "cases.yml", cwd=tmp_path)
