"""`tidewatch train` and `tidewatch detectors`: files, curves, resuming, and errors of one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from detectors import registry
from detectors.base import DetectorError
from detectors.descent.epochs import Epochs
from detectors.model_file import load
from pipeline.cli import create_cli
from pipeline.errors import BrokerError, SettingsError
from pipeline.kafka.history import read_history
from pipeline.partition.stream import create_stream, load_model
from pipeline.settings import KafkaSettings, StreamSettings
from pipeline.steps.judgement import decides
from producers.records import Observation, encode

QUICK = ["--set", "training.epochs=3", "--window", "8"]


@pytest.fixture
def metric(tmp_path: Path) -> Path:
    """Two series of 600 rows each."""
    rng = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "time": pd.date_range("2026-01-01", periods=600, freq="5min"),
                "host": name,
                "load": rng.normal(size=600) + k,
            }
        )
        for k, name in enumerate(("a", "b"))
    ]
    path = tmp_path / "load.csv"
    pd.concat(frames).sort_values("time").to_csv(path, index=False)
    return path


def train(*words: object) -> str:
    """Everything that the command printed; raises what it raised."""
    done = CliRunner().invoke(create_cli(), ["train", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def columns(path: Path) -> list[object]:
    return ["--data", path, "--timestamp-column", "time", "--series-column", "host"]


def test_a_file_becomes_a_model_file_with_its_learning_curves(metric: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "m.safetensors"
    said = train("tcn", *columns(metric), "--out", out, *QUICK)
    model = load(out)
    assert model.detector_name == "tcn"
    assert model.training_rows == {"a": 90, "b": 90}
    assert model.detectors[0].config.window == 8
    assert model.hash[:12] in said
    assert "validation loss" in said
    assert (tmp_path / "deep" / "m.curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in out.parent.iterdir()) == ["m.curves.png", "m.safetensors"]


@pytest.mark.parametrize(
    "words", [["zscore", "--data", "F"], ["F", "--detector", "zscore"], ["--data", "F", "--detector", "zscore"]]
)
def test_the_detector_may_be_said_as_of_score_and_the_file_come_first(
    metric: Path, tmp_path: Path, words: list[str]
) -> None:
    train(*[metric if w == "F" else w for w in words], "--train-rows", 100, "--out", tmp_path / "m")
    model = load(tmp_path / "m")
    assert (model.detector_name, model.training_rows["a"]) == ("zscore", 100)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "what to learn from is missing: --data FILE"),
        (["ltsm"], "did you mean lstm"),
        (["zscore"], "what to learn from is missing"),
        (["zscore", "--data", "nab", "--detector", "lstm"], "two detectors"),
    ],
)
def test_what_is_missing_or_said_twice_is_named(tmp_path: Path, words: list[str], told: str) -> None:
    with pytest.raises((DetectorError, SettingsError), match=told):
        train(*words, "--out", tmp_path / "m")


def test_the_same_command_writes_the_same_bytes(metric: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        train("gru+zscore", *columns(metric), "--out", tmp_path / name, *QUICK)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert load(tmp_path / "one").detector_name == "gru+zscore"


@pytest.mark.parametrize("detector", ["tcn", "gru"])  # without torch, and by it
def test_a_stopped_training_goes_on_where_it_was(
    detector: str, metric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(detector, *columns(metric), "--out", tmp_path / "whole", *QUICK)
    epoch = Epochs.epoch
    left = 2

    def interrupted(*args: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        epoch(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Epochs, "epoch", interrupted)
    words = ["train", detector, *map(str, columns(metric)), "--out", str(tmp_path / "m"), *QUICK]
    stopped = CliRunner().invoke(create_cli(), words)
    assert "the same command goes on from here" in stopped.output
    assert not (tmp_path / "m").exists()
    left = 1  # two of three epochs are done
    assert "goes on from" in train(*words[1:])
    assert (tmp_path / "m").read_bytes() == (tmp_path / "whole").read_bytes()
    assert not (tmp_path / "m.checkpoint").exists()


def test_the_default_mix_of_metrics_leaves_the_alarm_to_the_stream_s_budget(metric: Path, tmp_path: Path) -> None:
    settings = StreamSettings(name="load", model=tmp_path / "m.safetensors")
    said = train("default", *columns(metric), "--out", settings.model, "--set", "training.epochs=3", "--window", 12)
    assert "recommended" not in said
    stream = create_stream(settings, load_model(settings.model))
    assert stream.settings == settings
    assert stream.threshold.name == "budget"


def test_the_default_mix_of_tables_is_judged_by_an_alarm_until_the_settings_choose_a_threshold(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = "\n".join(f"{a:.3f},{b:.3f}" for a, b in rng.normal(size=(400, 2)))
    (tmp_path / "rows.csv").write_text(f"a,b\n{rows}\n")
    settings = StreamSettings(name="rows", model=tmp_path / "m.safetensors")
    said = train("default", "--data", tmp_path / "rows.csv", "--table", "--out", settings.model)
    assert "recommended" not in said
    model = load_model(settings.model)
    assert decides(model, create_stream(settings, model).settings)
    assert not decides(model, StreamSettings(name="rows", model=settings.model, threshold={"level": 3.0}))  # type: ignore[arg-type]


def test_a_history_of_hours_trains_the_default_without_the_time_of_day_and_with_short_windows_as_score_does(
    metric: Path, tmp_path: Path
) -> None:
    train("default", *columns(metric), "--out", tmp_path / "m", "--set", "training.epochs=1", "--training-rows", 60)
    model = load(tmp_path / "m")
    assert model.time_features == ()
    assert model.window == 21  # half of the 42 rows that are fitted on
    train("tcn", *columns(metric), "--out", tmp_path / "m", *QUICK, "--time-feature", "day")
    assert load(tmp_path / "m").time_features == ("day",)  # who asks for it gets it


def test_a_parquet_table_trains_the_default(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=400), "b": rng.normal(size=400), "kind": rng.choice(["x", "y"], 400)})
    frame.to_parquet(tmp_path / "rows.parquet")
    train("default", "--data", tmp_path / "rows.parquet", "--out", tmp_path / "m")
    model = load(tmp_path / "m")
    assert (model.detector_name, model.aggregation) == ("kmeans+isolation-forest+mahalanobis", "rms")


def test_each_series_can_have_a_model_of_its_own(metric: Path, tmp_path: Path) -> None:
    train("zscore", *columns(metric), "--out", tmp_path / "models", "--per-series")
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["a.safetensors", "b.safetensors"]
    assert load(tmp_path / "models" / "b.safetensors").training_rows == {"b": 90}


def test_a_table_with_labels_trains_a_supervised_detector(tmp_path: Path) -> None:
    train(
        "tcn-classifier",
        *("--data", "synthetic-creditcard", "--out", tmp_path / "m", "--training-rows", 3000),
        *("--set", "training.epochs=1", "--set", "hidden=4"),
    )
    model = load(tmp_path / "m")
    assert model.kind == "table"
    assert model.facts["synthetic"] is True


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lsdm"], "no detector 'lsdm'"),
        (["tcn", "--set", "hiden=3"], "--set hiden=3: no such setting of tcn; there are: blocks"),
        (["tcn", "--set", "hidden"], "--set hidden: write it as NAME=VALUE"),
        (["tcn", "--set", "hidden=many"], "tcn: setting hidden: .*valid integer"),
        (["image-autoencoder"], "takes rows of a table only"),
        (["tcn", "--time-feature", "month"], "month"),
        (["tcn", "--aggregation", "sum"], "--aggregation sum: choose one of mean, rms, max, vote"),
        (["tcn", "--device", "cuda:77"], "no CUDA device|cuda:77"),
        (["tcn", "--per-series", "--out", "m.safetensors"], "--out must be a folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(metric: Path, tmp_path: Path, words: list[str], says: str) -> None:
    with pytest.raises(DetectorError, match=says) as raised:
        train(*words, *columns(metric), *([] if "--out" in words else ["--out", tmp_path / "m"]))
    assert "\n" not in str(raised.value)


def test_every_detector_is_listed_with_what_it_takes() -> None:
    listed = CliRunner().invoke(create_cli(), ["detectors"]).output.splitlines()
    for name, detector in registry.DETECTORS.items():
        assert any(line.split()[:1] == [name] and detector.summary in line for line in listed), name
    assert "training.epochs" in CliRunner().invoke(create_cli(), ["detectors", "lstm"]).output


def test_the_listing_does_not_wait_for_training_libraries() -> None:
    code = (
        "import sys; from pipeline.cli import create_cli; create_cli();"
        "heavy = {'torch', 'sklearn', 'matplotlib', 'pandas'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.embedded
def test_what_a_topic_holds_is_read_to_its_end(embedded_kafka: str) -> None:
    admin = AdminClient({"bootstrap.servers": embedded_kafka})
    admin.create_topics([NewTopic("history", 2, 1), NewTopic("history-empty", 1, 1)])["history"].result(20)
    producer = Producer({"bootstrap.servers": embedded_kafka})
    for i in range(500):
        for name in ("x", "y"):
            observation = Observation(series=name, timestamp=1_700_000_000_000 + 60_000 * i, value=float(i))
            producer.produce("history", encode(observation), name)
    producer.produce("history", b"not an observation", "x")
    assert producer.flush(30) == 0
    kafka = KafkaSettings(brokers=embedded_kafka)
    held = read_history(kafka, "history")
    series = held.series
    assert list(series) == ["x", "y"]
    for times, values in series.values():
        assert values[:, 0].tolist() == list(range(500))
        assert (np.diff(times) == 60_000).all()
    [note] = held.notes
    assert "1 of 1,001 records is no observation" in note
    with pytest.raises(BrokerError, match="history-empty holds no record"):
        read_history(kafka, "history-empty")
    with pytest.raises(BrokerError, match="Kafka has no topic history-none"):
        read_history(kafka, "history-none")
