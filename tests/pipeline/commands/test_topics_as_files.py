"""What a topic holds, looked at, scored, tuned as a file is; and from there to a stream: real Kafka, real Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from detectors import load
from pipeline.cli import create_cli
from pipeline.embedded.servers import start_redis
from pipeline.errors import TidewatchError
from pipeline.offline.marks import with_marks
from pipeline.offline.opening import stream_name
from pipeline.operations.adopting import adopt
from pipeline.settings import load_settings
from producers import Dataset, open_file
from producers.errors import DataError
from producers.records import Observation, encode

START, STEP, ROWS = 1_700_000_000_000, 60_000, 900
OUTAGE = range(700, 720)


def run(*words: object) -> str:
    """Everything that a command printed; raises what it raised."""
    done = CliRunner().invoke(create_cli(), list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def value(name: str, i: int) -> float:
    noise = float(np.random.default_rng([ord(name), i]).normal())
    return 40 + noise + (25 if name == "a" and i in OUTAGE else 0)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running.url


@pytest.fixture
def shop(embedded_kafka: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without settings, beside a topic that holds two series."""
    topic = "shop.observations"
    admin = AdminClient({"bootstrap.servers": embedded_kafka})
    if topic not in admin.list_topics(timeout=20).topics:
        admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(20)
        producer = Producer({"bootstrap.servers": embedded_kafka})
        for i in range(ROWS):
            for name in "ab":
                producer.produce(
                    topic, encode(Observation(series=name, timestamp=START + STEP * i, value=value(name, i))), name
                )
        assert producer.flush(30) == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDEWATCH_KAFKA__BROKERS", embedded_kafka)
    monkeypatch.setenv("TIDEWATCH_REDIS__URL", redis_url)
    return tmp_path


def test_a_topic_is_looked_at_scored_and_becomes_a_stream_that_changes_by_a_decision(shop: Path) -> None:
    assert "2 series" in run("look", "kafka:shop.observations")
    score = ("score", "kafka:shop.observations", "--detector", "zscore", "--out", "scores.csv")
    said = run(*score, "--budget", "1 per series per week", "--apply")
    scores = pd.read_csv("scores.csv")
    assert len(scores) == 2 * ROWS
    assert scores.timestamp.is_monotonic_increasing  # merged, as the records would come
    flagged = scores[scores.anomalous & (scores.series == "a")]
    assert pd.Timestamp(START + STEP * OUTAGE[0], unit="ms", tz="UTC") in pd.to_datetime(flagged.timestamp).tolist()
    assert "next: tidewatch doctor; tidewatch worker" in said

    [stream] = load_settings().streams
    assert (stream.name, stream.input_topic, stream.format) == ("shop", "shop.observations", "auto")
    assert stream.threshold.false_alarms == "1 per series per week"
    assert load(stream.model).detector_name.startswith("zscore")
    first = stream.model

    # The stream is there now, and what it will need; another choice is a decision, and what a person wrote stays.
    file = shop / "tidewatch.toml"
    file.write_text("# ours\n" + file.read_text().replace('name = "shop"', 'name = "shop"  # the shop\nprobation = 50'))
    run("topics", "create")
    said = run(*score, "--budget", "1 per series per month", "--apply")
    assert "decision 1 of stream shop" in said
    [line] = run("decisions", "shop", "--json").splitlines()
    assert json.loads(line)["what"]["settings"]["threshold"]["false_alarms"] == "1 per series per month"
    assert file.read_text().startswith("# ours\n")
    assert "# the shop" in file.read_text()
    [stream] = load_settings().streams
    assert (stream.threshold.false_alarms, stream.probation) == ("1 per series per month", 50)
    assert stream.model == first  # the same rows, the same model file
    assert sorted(p.name for p in shop.iterdir()) == sorted(["scores.csv", first.name, "tidewatch.toml"])

    said = run(*score, "--budget", "1 per series per month", "--apply")
    assert "these settings hold already" in said

    # The default budget is a choice too; what a person set stays, and that it was not scored with is told.
    file.write_text(file.read_text() + "\n[streams.alerts]\nresolve_count = 7\n")
    said = run(*score, "--apply")
    assert "the stream's own alerts.resolve_count in tidewatch.toml stay" in said
    assert "threshold.false_alarms: 1 per series per month -> nothing" in said
    [stream] = load_settings().streams
    assert (stream.threshold.false_alarms or "", stream.alerts.resolve_count) == ("", 7)


def test_a_topic_is_tuned_by_what_a_person_says_was_wrong(shop: Path) -> None:
    wrong = shop / "wrong.csv"
    begin, end = (pd.Timestamp(START + STEP * at, unit="ms") for at in (OUTAGE[0], OUTAGE[-1]))
    wrong.write_text(f"series,start,end\na,{begin},{end}\n")
    words = (
        "tune",
        "kafka:shop.observations",
        "--detector",
        "zscore",
        "--budget",
        "1 per series per day",
        "--choose-on",
        "0.9",
    )
    with pytest.raises(DataError, match="--labels FILE"):
        run(*words)
    said = run(*words, "--labels", wrong, "--apply")
    assert "chosen: zscore, 1 per series per day" in said
    [stream] = load_settings().streams
    assert stream.threshold.false_alarms == "1 per series per day"
    assert set(load(stream.model).training_rows) == {"a", "b"}


@pytest.mark.parametrize(
    ("kind", "detector", "told"),
    [("metric", "pca", "each observation has 2 values"), ("table", "kmeans", "rows of a table of 2 columns")],
)
def test_several_values_and_rows_score_as_in_a_file_and_become_a_native_stream(
    shop: Path, embedded_kafka: str, kind: str, detector: str, told: str
) -> None:
    rng = np.random.default_rng(0)
    loads = rng.normal(size=400).round(3).tolist()
    loads[350] = 25.0
    topic = NewTopic(f"{kind}.rows", 2, 1)
    admin = AdminClient({"bootstrap.servers": embedded_kafka})
    admin.create_topics([topic])[topic.topic].result(20)
    others = (["up", "down"] * 200) if kind == "table" else [2 * v for v in loads]
    producer = Producer({"bootstrap.servers": embedded_kafka})
    for i, (load_, other) in enumerate(zip(loads, others, strict=True)):
        producer.produce(
            f"{kind}.rows", json.dumps({"timestamp": START + STEP * i, "values": [load_, other]}), key="file"
        )
    producer.produce(f"{kind}.rows", b"no observation", key="file")
    assert producer.flush(30) == 0
    times = pd.to_datetime(START + STEP * np.arange(400), unit="ms")
    pd.DataFrame({"time": times, "value 1": loads, "value 2": others}).to_csv(shop / "file.csv", index=False)
    columns = ("--value-columns", "value 1,value 2") + (("--table",) if kind == "table" else ())
    run("score", shop / "file.csv", "--detector", detector, "--out", "of_file.csv", *columns)
    said = run("score", f"kafka:{kind}.rows", "--detector", detector, "--out", "of_topic.csv", "--apply")
    assert told in said
    assert "note: 1 of 401 records is no observation and left out" in said
    of_file, of_topic = pd.read_csv("of_file.csv"), pd.read_csv("of_topic.csv")
    assert of_topic.score.notna().sum() > 100
    np.testing.assert_array_equal(of_file.score, of_topic.score)
    np.testing.assert_array_equal(of_file.anomalous, of_topic.anomalous)
    [stream] = load_settings().streams
    assert (stream.input_topic, stream.format) == (f"{kind}.rows", "native")
    model = load(stream.model)
    assert (model.kind, len(model.features.names) if model.features else model.channels) == (kind, 2)


def marks(folder: Path, text: str, data: Dataset) -> Dataset:
    (folder / "marks.csv").write_text(text)
    return with_marks(data, folder / "marks.csv", "UTC")


def test_labels_of_a_file_of_their_own(tmp_path: Path) -> None:
    hours = pd.date_range("2026-01-01", periods=48, freq="h")
    (tmp_path / "load.csv").write_text("time,host,load\n" + "".join(f"{t},{h},1.5\n" for t in hours for h in "ab"))
    data = open_file(tmp_path / "load.csv")
    both = marks(tmp_path, "from;to\n01.01.2026 03:00;01.01.2026 05:00\n", data).labels()
    assert [np.flatnonzero(both[h].anomalous).tolist() for h in "ab"] == [[3, 4, 5]] * 2
    one = marks(tmp_path, "host,start,end,why\na,2026-01-01 03:00,2026-01-01 04:30,disk\n", data).labels()
    assert [np.flatnonzero(one[h].anomalous).tolist() for h in "ab"] == [[3, 4], []]
    rows = "".join(f"{t},{h},{int(h == 'b' and k in (7, 8))}\n" for k, t in enumerate(hours) for h in "ab")
    single = marks(tmp_path, "time,host,label\n" + rows.replace(",0\n", ",0\n"), data)
    assert np.flatnonzero(single.labels()["b"].anomalous).tolist() == [7, 8]
    for text, told in (
        ("start,end\n2026-01-01 05:00,2026-01-01 03:00\n", "row 1: ends before it begins"),
        ("host,start,end\nc,2026-01-01 03:00,2026-01-01 05:00\n", "no series 'c'"),
        ("start,end\n2025-01-01 03:00,2025-01-01 05:00\n", "no observation"),
        ("time,load\n2026-01-01,1\n2026-01-02,2\n", "neither"),
    ):
        with pytest.raises(DataError, match=told):
            marks(tmp_path, text, data)


def test_settings_that_are_none_are_left_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from detectors import METRIC

    monkeypatch.chdir(tmp_path)
    times = np.datetime64("2026-03-01") + np.arange(300) * np.timedelta64(5, "m")
    model = METRIC.of("zscore").train_metric({"a": (times, np.random.default_rng(0).normal(size=300))})
    written = '[[streams]]\nname = "shop"\nmodel = "old.tidewatch"\n'
    Path("tidewatch.toml").write_text(written)
    with pytest.raises(TidewatchError, match="--stream"):
        adopt(model, {}, name="shop", topic="other.observations")
    with pytest.raises(TidewatchError, match="false_alarms"):
        adopt(model, {"threshold": {"false_alarms": "now and then"}}, name="shop", topic="")
    assert Path("tidewatch.toml").read_text() == written
    assert [p.name for p in tmp_path.iterdir()] == ["tidewatch.toml"]
    adopted = adopt(model, {}, name="shop", topic="")
    adopted.keep()
    # The same model again: what is taken back now is not the file that the stream runs with.
    with pytest.raises(TidewatchError, match="false_alarms"):
        adopt(model, {"threshold": {"false_alarms": "now and then"}}, name="shop", topic="")
    adopt(model, {}, name="shop", topic="").drop()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([adopted.model.name, "tidewatch.toml"])
    assert stream_name("Load & Co.observations") == "load-co"
    with Path("tidewatch.toml").open(
        "a"
    ) as file:  # what is trained on a raw topic is the model of the stream that comes of it
        file.write('[[intake]]\nstream = "shop"\ntopics = ["raw-*"]\n')
    fed = adopt(model, {}, name="raw-1", topic="raw-1")
    assert (fed.stream, fed.topic, fed.added) == ("shop", "shop.observations", False)
