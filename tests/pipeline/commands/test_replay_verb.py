from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.cli import main
from pipeline.embedded.servers import EmbeddedServer, start_kafka
from pipeline.kafka.reader import read_to_the_end
from pipeline.settings import KafkaSettings
from pipeline.steps.decoding import Decoder

pytestmark = pytest.mark.embedded


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with start_kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


def tidewatch(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "replay", *arguments], capture_output=True, text=True, cwd=cwd, timeout=120
    )


def records(broker: EmbeddedServer, topic: str, count: int) -> list[dict[str, object]]:
    consumer = Consumer(
        {"bootstrap.servers": broker.address, "group.id": topic, "enable.auto.commit": False, "log_level": 0}
    )
    try:
        assert sum(ends(consumer, topic).values()) == count
        consumer.assign([TopicPartition(topic, p, 0) for p in ends(consumer, topic)])
        found: list[dict[str, object]] = []
        while len(found) < count:
            messages = consumer.consume(count - len(found), timeout=60.0)
            assert messages, f"{len(found)} of {count} records came"
            found += [json.loads(m.value()) for m in messages]
    finally:
        consumer.close()
    return found


def ends(consumer: Consumer, topic: str) -> dict[int, int]:
    """The end of each partition's log: of a topic that nobody deletes from, the number of its records."""
    partitions = consumer.list_topics(topic, timeout=60).topics[topic].partitions
    return {p: end_of(consumer, TopicPartition(topic, p)) for p in partitions}


def end_of(consumer: Consumer, partition: TopicPartition) -> int:
    """Of a topic that is made at this moment, when it has a leader."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return int(consumer.get_watermark_offsets(partition, timeout=60)[1])
        except KafkaException as error:
            if not error.args[0].retriable() and error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                raise
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def wait_for_a_record(address: str, topic: str, process: subprocess.Popen[str]) -> None:
    """Until a process that sends has sent something."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": topic, "log_level": 0})
    try:
        end = time.monotonic() + 60
        while not sum(ends(consumer, topic).values()):
            assert process.poll() is None
            assert time.monotonic() < end, "nothing was sent"
            time.sleep(0.05)
    finally:
        consumer.close()


def test_a_file_goes_to_its_topic_and_the_last_line_says_how_much(broker: EmbeddedServer, tmp_path: Path) -> None:
    lines = [f"2024-01-01 00:00:{s:02d},{h},{s}" for s in range(60) for h in ("a", "b")]
    (tmp_path / "My Load.csv").write_text("when,host,load\n" + "\n".join([*lines, "2024-01-01 00:02:00,a,"]))
    done = tidewatch(
        "csv", "My Load.csv", "--timestamp-column", "when", "--series-column", "host", "--brokers", broker.address,
        "--from", "2024-01-01T00:00:10", "--to", "2024-01-01T00:00:20", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "20 records of 2 series" in done.stdout
    assert "1 with a missing number left out" in done.stdout
    assert "20 records delivered to my-load.observations" in done.stdout
    found = records(broker, "my-load.observations", 20)
    assert {r["series"] for r in found} == {"a", "b"}
    assert sorted(r["value"] for r in found if r["series"] == "a") == [float(s) for s in range(10, 20)]


def test_as_compact_batches_it_is_the_same_each_series_in_its_partition(broker: EmbeddedServer, tmp_path: Path) -> None:
    chosen = ("synthetic", "nab", "--series", "realTraffic/*", "--brokers", broker.address)
    json_form = tidewatch(*chosen, "--topic", "as-json", cwd=tmp_path)
    compact = tidewatch(*chosen, "--topic", "as-batches", "--batches", cwd=tmp_path)
    assert (json_form.returncode, compact.returncode) == (0, 0), compact.stderr

    def held(topic: str) -> dict[tuple[int, str], list[tuple[int, float]]]:
        decoder, rows = Decoder("metric", 1), defaultdict(list)
        for records in read_to_the_end(KafkaSettings(brokers=broker.address), topic):
            o, rejected = decoder.decode(records)
            assert rejected == []
            for name, at, value in zip(o.series, o.timestamps.tolist(), o.values[:, 0].tolist(), strict=True):
                rows[records.partition, name].append((at, value))
        return rows

    assert held("as-batches") == held("as-json")
    assert re.search(r"[\d,]+ observations in \d+ records delivered", compact.stdout)


def test_a_twin_is_announced_as_one_and_series_are_chosen_by_glob(broker: EmbeddedServer, tmp_path: Path) -> None:
    done = tidewatch(
        "synthetic", "nab", "--series", "realTraffic/*speed_7578", "--brokers", broker.address, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("SYNTHETIC twin of NAB")
    assert len(records(broker, "synthetic-nab.observations", 1127)) == 1127


def test_what_it_creates_is_said_with_the_name_that_may_have_been_meant(broker: EmbeddedServer, tmp_path: Path) -> None:
    def run(topic: str) -> str:
        series = ("--series", "realTraffic/*speed_7578")
        done = tidewatch("synthetic", "nab", *series, "--topic", topic, "--brokers", broker.address, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "created topic city-traffic with 4 partitions\n" in run("city-traffic")
    assert "created topic" not in run("city-traffic")
    assert "created topic city-trafic with 4 partitions (city-traffic was there already)" in run("city-trafic")


@pytest.mark.parametrize("setting", ["alert_topic", "dead_letter_topic", "score_topic"])
def test_a_topic_that_workers_write_to_is_refused(broker: EmbeddedServer, tmp_path: Path, setting: str) -> None:
    (tmp_path / "tidewatch.toml").write_text(f"[[streams]]\nname = 'nab'\nmodel = 'm'\n{setting} = 'written'\n")
    done = tidewatch("synthetic", "nab", "--topic", "written", "--brokers", broker.address, cwd=tmp_path)
    assert done.returncode == 2
    assert f"topic written is the {setting} of stream nab: observations go to nab.observations" in done.stderr


def test_ctrl_c_ends_in_order_and_says_what_arrived(broker: EmbeddedServer, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "replay", "synthetic", "taxi", "--rate", "200", "--loop", "--topic", "slow",
         "--brokers", broker.address],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout is not None
    while "records of" not in process.stdout.readline():
        assert process.poll() is None
    wait_for_a_record(broker.address, "slow", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped by Ctrl-C" in out
    assert "Traceback" not in err
    delivered = int(out.split("Ctrl-C: ")[1].split(" ")[0].replace(",", ""))
    assert len(records(broker, "slow", delivered)) == delivered > 0


def test_what_was_not_delivered_is_exit_code_1_and_one_line(tmp_path: Path) -> None:
    with start_kafka(tmp_path) as own:
        config = tmp_path / "tidewatch.toml"
        config.write_text(f'[kafka]\nbrokers = "{own.address}"\n')
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "replay", "synthetic", "taxi", "--rate", "2000", "--delivery-timeout", "10",
             "--config", str(config)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        )  # fmt: skip
        assert process.stdout is not None
        while "records of" not in process.stdout.readline():
            assert process.poll() is None
        wait_for_a_record(own.address, "synthetic-taxi.observations", process)
        os.kill(own.pid, signal.SIGKILL)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "were not delivered to topic synthetic-taxi.observations" in errors[0]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mars"], "no data set 'mars'"),
        (["csv"], "replay csv needs a file"),
        (["taxi", "x.csv"], "tidewatch replay csv x.csv"),
        (["synthetic", "--speed", "fast"], "speed 'fast'"),
        (["synthetic", "--speed", "2x", "--rate", "5"], "exclude each other"),
        (["synthetic", "--from", "yesterday"], "--from 'yesterday' is not a time"),
        (["synthetic", "--series", "mars"], "no series of nab matches mars"),
        (["synthetic", "--brokers", "127.0.0.1:1"], "127.0.0.1:1"),
    ],
)
def test_wrong_settings_are_exit_code_2_and_one_line(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tidewatch.toml").write_text('[kafka]\nbrokers = "127.0.0.1:1"\nrequest_timeout = "500ms"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tidewatch", "replay", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1
