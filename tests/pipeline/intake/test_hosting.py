"""Intakes beside a worker: one that fails is told and started again, another goes on, and all stop when they are asked to."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from pipeline.errors import BrokerError, SettingsError
from pipeline.intake import changes, hosting
from pipeline.intake.changes import mapping_of
from pipeline.intake.health import IntakeHealth
from pipeline.intake.hosting import Beside, run_intake
from pipeline.intake.metrics import IntakeMetrics, Standing
from pipeline.operations.health import Health
from pipeline.settings import IntakeSettings, Settings, load_settings

SETTINGS = Settings.model_validate({
    "streams": [{"name": "fed", "model": "none"}],
    "intake": [{"stream": "fed", "name": name, "topics": [name]} for name in ("broken", "buggy", "well")],
})  # fmt: skip


class Running:
    """What is opened in place of intakes."""

    def __init__(self) -> None:
        self.starts: Counter[str] = Counter()
        self.ended: list[str] = []

    @asynccontextmanager
    async def opened(
        self, _: Settings, intake: IntakeSettings, metrics: IntakeMetrics, stopping: asyncio.Event
    ) -> AsyncIterator[Running]:
        self.starts[intake.name] += 1
        self._name, self._stopping = intake.name, stopping
        if intake.name == "broken":
            raise BrokerError("Kafka has no topic broken")
        yield self
        self.ended.append(intake.name)

    async def run(self) -> None:
        if self._name == "buggy":
            raise ZeroDivisionError
        await self._stopping.wait()


async def until(true: object, what: str) -> None:
    assert callable(true)
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


async def test_one_that_fails_is_told_and_started_again_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    running, registry = Running(), CollectorRegistry()
    monkeypatch.setattr(hosting, "_opened", running.opened)
    monkeypatch.setattr(hosting, "FIRST_WAIT", 0.01)
    beside = Beside(SETTINGS, IntakeMetrics(registry))
    health = Health()
    health.include(beside.health)
    beside.start()
    await until(lambda: min(running.starts["broken"], running.starts["buggy"]) >= 3, "they are not started again")
    broken, buggy = health.problems()
    assert broken.startswith("intake broken: Kafka has no topic broken")
    assert buggy.startswith("intake buggy: an error of its own, ZeroDivisionError() at test_hosting.py:")
    failing = {n: registry.get_sample_value("tidewatch_intake_failing", {"intake": n}) for n in running.starts}
    assert failing == {"broken": 1, "buggy": 1, "well": 0}
    assert (running.starts["well"], "well" in running.ended) == (1, False)
    await beside.ended(within=20)
    assert "well" in running.ended
    assert not beside._thread.is_alive()


HEAD = '[[streams]]\nname = "fed"\nmodel = "none"\n'


def table(name: str, **more: str) -> str:
    others = "".join(f"{key} = {value}\n" for key, value in more.items())
    return f'[[intake]]\nstream = "fed"\nname = "{name}"\ntopics = ["{name}"]\n{others}'


async def test_a_settings_file_that_changes_is_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is another now ends in order and starts again, what is the same runs on; what is wrong or does not fit changes nothing."""
    running, file = Starts(), tmp_path / "tidewatch.toml"
    monkeypatch.setattr(hosting, "_opened", running.opened)
    monkeypatch.setattr(changes, "LOOK_EVERY", 0.02)
    file.write_text(HEAD + table("a") + table("b"))
    unfit = lambda new: "it does not fit" if any(i.channels for i in new.intake) else ""  # noqa: E731
    beside = Beside(load_settings(file), IntakeMetrics(CollectorRegistry()), file, fits=unfit)
    beside.start()
    await until(lambda: running.told == ["+a auto", "+b auto"], "they are not started")
    file.write_text(HEAD + table("a") + table("b", drop_labels='["pod"]') + table("c"))
    await until(lambda: len(running.told) == 5, "it is not followed")
    assert running.told[2:] == ["-b", "+b auto", "+c auto"]
    for wrong in (table("a", format='"excel"'), table("a", channels='["x"]')):
        file.write_text(HEAD + wrong)
        await asyncio.sleep(0.3)
    file.write_text(HEAD + table("a", format='"influx"') + table("b", drop_labels='["pod"]'))
    await until(lambda: len(running.told) == 8, "it is not followed any more")
    assert (sorted(running.told[5:7]), running.told[7]) == (["-a", "-c"], "+a influx")
    await beside.ended(within=20)
    assert sorted(running.told[8:]) == ["-a", "-b"]
    assert not beside._thread.is_alive()


class Starts:
    """What is opened in place of intakes; tells who starts and who ends in order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @asynccontextmanager
    async def opened(
        self, _: Settings, intake: IntakeSettings, metrics: IntakeMetrics, stopping: asyncio.Event
    ) -> AsyncIterator[Waits]:
        self.told.append(f"+{intake.name} {intake.format}")
        yield Waits(stopping)
        self.told.append(f"-{intake.name}")


class Waits:
    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping

    async def run(self) -> None:
        await self._stopping.wait()


def test_a_mapping_is_what_makes_observations_of_records() -> None:
    def of(**more: object) -> str:
        return mapping_of(IntakeSettings.model_validate({"stream": "fed", "name": "i", "topics": ["raw"]} | more))

    same = [of(), of(topics=["raw", "other"]), of(share=True), of(dead_letter_topic="d"), of(stream="other")]
    others = [
        of(format="json"), of(format="json", fields={"time": "t"}), of(drop_labels=["pod"]), of(series="{a}/{metric}"),
        of(channels=["a", "b"]), of(channels=["b", "a"]),
    ]  # fmt: skip
    assert len(set(same)) == 1
    assert len({*same, *others}) == 1 + len(others)


async def test_one_that_hangs_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(Running):
        async def run(self) -> None:
            await asyncio.Event().wait()

    hanging = Hanging()
    monkeypatch.setattr(hosting, "_opened", hanging.opened)
    beside = Beside(SETTINGS, IntakeMetrics(CollectorRegistry()))
    beside.start()
    await until(lambda: hanging.starts["well"], "it is not started")
    began = time.monotonic()
    await beside.ended(within=0.2)
    assert 0.2 <= time.monotonic() - began < 20


async def test_asked_to_stop_before_it_has_begun_it_never_does(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running()
    monkeypatch.setattr(hosting, "_opened", running.opened)
    beside = Beside(SETTINGS, IntakeMetrics(CollectorRegistry()))
    beside.stop()
    beside.start()
    await beside.ended(within=20)
    assert not running.starts


def test_an_intake_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(SettingsError, match=r"there is no intake x in the settings; there is: broken, buggy, well"):
        run_intake(SETTINGS, ["x"])
    with pytest.raises(SettingsError, match=r"no intake is configured"):
        run_intake(Settings())


def test_standing_with_records_waiting_is_not_well_and_waiting_for_none_is() -> None:
    now = 0.0
    health = IntakeHealth(patience=30, clock=lambda: now)
    health.standing("a", 100, lag=0)
    now = 100
    assert health.problems() == []
    health.standing("a", 100, lag=7)
    now = 130
    health.standing("a", 100, lag=9)
    assert health.problems() == []
    now = 131
    assert health.problems() == ["intake a stands for 31 s with 9 raw records waiting"]
    health.standing("a", 101, lag=8)
    assert health.problems() == []
    now = 200
    health.forget("a")  # another process reads now
    assert health.problems() == []


def test_the_metrics_of_sources_go_with_them_and_counters_stay() -> None:
    registry = CollectorRegistry()
    metrics, a, b = IntakeMetrics(registry), TopicPartition("raw", 0), TopicPartition("raw", 1)
    metrics.intake("i")

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"tidewatch_intake_{name}", {"intake": "i", **labels})

    assert value("dead_letters_total", reason="undecodable") == 0
    metrics.read("i", a, 5)
    metrics.written("i", observations=9, messages=2)
    metrics.rejected("i", "undecodable")
    metrics.standing("i", {a: Standing(5, 12, 3, paused=True), b: Standing(1, None, 0, paused=False)}, 77)
    assert value("lag_records", topic="raw", partition="0") == 7
    assert value("lag_records", topic="raw", partition="1") == 0  # nothing was heard of its end
    assert value("paused", topic="raw", partition="0") == 1
    assert value("waiting", topic="raw", partition="0") == 3
    assert (value("sources"), metrics.sources, value("unacknowledged_bytes")) == (2, 2, 77)
    assert (value("observations_total"), value("messages_total")) == (9, 2)
    metrics.standing("i", {}, 0)
    assert value("lag_records", topic="raw", partition="0") is None
    assert value("records_total", topic="raw", partition="0") == 5
    assert (value("sources"), value("dead_letters_total", reason="undecodable")) == (0, 1)
