"""`tidewatch sink` as a process on real Kafka: from the moment it runs no alert is lost, however it ends and whoever is away."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import uuid
from contextlib import asynccontextmanager, contextmanager

import pytest
from aiohttp import web
from alert_logs import Log, Row, stream

from pipeline.kafka.publisher import KafkaPublisher
from pipeline.settings import KafkaSettings

pytestmark = pytest.mark.kafka


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@asynccontextmanager
async def receiver(port):
    """Keeps the series of what it is sent."""
    series = []

    async def take(request):
        body = await request.json()
        series.extend(a["labels"]["series"] for a in (body if isinstance(body, list) else body["alerts"]))
        return web.Response()

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield series
    finally:
        await runner.cleanup()


@contextmanager
def sink(folder, *arguments):
    log = folder / f"{uuid.uuid4().hex}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "sink", *arguments], stdout=out, stderr=out, cwd=folder
        )
    try:
        yield process, log
    finally:
        process.kill()
        process.wait()


async def until(condition, seconds=60.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


async def publish(kafka, topic, names):
    out = KafkaPublisher(kafka)
    for name in names:
        (alert,) = Log(stream()).run([Row(name, 0, 5.0)])
        message = alert.message(topic)
        await out.send(topic, message.key, message.value, message.headers)
    await out.close()


@pytest.fixture
def webhook(kafka, new_topic, tmp_path):
    topic, port = new_topic(partitions=3), free_port()
    (tmp_path / "tidewatch.toml").write_text(f"[kafka]\nbrokers = {json.dumps(kafka)}\n[worker]\ngroup = 'workers'\n")
    arguments = ("webhook", f"http://127.0.0.1:{port}/hook", "--group", f"g-{uuid.uuid4().hex[:8]}", "--topic", topic)
    return KafkaSettings(brokers=kafka), topic, port, tmp_path, arguments


async def test_what_is_published_while_a_new_sink_was_stopped_in_order_is_posted(webhook):
    kafka, topic, port, folder, arguments = webhook
    await publish(kafka, topic, ["before"])
    async with receiver(port) as series:
        with sink(folder, *arguments) as (process, log):
            await until(lambda: "webhook sink runs" in log.read_text())
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait, 20)
        await publish(kafka, topic, ["a", "b", "c"])
        with sink(folder, *arguments):
            await until(lambda: len(series) >= 3)
    assert sorted(series) == ["a", "b", "c"]


async def test_a_receiver_that_is_away_from_the_start_and_a_killed_sink_lose_nothing(webhook):
    kafka, topic, port, folder, arguments = webhook
    names = [f"s{i:02d}" for i in range(15)]
    with sink(folder, *arguments) as (process, log):
        await until(lambda: "webhook sink runs" in log.read_text())
        await publish(kafka, topic, names)
        await until(lambda: "trying again" in log.read_text())
        process.kill()
        await asyncio.to_thread(process.wait, 20)
    async with receiver(port) as series:
        with sink(folder, *arguments):
            await until(lambda: set(series) >= set(names))
    assert sorted(set(series)) == names


async def test_alertmanager_s_sink_tells_what_was_published_while_it_was_killed(webhook):
    kafka, topic, port, folder, _ = webhook
    arguments = ("alertmanager", f"http://127.0.0.1:{port}", "--interval", "1", "--topic", topic)
    with sink(folder, *arguments) as (_, log):
        await until(lambda: "alertmanager sink runs" in log.read_text())
    await publish(kafka, topic, ["a", "b", "c"])
    async with receiver(port) as series:
        with sink(folder, *arguments):
            await until(lambda: {"a", "b", "c"} <= set(series))


async def test_the_workers_group_is_not_a_sink_s(webhook):
    *_, folder, arguments = webhook
    with sink(folder, *arguments[:2], "--group", "workers") as (process, log):
        assert await asyncio.to_thread(process.wait, 60) == 2
        assert "--group workers is used by the workers" in log.read_text()
