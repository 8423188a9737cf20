"""`tidewatch alerts` as a process of its own, on the embedded broker."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from alert_logs import Log, scores, stream
from confluent_kafka.admin import AdminClient, NewTopic
from rich.cells import cell_len
from rich.console import Console

from pipeline.alerts.records import decode_alert
from pipeline.commands.alerts import FIELDS, alert_topic, tab_separated, table
from pipeline.errors import SettingsError
from pipeline.kafka.publisher import KafkaPublisher
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
def test_into_a_pipe_each_alert_is_a_line_of_tabs_with_its_newest_state(brokers):
    first, second = (line.split("\t") for line in output(brokers).splitlines())
    newest = {a.series: a for a in sent()}
    night = "2014-07-01T00:00:00.000Z"
    ended = newest["a/cpu"]
    assert dict(zip(FIELDS, first, strict=True)) == {
        "id": ended.id, "sequence": str(ended.sequence), "status": "resolved", "severity": "warning", "stream": "taxi",
        "series": "a/cpu", "starts_at": night, "ends_at": night, "as_of": ended.as_of, "reason": ended.reason,
        "peak_score": "5.0", "score": "0.1", "observed": "0.25", "expected": "0.5",
        "change": ended.change, "kind": ended.kind, "direction": ended.direction or "",
        "deviation": str(ended.deviation), "deviation_percent": str(ended.deviation_percent), "summary": ended.summary,
    }  # fmt: skip
    assert second[FIELDS.index("series")] == "b/[red]"
    assert second[FIELDS.index("ends_at")] == second[FIELDS.index("expected")] == ""
    assert "a/cpu" not in output(brokers, "--status", "firing")


@pytest.mark.embedded
def test_severity_since_limit_and_id_choose(brokers):
    both = output(brokers).splitlines()
    assert output(brokers, "--severity", "critical").splitlines() == both[1:]
    assert output(brokers, "--limit", "1").splitlines() == both[1:]
    assert output(brokers, "--since", "2014-07-01T01:00Z").splitlines() == both[1:]
    assert output(brokers, "--since", "1h") == ""
    assert output(brokers, "--id", both[0][:8]).splitlines() == both[:1]
    assert len(output(brokers, "--json", "--limit", "2").splitlines()) == 2
    assert len(output(brokers, "--follow", "--limit", "3").splitlines()) == 3
    for wrong in (["--since", "yesterday"], ["--since", "1e9"], ["--limit", "-1"], ["--severity", "bad"], ["--new"]):
        done = subprocess.run(
            command(brokers, *wrong), env=environment(), capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert wrong[0] in done.stderr


@pytest.mark.embedded
def test_a_reader_that_goes_away_ends_it_quietly(brokers):
    for arguments in (["--json"], [], ["--follow"]):
        process = subprocess.Popen(
            command(brokers, *arguments), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        process.stdout.close()
        try:
            assert (process.wait(timeout=30), process.stderr.read()) == (0, "")
        finally:
            process.kill()


def alert(series="host-1/cpu", digest="1", **changed):
    (made, *_) = sent()
    return msgspec.structs.replace(made, series=series, id=digest.ljust(32, "0"), **changed)


def drawn(width, rows):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(table(rows, width, {a.id: a for a in rows}))
    return [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_a_table_has_the_columns_that_fit_and_none_that_cannot_be_read(width):
    long = "telemetry.production.eu-west-1.checkout-service.request-duration-seconds"
    rows = [alert(long, "a"), alert("köln/温度", "b"), alert("x[/red]", "c", severity="critical")]
    head, *lines = drawn(width, rows)
    assert len(lines) == 3
    assert all(cell_len(line) <= width for line in [head, *lines])
    assert all(a.status in line for a, line in zip(rows, lines, strict=True))
    if width >= 60:
        assert {"id", "status", "series", "starts at"} <= set(re.split(r" {2,}", head))
        assert [line[:8] for line in lines] == ["a0000000", "b0000000", "c0000000"]
        assert "2014-07-01 00:00:00" in lines[0]
        assert "köln/温度" in lines[1]
        assert "x[/red]" in lines[2]
    if width >= 120:
        assert {"severity", "stream", "peak", "ends at"} <= set(re.split(r" {2,}", head))
    # A cut name says so, and no other cell is cut.
    assert sum(line.count("…") for line in lines) == (40 <= width < 200)


def test_a_short_id_is_long_enough_to_tell_alerts_apart_and_whole_where_there_is_room():
    rows = [alert("a", "0123456789a"), alert("b", "0123456789b"), alert("c", "f")]
    assert [line.split()[0] for line in drawn(80, rows)[1:]] == ["0123456789a", "0123456789b", "f0000000000"]
    assert [line.split()[0] for line in drawn(250, rows)[1:]] == [a.id for a in rows]


def test_a_line_into_a_pipe_stays_one_line():
    line = tab_separated(alert("a\tb\nc\r\x1b[31m", observed=[None, 1.5], expected=None))
    assert line.split("\t")[FIELDS.index("series")] == "a?b?c??[31m"
    assert line.split("\t")[FIELDS.index("observed")] == ",1.5"
    assert len(line.split("\t")) == len(FIELDS)
    assert line.isprintable() or set(line) - {"\t"} == set(line.replace("\t", ""))


@pytest.mark.embedded
def test_following_goes_on_until_ctrl_c(brokers):
    process = subprocess.Popen(
        command(brokers, "--follow"), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        lines = [process.stdout.readline() for _ in sent()]
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, rest, errors) == (130, "", "")
    assert {len(line.split("\t")) for line in lines} == {len(FIELDS)}
    assert len({tuple(line.split("\t")[:2]) for line in lines}) == len(sent())


def test_several_alert_topics_must_be_chosen_from(tmp_path):
    streams = [
        {"name": name, "model": tmp_path / "m", "alert_topic": topic} for name, topic in [("a", "x"), ("b", "y")]
    ]
    with pytest.raises(SettingsError, match=r"several alert topics \(x, y\); choose one with --topic"):
        alert_topic(Settings(streams=streams))
    assert alert_topic(Settings(streams=streams[:1])) == "x"
    assert alert_topic(Settings()) == "tidewatch.alerts"
