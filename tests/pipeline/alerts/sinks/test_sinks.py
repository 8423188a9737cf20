"""Sinks against a local HTTP server, fed by the embedded broker; Alertmanager's against Alertmanager itself too."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
import urllib.request
import uuid
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from alert_logs import Log, Row, scores, stream
from alert_topic import new_alert_topic, publish
from recording_life import committed
from structlog.testing import capture_logs

from pipeline.alerts.sinks import alertmanager, webhook
from pipeline.alerts.sinks.alertmanager import AlertStates
from pipeline.alerts.sinks.post import Poster
from pipeline.alerts.subscribe import AlertSubscriber
from pipeline.errors import BrokerError, SettingsError
from pipeline.settings import KafkaSettings


@pytest.fixture
def broker(embedded_kafka):
    return KafkaSettings(brokers=embedded_kafka)


@pytest.fixture
def topic(broker):
    return new_alert_topic(broker)


@asynccontextmanager
async def receiver(answers=()):
    """A server that keeps what it is sent and gives these statuses, then 200."""
    posts, left = [], list(answers)

    async def take(request):
        status, headers = left.pop(0) if left else (200, {})
        posts.append((request.headers.copy(), json.loads(await request.read()), status))
        return web.Response(status=status, headers=headers, text="because")

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/hook", posts
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running(work):
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.02)


def life(series="a", **policy):
    return Log(stream(**policy)).run(scores(series, [5.0, 7.0, 7.0, 0.1, 0.1, 0.1], observed=(9.5,), expected=(2.0,)))


@pytest.mark.embedded
async def test_the_webhook_gets_what_fires_grows_and_resolves_in_alertmanager_s_body(broker, topic):
    sent = [*life(hold=5), *life("b", hold=60), *life("c", update_every=5)]  # b is withdrawn, c has an update
    await publish(broker, topic, sent)
    async with receiver() as (url, posts):
        subscriber = AlertSubscriber(broker, topic, start="beginning", group=uuid.uuid4().hex)
        async with running(webhook.run(subscriber, Poster(url, authorization="Bearer s3cret"))):
            await until(lambda: len(posts) == 5)
    assert all(headers["Authorization"] == "Bearer s3cret" for headers, _, _ in posts)
    bodies = [body for _, body, _ in posts]
    assert [(b["alerts"][0]["labels"]["series"], b["status"]) for b in bodies] == [
        ("a", "firing"),
        ("a", "resolved"),
        ("c", "firing"),
        ("c", "firing"),
        ("c", "resolved"),
    ]
    first, last = bodies[0], bodies[1]
    assert first["version"] == "4"
    assert first["commonLabels"] == first["alerts"][0]["labels"]
    assert first["alerts"][0]["labels"] == {
        "alertname": "TidewatchAnomaly",
        "stream": "taxi",
        "series": "a",
        "detector": "constant",
        "severity": "critical",
    }
    assert (first["alerts"][0]["startsAt"], first["alerts"][0]["endsAt"]) == (
        "2014-07-01T00:00:00.000Z",
        "0001-01-01T00:00:00Z",
    )
    assert last["alerts"][0]["endsAt"] == "2014-07-01T00:10:00.000Z"
    assert last["alerts"][0]["fingerprint"] == sent[0].fingerprint
    said = first["alerts"][0]["annotations"]
    assert (
        said["summary"] == "a jumped to 9.5, 375 % above the expected 2, since 2014-07-01 00:00 UTC, for 5 min so far."
    )
    assert (said["kind"], said["change"], said["deviation"]) == ("spike", "held", "+7.5 (+375 %)")
    assert last["alerts"][0]["annotations"]["peak"] == "9.5, expected 2, at 2014-07-01T00:00:00.000Z"
    assert all(isinstance(v, str) for a in last["alerts"] for v in [*a["labels"].values(), *a["annotations"].values()])


@pytest.mark.kafka  # the embedded broker keeps a member that has left for 10 s
async def test_a_restarted_webhook_goes_on_behind_what_was_taken(kafka, new_topic):
    broker, topic = KafkaSettings(brokers=kafka), new_topic()
    group, (one, two) = uuid.uuid4().hex, [Log(stream()).run([Row(s, 0, 5.0)])[0] for s in "ab"]

    async def run_until(count, url, posts):
        subscriber = AlertSubscriber(broker, topic, start="beginning", group=group)
        async with running(webhook.run(subscriber, Poster(url))):
            await until(lambda: len(posts) == count)
            await until(lambda: committed(kafka, group, topic) == count)

    async with receiver() as (url, posts):
        await publish(broker, topic, [one])
        await run_until(1, url, posts)
        await publish(broker, topic, [two])
        await run_until(2, url, posts)
        assert [body["alerts"][0]["labels"]["series"] for _, body, _ in posts] == ["a", "b"]


def waits():
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    return waited, sleep


async def test_a_receiver_that_is_away_is_tried_again_ever_more_slowly():
    waited, sleep = waits()
    answers = [(500, {}), (404, {}), (429, {"Retry-After": "7"}), (302, {"Location": "/elsewhere"}), (503, {})]
    async with receiver(answers) as (url, posts), Poster(url, sleep=sleep) as poster:
        assert await poster.post(b"{}")
    assert [status for _, _, status in posts] == [500, 404, 429, 302, 503, 200]
    assert waited == [1, 2, 7, 8, 16]


async def test_a_receiver_that_is_not_there_is_waited_for():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    waited = []

    async def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 9:
            raise asyncio.CancelledError

    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        async with Poster(f"http://user:pa55@127.0.0.1:{port}/x?token=t0ken", sleep=sleep) as poster:
            await poster.post(b"{}")
    assert waited == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert "pa55" not in str(logs)
    assert "t0ken" not in str(logs)
    assert logs[0]["receiver"] == f"http://127.0.0.1:{port}"


async def test_what_a_receiver_never_takes_is_skipped_and_named():
    async with receiver([(422, {})]) as (url, posts), Poster(url) as poster:
        with capture_logs() as logs:
            assert not await poster.post(b"{}")
            assert await poster.post(b"{}")
    assert len(posts) == 2
    assert (logs[0]["event"], logs[0]["reason"]) == ("refused by the receiver, skipped", "422 because")


@pytest.mark.parametrize("url", ["alertmanager:9093", "ftp://x/y", "http://", ""])
def test_a_wrong_address_is_named(url):
    with pytest.raises(SettingsError, match="the receiver's address cannot be used"):
        Poster(url)


class Clock:
    def __init__(self):
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.now


MINUTE = timedelta(minutes=1)


def test_alertmanager_is_told_of_firing_alerts_as_long_as_they_fire_and_of_resolved_ones_for_five_minutes():
    clock = Clock()
    states = AlertStates(clock)
    firing, critical, resolved = life(update_every=0)
    assert states.take(firing)
    (told,) = states.to_tell(MINUTE)
    assert (told["startsAt"], told["endsAt"]) == ("2014-07-01T00:00:00.000Z", "2026-01-01T00:04:00.000Z")
    assert told["labels"]["severity"] == "warning"
    clock.now += 30 * MINUTE
    assert states.to_tell(MINUTE)[0]["endsAt"] == "2026-01-01T00:34:00.000Z"

    states.take(critical)  # another severity is another alert there: the first ends
    ends = {a["labels"]["severity"]: a["endsAt"] for a in states.to_tell(MINUTE)}
    assert ends == {"warning": "2026-01-01T00:30:00.000Z", "critical": "2026-01-01T00:34:00.000Z"}

    clock.now += 6 * MINUTE
    states.take(resolved)
    (told,) = states.to_tell(MINUTE)
    assert told["endsAt"] == "2026-01-01T00:36:00.000Z"
    clock.now += 5 * MINUTE
    assert len(states.to_tell(MINUTE)) == 1
    clock.now += timedelta(seconds=1)
    assert states.to_tell(MINUTE) == []


def test_alertmanager_is_not_told_of_pending_withdrawn_or_past_alerts():
    states = AlertStates()
    assert [states.take(alert) for alert in life(hold=60)] == [False] * 3
    assert not states.take(life()[-1])
    for alert in life():
        states.take(alert)
    states.forget_resolved()
    assert states.to_tell(MINUTE) == []


def test_an_alert_from_the_future_ends_after_it_began():
    (alert,) = Log(stream()).run([Row("a", 60 * 24 * 365 * 100, 5.0)])
    states = AlertStates()
    states.take(alert)
    (told,) = states.to_tell(MINUTE)
    assert told["endsAt"] >= told["startsAt"]


def open_subscriber(broker, topic):
    return AlertSubscriber(broker, topic, start="beginning")


@pytest.mark.embedded
async def test_alertmanager_hears_what_fires_at_start_changes_at_once_and_all_of_it_at_intervals(broker, topic):
    await publish(broker, topic, [*life("over"), Log(stream()).run([Row("on", 0, 5.0)])[0]])
    async with receiver([(503, {})]) as (url, posts):
        work = alertmanager.run(open_subscriber(broker, topic), Poster(url), interval=timedelta(seconds=1))
        async with running(work):
            await until(lambda: len(posts) >= 3)
            await publish(broker, topic, [Log(stream()).run([Row("late", 0, 5.0)])[0]])
            await until(lambda: len(posts[-1][1]) == 2)
    series = [[a["labels"]["series"] for a in body] for _, body, _ in posts]
    assert series[:3] == [["on"]] * 3
    assert sorted(series[-1]) == ["late", "on"]


@pytest.mark.embedded
async def test_a_topic_that_is_missing_is_one_clear_error(broker):
    with pytest.raises(BrokerError, match="no topic nowhere"):
        await alertmanager.run(open_subscriber(broker, "nowhere"), Poster("http://127.0.0.1:1/"), interval=MINUTE)


@contextmanager
def real_alertmanager(folder):
    binary = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if binary is None:
        pytest.skip("needs Prometheus Alertmanager: install the package prometheus-alertmanager")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "am.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    options = {
        "--config.file": folder / "am.yml",
        "--storage.path": folder / "data",
        "--web.listen-address": f"127.0.0.1:{port}",
        "--cluster.listen-address": "",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([binary, *[f"{k}={v}" for k, v in options.items()]], stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/-/ready")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def wait_for(url, seconds=60.0):
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            assert time.monotonic() < end, f"{url} does not answer"
            time.sleep(0.1)


def known(url):
    with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=5) as answer:
        return {(a["labels"]["series"], a["labels"]["severity"]): a for a in json.load(answer)}


@pytest.mark.embedded
async def test_the_real_alertmanager_shows_alerts_while_they_fire(broker, topic, tmp_path):
    firing, critical, resolved = life(update_every=0)
    with real_alertmanager(tmp_path) as url:
        poster = Poster(url + alertmanager.PATH)
        async with running(alertmanager.run(open_subscriber(broker, topic), poster, interval=MINUTE)):
            await publish(broker, topic, [firing])
            await until(lambda: set(known(url)) == {("a", "warning")})
            alert = known(url)["a", "warning"]
            assert alert["startsAt"] == "2014-07-01T00:00:00.000Z"
            assert alert["annotations"]["observed"] == "9.5"
            await publish(broker, topic, [critical])
            await until(lambda: set(known(url)) == {("a", "critical")})
            await publish(broker, topic, [resolved])
            await until(lambda: known(url) == {})


@pytest.mark.parametrize("url", [
    "https://user:hunter2@h:99999/x", "https://user:hun/ter2@h/", "https://hunter2@[::1/x", "https://h/hunter2#hunter2", "ftp://h/hunter2",
    "hunter2", "https://:443/hunter2", "https:///hunter2", "https://h:/hunter2", "https://h /hunter2",
])  # fmt: skip
def test_an_address_that_cannot_be_used_is_told_without_its_secret(url):
    with pytest.raises(SettingsError) as told:
        Poster(url)
    assert "hun" not in str(told.value)


def test_of_an_address_only_its_host_is_shown():
    assert (
        Poster("https://user:hunter2@hooks.example/services/T0/hunter2?key=hunter2").receiver == "https://hooks.example"
    )
