"""`tidewatch alerts` as a process of its own, on the embedded broker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from alert_logs import Log, scores, stream
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.commands.alerts import alert_topic
from pipeline.errors import SettingsError
from pipeline.publisher import KafkaPublisher
from pipeline.records import decode_alert
from pipeline.settings import KafkaSettings, Settings

PROJECT = Path(__file__).parents[3]
TOPIC = "alerts-verb"


def sent():
    rows = scores("a/cpu", [5.0, 0.1, 0.1, 0.1], observed=(0.25,), expected=(0.5,)) + scores(
        "b/[red]", [7.0], start=60, expected=(float("nan"),)
    )
    return Log(stream()).run(rows)


async def publish(brokers, messages):
    out = KafkaPublisher(KafkaSettings(brokers=brokers))
    await asyncio.gather(*[out.send(m.topic, m.key, m.value, m.headers) for m in messages])
    await out.close()


@pytest.fixture(scope="module")
def brokers(embedded_kafka):
    admin = AdminClient({"bootstrap.servers": embedded_kafka})
    admin.create_topics([NewTopic(TOPIC, 2, 1)])[TOPIC].result(20)
    messages = [a.message(TOPIC) for a in sent()]
    asyncio.run(publish(embedded_kafka, messages + messages))
    return embedded_kafka


def command(brokers, *arguments):
    return [sys.executable, "-m", "pipeline", "alerts", "--brokers", brokers, "--topic", TOPIC, *arguments]


def environment():
    return os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}


def output(brokers, *arguments):
    done = subprocess.run(
        command(brokers, *arguments), env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.embedded
def test_json_is_every_record_once_a_line_each(brokers):
    records = [decode_alert(line.encode()) for line in output(brokers, "--json").splitlines()]
    assert sorted(records, key=lambda a: (a.series, a.sequence)) == sent()
    resolved = output(brokers, "--json", "--status", "resolved", "--series", "a/*").splitlines()
    assert [json.loads(line)["status"] for line in resolved] == ["resolved"]


@pytest.mark.embedded
def test_the_table_has_a_row_for_each_alert_with_its_newest_state(brokers):
    lines = output(brokers).splitlines()
    (first,) = [line for line in lines if "a/cpu" in line]
    night = "2014-07-01 00:00:00"
    assert " ".join(first.split()) == f"resolved warning taxi a/cpu {night} {night} 5.0 0.25 0.5"
    (second,) = [line for line in lines if "b/[red]" in line]
    assert " ".join(second.split()) == "firing critical taxi b/[red] 2014-07-01 01:00:00 7.0 1 -"
    assert "a/cpu" not in output(brokers, "--status", "firing")


@pytest.mark.embedded
def test_following_goes_on_until_ctrl_c(brokers):
    process = subprocess.Popen(
        command(brokers, "--follow"), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        lines = [process.stdout.readline() for _ in sent()]
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, rest, errors) == (130, "", "")
    assert sum("score" in line for line in lines) == len(sent())
    assert any("since 2014-07-01 00:00:00" in line for line in lines)


def test_several_alert_topics_must_be_chosen_from(tmp_path):
    streams = [
        {"name": name, "model": tmp_path / "m", "alert_topic": topic} for name, topic in [("a", "x"), ("b", "y")]
    ]
    with pytest.raises(SettingsError, match=r"several alert topics \(x, y\); choose one with --topic"):
        alert_topic(Settings(streams=streams))
    assert alert_topic(Settings(streams=streams[:1])) == "x"
    assert alert_topic(Settings()) == "tidewatch.alerts"
