"""A real Telegraf that sets no key, an intake, and a stream whose series are whole: every field that Telegraf says it wrote, once.

Debian has no Telegraf, so it is built by Go, with the few plugins that this needs, and kept in the cache.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.embedded.jars import cache_folder
from pipeline.kafka.reader import read_to_the_end
from pipeline.settings import KafkaSettings
from pipeline.steps.decoding import Decoder
from producers.partitioning import home

PROJECT = Path(__file__).parents[3]
VERSION = "1.34.4"
PLUGINS = "inputs.cpu,inputs.mem,outputs.kafka,outputs.file,serializers.influx,serializers.json"
ENOUGH = 30
"""Metrics that it is to write; each has some ten fields."""
SETTINGS = """
[agent]
  interval = "1s"
  flush_interval = "1s"
  quiet = true
[[inputs.cpu]]
[[inputs.mem]]
[[outputs.file]]
  files = ["written.json"]
  data_format = "json"
[[outputs.kafka]]
  brokers = ["{kafka}"]
  topic = "{topic}"
  data_format = "{form}"
  compression_codec = {codec}
"""


def installed() -> Path:
    """The program; built once, which takes a minute or two."""
    program = cache_folder() / f"telegraf-{VERSION}" / "telegraf"
    if program.exists():
        return program
    if shutil.which("go") is None:
        what = "needs Go, to build Telegraf"
        if os.environ.get("CI"):
            pytest.fail(what, pytrace=False)
        pytest.skip(what)
    program.parent.mkdir(parents=True, exist_ok=True)
    command = ["go", "install", "-tags", f"custom,{PLUGINS}", f"github.com/influxdata/telegraf/cmd/telegraf@v{VERSION}"]
    done = subprocess.run(
        command, env={**os.environ, "GOBIN": str(program.parent)}, capture_output=True, text=True, check=False
    )
    assert program.exists(), done.stderr[-2000:]
    return program


def written(file: Path) -> list[tuple[str, int, float]]:
    """What Telegraf itself says that it wrote, as observations."""
    found: list[tuple[str, int, float]] = []
    for metric in map(json.loads, file.read_text().splitlines()):
        labels = ",".join(f'{k}="{v}"' for k, v in sorted(metric["tags"].items()))
        found += [
            (f"{metric['name']}_{field}{{{labels}}}", metric["timestamp"] * 1000, float(value))
            for field, value in metric["fields"].items()
        ]
    return found


def arrived(kafka: str, topic: str) -> list[tuple[str, int, float, int]]:
    """What a stream reads of its topic, with the partition."""
    decoder = Decoder("metric", 1)
    found: list[tuple[str, int, float, int]] = []
    for batch in read_to_the_end(KafkaSettings(brokers=kafka), topic):
        read, rejected = decoder.decode(batch)
        assert rejected == []
        rows = zip(read.series, read.timestamps.tolist(), read.values[:, 0].tolist(), strict=True)
        found += [(*row, batch.partition) for row in rows]
    return found


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("form", "codec"), [("influx", 0), ("json", 1), ("influx", 2), ("json", 3), ("influx", 4)])
def test_what_a_telegraf_without_keys_writes_is_watched_whole(
    kafka: str, group: str, new_topic: Callable[..., str], tmp_path: Path, form: str, codec: int
) -> None:
    program, raw, fed = installed(), new_topic(3), new_topic(4)
    (tmp_path / "telegraf.conf").write_text(SETTINGS.format(kafka=kafka, topic=raw, form=form, codec=codec))
    (tmp_path / "tidewatch.toml").write_text(
        f'[kafka]\nbrokers = "{kafka}"\n[worker]\ngroup = "{group}"\n'
        f'[[streams]]\nname = "fed"\ntopic = "{fed}"\nmodel = "none"\n'
        f'[[intake]]\nname = "{group}"\nstream = "fed"\ntopics = ["{raw}"]\n'
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    intake = subprocess.Popen([sys.executable, "-m", "pipeline", "intake"], cwd=tmp_path, env=environment)
    telegraf = subprocess.Popen([str(program), "--config", "telegraf.conf"], cwd=tmp_path)
    try:
        file, end = tmp_path / "written.json", time.monotonic() + 60
        while not file.exists() or file.read_text().count("\n") < ENOUGH:
            assert time.monotonic() < end, "Telegraf writes nothing"
            time.sleep(0.5)
        telegraf.terminate()  # it writes out what it holds
        assert telegraf.wait(30) == 0
        expected = written(file)
        found = arrived(kafka, fed)
        end = time.monotonic() + 120
        while len(found) < len(expected) and time.monotonic() < end:
            time.sleep(0.5)
            found = arrived(kafka, fed)
    finally:
        for process in (telegraf, intake):
            process.kill()
            process.wait()
    assert len({series for series, *_ in expected}) > 40
    assert sorted(row[:3] for row in found) == sorted(expected)
    assert all(home(series, 4) == partition for series, _, _, partition in found)
