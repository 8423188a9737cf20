"""`tidewatch state` shows and forgets what Redis holds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from pipeline.cli import create_cli
from pipeline.embedded.servers import start_redis
from pipeline.operations.state_file import StateFile
from pipeline.partition.stores.base import Identity
from pipeline.partition.stores.redis import RedisStore
from pipeline.settings import RedisSettings
from pipeline.steps.state import PartitionState

pytestmark = pytest.mark.embedded


async def fill(url: str) -> None:
    store = RedisStore(RedisSettings(url=SecretStr(url)))
    state = PartitionState({"windows": np.dtype([("value", "<f8")])}, max_series=10)
    state.rows_of(["a", "b", "c"])
    identity = Identity(
        cluster_id="cluster-1",
        topic_id="topic-1",
        stream="taxi",
        numerics="",
        format=1,
    )
    for partition in (0, 1):
        claim = await store.claim("taxi", partition)
        await store.save(claim, 123_456, identity, state.snapshot(), write_id="w")
    await store.claim("taxi", 2)
    await store.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    monkeypatch.chdir(tmp_path)
    with start_redis(tmp_path / "redis") as server:
        monkeypatch.setenv("TIDEWATCH_REDIS__URL", server.url)
        asyncio.run(fill(server.url))
        yield lambda *words, **options: CliRunner().invoke(create_cli(), ["state", *words], **options)


def test_show_as_json_says_what_is_known_and_why_the_rest_is_not(run) -> None:
    shown = run("show", "taxi", "--json")
    first, _, claimed = [json.loads(line) for line in shown.stdout.splitlines()]
    assert (first["stream"], first["partition"], first["offset"], first["series"]) == ("taxi", 0, 123_456, 3)
    assert first["bytes"] > 1000
    assert (first["lag"], first["warming"], first["open_alerts"]) == (None, None, None)
    assert first["identity"]["topic_id"] == "topic-1"
    assert abs(first["claimed_at"] - time.time()) < 60
    assert (claimed["partition"], claimed["offset"]) == (2, None)
    assert "lag unknown: stream taxi is not configured" in shown.stderr
    assert "open alerts unknown: stream taxi is not configured" in shown.stderr


def test_export_writes_a_file_that_reads_back(run, tmp_path: Path) -> None:
    done = run("export", "taxi", "--out", str(tmp_path / "taxi.state"))
    assert done.exit_code == 0
    assert "exported partitions 0, 1 of stream taxi" in done.stdout
    file = StateFile(tmp_path / "taxi.state")
    assert [(p, c.offset, c.sequence) for p, c in file] == [(0, 123_456, 0), (1, 123_456, 0)]
    assert "nothing is stored of stream nab" in str(run("export", "nab", "--out", str(tmp_path / "x")).exception)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("words", [["seek", "taxi", "--to", "5"], ["import", "taxi", "taxi.state"]])
def test_what_needs_the_streams_settings_names_them(run, words: list[str]) -> None:
    assert "stream taxi is not configured (configured: none)" in str(run(*words).exception)


def test_a_place_that_is_none_is_a_usage_error(run) -> None:
    done = run("seek", "taxi", "--to", "yesterday")
    assert done.exit_code == 2
    assert "'yesterday' is no offset" in done.stderr


def test_show_tells_what_is_stored_and_reset_forgets_it(run) -> None:
    shown = run("show", "taxi").stdout
    first = next(line for line in shown.splitlines() if "123,456" in line)
    assert first.replace("│", " ").split()[:4] == ["0", "123,456", "0", "3"]
    assert "topic-1" in shown
    assert "no checkpoint yet" in shown
    assert run("reset", "taxi", input="n\n").exit_code == 1
    assert "123,456" in run("show", "taxi").stdout
    assert "forgot the state of partition 1 of stream taxi" in run("reset", "taxi", "--partition", "1", "--yes").stdout
    assert "forgot the state of partitions 0, 2 of stream taxi" in run("reset", "taxi", input="y\n").stdout
    for words in (["show", "taxi"], ["reset", "taxi", "--yes"]):  # nor is it configured here: nobody knows of it
        assert "stream taxi is not configured (configured: none)" in str(run(*words).exception)
