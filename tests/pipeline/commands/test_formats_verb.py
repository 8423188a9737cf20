"""What messages would become, and settings for a topic that is there."""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from pipeline.cli import create_cli
from pipeline.offline.opening import open_data
from pipeline.operations.previewing.preview import Preview
from pipeline.steps.batches.records import RecordBatch
from producers.datasets import Layout
from producers.records import Observation, encode

T = 1_714_564_800_000
INFLUX = b'cpu,host=a usage=3.1,state="x" 1714564800000000000\ncpu,host=b usage=x 1714564800000000000\nnet,host=a n=5i 1714564800000000000\n'


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(create_cli(), list(arguments))


def told(run, *arguments: str) -> list[dict[str, object]]:
    done = run("formats", *arguments, "--json")
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_file_of_influx_lines_is_one_message(run, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(INFLUX)
    head, *series, letter = told(run, "in")
    assert head == {"messages": 1, "formats": {"influx": 1}, "observations": 2, "left_out": {"text field": 1}}
    assert [(s["series"], s["kind"], s["value"]) for s in series] == [
        ('cpu_usage{host="a"}', "gauge", 3.1), ('net_n{host="a"}', "gauge", 5.0),
    ]  # fmt: skip
    assert (letter["dead_letters"], letter["reason"], letter["first"]) == (1, "wrong type", 0)
    text = run("formats", "in").stdout
    assert 'set format = "influx"' in text
    assert "dead letters: 1 wrong type: the value 'x' is neither number" in text


def test_lines_of_json_are_a_message_each_and_of_several_formats_auto_is_to_be_set(run, tmp_path: Path) -> None:
    lines = [
        encode(Observation("a", T, 1.0)),
        b'{"fields":{"v":1},"name":"m","timestamp":1714564800}',
        b'{"timestamp":"2024-05-01T12:00:00Z","value":"5","name":"http_requests_total","labels":{}}',
        b"{",
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    head, *rest = told(run, "in.jsonl")
    assert (head["messages"], head["formats"]) == (4, {"native": 2, "telegraf": 1, "prometheus": 1})
    assert [(r["series"], r["kind"]) for r in rest if "series" in r] == [
        ("a", "gauge"), ("http_requests_total", "counter"), ("m_v", "gauge"),
    ]  # fmt: skip
    assert 'set format = "auto"' in run("formats", "in.jsonl").stdout
    assert told(run, "in.jsonl", "--format", "telegraf")[0]["observations"] == 1


def test_a_binary_message_with_line_breaks_in_it_is_whole(run, tmp_path: Path) -> None:
    from producers.formats.remote_write import WriteRequest

    request = WriteRequest()
    series = request.timeseries.add()
    series.labels.add(name="__name__", value="up\nand\ndown")
    series.samples.add(value=1.0, timestamp=T)
    import cramjam

    (tmp_path / "in.bin").write_bytes(bytes(cramjam.snappy.compress_raw(request.SerializeToString())))
    assert told(run, "in.bin")[0]["formats"] == {"remote-write": 1}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("formats", "missing"), "there is no file missing; if it is a topic, write kafka:missing"),
        (("formats", "in", "--format", "excel"), "unknown input format 'excel'; choose one of native"),
        (("init", "topic"), "init reads a topic: write kafka:topic"),
    ],
)
def test_what_cannot_be_looked_at_is_told(run, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    (tmp_path / "in").write_bytes(INFLUX)
    done = run(*arguments)
    assert done.exit_code != 0
    assert says in str(done.exception)


def test_keys_that_lead_elsewhere_are_told_before_a_stream_reads_them() -> None:
    seen = Preview("native", partitions=4)
    names = [f"s{i}" for i in range(40)]
    values = [encode(Observation(n, T + i, 1.0)) for i, n in enumerate(names)]
    for p in range(4):
        seen.take(RecordBatch("t", p, np.arange(40), 40, [None] * 40, values, np.zeros(40, np.int64)))
    assert seen.verdict is not None
    assert seen.verdict.kind == "keyless"
    assert {len(s.partitions) for s in seen.series.values()} == {4}


@pytest.mark.kafka
def test_settings_are_written_for_a_topic_that_is_there(kafka: str, run, tmp_path: Path) -> None:
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    admin.create_topics([NewTopic("Web.Metrics.observations", 2, 1)])["Web.Metrics.observations"].result()
    producer = Producer({"bootstrap.servers": kafka, "log_level": 0, "partitioner": "murmur2_random"})
    for i in range(50):
        producer.produce("Web.Metrics.observations", b"m value=%d %d" % (i % 7, (T + i) * 10**6), key="m")
    assert producer.flush(20) == 0
    (line,) = (line for line in told(run, "kafka:Web.Metrics.observations", "--brokers", kafka) if "series" in line)
    assert (line["series"], line["observations"], line["keys"]) == ("m", 50, ["m"])
    done = run("init", "kafka:Web.Metrics.observations", "--brokers", kafka)
    assert done.exit_code == 0, done.output
    assert "format influx, 1 series seen" in done.stdout
    written = tomllib.loads((tmp_path / "tidewatch.toml").read_text())
    stream = {
        "name": "web-metrics",
        "topic": "Web.Metrics.observations",
        "format": "influx",
        "model": "web-metrics.tidewatch",
    }
    assert written == {"kafka": {"brokers": kafka}, "streams": [stream]}
    assert "exists already" in str(run("init", "kafka:Web.Metrics.observations", "--brokers", kafka).exception)
    assert "no-such" in str(run("formats", "kafka:no-such", "--brokers", kafka).exception)


@pytest.mark.kafka
def test_of_records_without_a_time_kafkas_is_taken_where_that_is_asked_for(
    kafka: str, run, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    topic = new_topic(1, **{"retention.ms": "-1"})  # else what is of 2024 is gone at once
    producer = Producer({"bootstrap.servers": kafka, "log_level": 0})
    for i in range(50):
        producer.produce(topic, b'{"host": "a", "temp": %d}' % (i % 7), key="a", timestamp=T + 1000 * i)
    assert producer.flush(20) == 0
    told_so = str(run("init", f"kafka:{topic}", "--brokers", kafka).exception)
    assert "`timestamp` is missing. If no field of them is the time, Kafka's will do: --record-time; see" in told_so
    assert run("init", f"kafka:{topic}", "--brokers", kafka, "--record-time").exit_code == 0
    written = tomllib.loads((tmp_path / "tidewatch.toml").read_text())
    assert written["streams"][0]["fields"] == {"record_time": True}
    (line,) = (line for line in told(run, f"kafka:{topic}") if "series" in line)
    assert (line["series"], line["observations"], line["timestamp"]) == ('temp{host="a"}', 50, T + 49_000)


def test_objects_of_ones_own_fields_are_shown_the_way(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text('{"ts": 1714564800000, "host": "a", "cpu": 1}\n{"ts": 1714564801000, "host": "a", "cpu": 2}\n')
    seen = CliRunner().invoke(create_cli(), ["formats", str(file)]).output
    assert "read as objects of your own fields they would become 2 observations of 1 series: --format json" in seen
    assert "set format" not in seen
    seen = CliRunner().invoke(create_cli(), ["formats", str(file), "--format", "json"]).output
    assert 'read with format = "json"' in seen
    assert 'cpu{host="a"}' in seen


def test_objects_that_look_like_a_known_format_are_shown_the_way_too(run, tmp_path: Path) -> None:
    (tmp_path / "own").write_text('{"ts": 1714564800, "host": "a", "metrics": {"cpu": 1, "mem": 2}}')
    assert "they would become 2 observations of 2 series: --format json" in run("formats", "own").stdout
    (tmp_path / "two").write_bytes(b'[{"series":"a"}]')
    assert "--format json" not in run("formats", "two").stdout


def test_what_is_hardly_meant_is_told(run, tmp_path: Path) -> None:
    (tmp_path / "net").write_text("".join(f"net,host=a recv={10**9 + 7 * i}i {T + 10_000 * i}\n" for i in range(40)))
    assert 'warning: values that only ever rise: net_recv; if they count, set the stream\'s counter = ["net_recv"]' in (
        text := run("formats", "net").stdout
    )
    assert 'set format = "influx"' in text
    assert [r["warning"][:21] for r in told(run, "net") if "warning" in r] == ["values that only ever"]


@pytest.mark.kafka
def test_a_topic_without_keys_gets_an_intake_and_its_counters_are_named(kafka: str, run, tmp_path: Path) -> None:
    """What `init` writes is not what would be judged in pieces; what its verbs then say is what the intake makes of it."""
    topic = f"keyless.of.init-{time.time_ns()}"
    name = topic.replace(".", "-")
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    admin.create_topics([NewTopic(topic, 3, 1)])[topic].result()
    producer = Producer({"bootstrap.servers": kafka, "log_level": 0})
    for i in range(120):
        line = f"net,host=a,pod=p{i // 40} recv={5 * i}i,load={i % 7} {(T + 1000 * i) * 10**6}"
        producer.produce(topic, line, partition=i % 3)
    assert producer.flush(20) == 0
    done = run("init", f"kafka:{topic}", "--brokers", kafka)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "tidewatch.toml").read_text()
    assert text.count("[[") == 2  # tables that others can be set beside by hand
    stream = {
        "name": name, "topic": f"{name}.observations", "model": f"{name}.tidewatch",
        "counter": ["net_recv"],
    }  # fmt: skip
    intake = {"stream": name, "topics": [topic], "format": "influx"}
    assert tomllib.loads(text) == {"kafka": {"brokers": kafka}, "streams": [stream], "intake": [intake]}
    assert "not at home" not in done.output
    (tmp_path / "tidewatch.toml").write_text(text + 'drop_labels = ["pod"]\n')
    names = {f'net_{field}{{host="a"}}' for field in ("recv", "load")}
    told_of = {r["series"]: r["kind"] for r in told(run, f"kafka:{topic}") if "series" in r}
    assert told_of == dict.fromkeys(names, "gauge") | {'net_recv{host="a"}': "counter"}
    assert not any("warning" in r for r in told(run, f"kafka:{topic}"))
    series = open_data(f"kafka:{topic}", Layout()).series()
    assert series.keys() == names
    assert np.array_equal(series['net_load{host="a"}'].timestamps, T + 1000 * np.arange(120))
    assert set(series['net_recv{host="a"}'].values[0]) == {5.0}
