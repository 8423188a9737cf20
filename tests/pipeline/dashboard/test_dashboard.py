"""The dashboard: what the server lets through, and the page in a real browser."""

from __future__ import annotations

import asyncio
import math
import shutil
import uuid
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import numpy as np
import pytest
from alert_logs import Log, Row, metric_model, scores, stream
from confluent_kafka.admin import AdminClient, NewTopic

from detectors.features import FeatureEncoder
from pipeline.alerts.subscribe import AlertSubscriber
from pipeline.dashboard.board import Board
from pipeline.dashboard.server import PAGE_HEADERS, create_app, serving
from pipeline.errors import SettingsError
from pipeline.kafka.publisher import KafkaPublisher
from pipeline.operations.listening import listening
from pipeline.settings import KafkaSettings

NASTY = '<img src=x onerror="document.title=1">'


def life(series, *, start=0.0, values=(5.0, 7.0, 0.1, 0.1, 0.1)):
    """An alert with a window that rises at its end, an expected value and a band."""
    log = Log(stream(), metric_model(interval_ms={series: 300_000}))
    rows = scores(series, values, start=start, observed=(30.0,), expected=(20.0,))
    observations, heard, scored = log.columns(rows)
    scored.packed[:] = 20 + np.sin(np.arange(len(scored.packed)))[:, None]
    scored.packed[2::3] = 30.0
    scored.margins = lambda at: np.full((len(at), 1), 4.0)
    return log.life.advance(log.state, observations, heard, scored)


def row_alerts():
    encoder = FeatureEncoder(["bytes", "service"], categorical=["service"]).fit([[10.0, "http"], [30.0, "smtp"]])
    log = Log(stream(name="kdd"), metric_model(kind="table", features=encoder))
    return log.run(
        [Row("http", 50, 5.0, observed=(0.0,) * 4, contributions=(0.5, 0, 1.5, 0.25), original=[10.0, "ftp"])]
    )


def test_the_board_is_bounded_and_keeps_the_onset_and_the_newest_records():
    board = Board(max_alerts=2, max_records=3)
    for series in "abc":
        for record in life(series, values=(5.0, 7.0, *[5.0] * 60)):
            board.take(record)
    kept = board.records()
    assert [a.series for a in kept] == list("bbbccc")
    sequences = [a.sequence for a in kept[:3]]
    assert sequences[0] == 0
    assert sequences[1:] == [5, 6]


async def test_a_listener_gets_what_is_remembered_and_what_comes_and_a_slow_one_is_told_to_begin_anew():
    board = Board()
    first, second = life("a")[:2]
    board.take(first)
    with board.listener() as queue:
        board.take(second)
        assert [queue.get_nowait(), queue.get_nowait()] == [first, second]
        for _ in range(10_000):
            board.take(second)
        got = [queue.get_nowait() for _ in range(queue.qsize())]
        assert None in got
    assert board.listening == 0


@asynccontextmanager
async def served(**options):
    app = create_app(Board(), **{"host": "127.0.0.1", **options})
    async with (
        listening(app, host="127.0.0.1", port=0, headers=PAGE_HEADERS) as port,
        aiohttp.ClientSession() as client,
    ):
        yield client, f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("path", ["/", "/page.js", "/style.css", "/icon.svg", "/nothing"])
async def test_every_answer_forbids_what_the_page_does_not_need(path):
    async with served() as (client, url), client.get(url + path) as answer:
        assert answer.status == (404 if path == "/nothing" else 200)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Server"] == "tidewatch"


@pytest.mark.parametrize(("name", "status"), [("localhost:1", 200), ("[::1]", 200), ("evil.example", 403)])
async def test_a_foreign_name_that_points_here_is_refused(name, status):
    async with served() as (client, url), client.get(url + "/alerts", headers={"Host": name}) as answer:
        assert answer.status == status


async def test_with_a_token_only_who_knows_it_gets_in():
    async with served(host="0.0.0.0", token="s3cret-of-this-test") as (client, url):
        for path in ("/", "/alerts", "/page.js", "/?token=wrong", "/alerts?token=s3cret-of-this-test"):
            async with client.get(url + path) as answer:
                assert answer.status == 401
        async with client.get(url + "/", headers={"Authorization": "Bearer s3cret-of-this-test"}) as answer:
            assert answer.status == 200
        async with client.get(url + "/?token=s3cret-of-this-test", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/")
            cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        async with client.get(url + "/page.js", headers={"Cookie": cookie.partition(";")[0]}) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "dashboard.example"])
def test_beyond_loopback_a_token_is_required(host):
    with pytest.raises(SettingsError, match="set TIDEWATCH_DASHBOARD_TOKEN"):
        create_app(Board(), host=host)


@pytest.fixture
def kafka(embedded_kafka):
    return KafkaSettings(brokers=embedded_kafka)


@pytest.fixture
def topic(kafka):
    name = f"test-{uuid.uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": kafka.brokers})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(20)
    return name


async def publish(kafka, topic, alerts):
    out = KafkaPublisher(kafka)
    await asyncio.gather(*[out.send(topic, m.key, m.value, m.headers) for m in (a.message(topic) for a in alerts)])
    await out.close()


@asynccontextmanager
async def browser_page(address, **options):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium on the PATH")
    from playwright.async_api import async_playwright, expect

    expect.set_options(timeout=60_000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1200, "height": 800}, **options)
        page.set_default_timeout(60_000)
        page.problems, page.asked = [], []
        page.on("console", lambda m: page.problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: page.problems.append(str(e)))
        page.on("request", lambda r: page.asked.append(r.url))
        try:
            await page.goto(address)
            yield page
        finally:
            await browser.close()


@pytest.mark.embedded
async def test_the_page_lists_draws_and_follows_alerts(kafka, topic):
    from playwright.async_api import expect

    await publish(kafka, topic, [*life("host-1/cpu"), *life("host-2/cpu", start=30, values=(5.0,)), *row_alerts()])
    subscriber = AlertSubscriber(kafka, topic, start="beginning")
    async with serving(subscriber) as (address, _), browser_page(address, color_scheme="light") as page:
        cards = page.locator("#list .alert")
        await expect(cards).to_have_count(3)
        await expect(page.locator("#connection")).to_have_text("live")
        await expect(cards.first).to_contain_text("http")  # the newest first
        await expect(page).to_have_title("(2) Tidewatch alerts")

        await page.get_by_role("button", name="host-1/cpu").click()
        await expect(page.locator("#detail h2")).to_have_text("host-1/cpu")
        await expect(page.locator("#records button")).to_have_count(3)
        await page.locator("#records button").first.click()
        await expect(page.locator(".chart .band")).to_have_count(1)
        await expect(page.locator(".chart .values")).to_have_count(1)
        await expect(page.locator("#facts")).to_contain_text("16 … 24")
        heights = await page.evaluate(
            "[...document.querySelectorAll('.chart .band, .chart')].map(e => e.getBoundingClientRect().height)"
        )
        assert heights[0] > 150
        assert 20 < heights[1] < heights[0]

        await publish(kafka, topic, life(NASTY, start=60, values=(5.0,)))
        await expect(cards).to_have_count(4)
        await expect(cards.first).to_contain_text(NASTY)
        await cards.first.click()
        await expect(page.locator("#detail h2")).to_have_text(NASTY)

        await page.keyboard.press("ArrowDown")
        await expect(page.locator("#detail h2")).to_have_text("http")
        await expect(page.locator("#features")).to_contain_text("ftp")
        await page.get_by_role("button", name="resolved 1").click()
        await expect(cards).to_have_count(1)
        await page.locator("#statuses button").first.click()
        await page.get_by_role("searchbox").fill("HOST-2")
        await expect(cards).to_have_count(1)

        light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        await page.get_by_role("button", name="light and dark").click()
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") != light
        assert page.problems == []
        assert {url.startswith(address) for url in page.asked} == {True}
        assert await page.title() == "(3) Tidewatch alerts"


@pytest.mark.embedded
async def test_the_page_says_when_the_server_is_gone_and_finds_it_again(kafka, topic):
    from playwright.async_api import expect

    await publish(kafka, topic, life("a"))
    async with serving(AlertSubscriber(kafka, topic, start="beginning")) as (address, _):
        port = int(address.rsplit(":", 1)[1].strip("/"))
        opened = browser_page(address)
        page = await opened.__aenter__()
        await expect(page.locator("#list .alert")).to_have_count(1)
    try:
        await expect(page.locator("#connection")).to_have_text("connecting again")
        async with serving(AlertSubscriber(kafka, topic, start="beginning"), port=port):
            await expect(page.locator("#connection")).to_have_text("live", timeout=15_000)
            await expect(page.locator("#list .alert")).to_have_count(1)
    finally:
        await opened.__aexit__(None, None, None)


@pytest.mark.embedded
async def test_an_address_that_is_taken_is_named(kafka, topic):
    async with serving(AlertSubscriber(kafka, topic, start="beginning")) as (address, _):
        port = int(address.rsplit(":", 1)[1].strip("/"))
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port} cannot be bound for the dashboard"):
            async with serving(AlertSubscriber(kafka, topic, start="beginning"), port=port):
                pass


EXTREMES = {
    "counters": "[1e16, 1e16 + 2]",
    "one counter": "[1e16, 1e16]",
    "nanoseconds": "[1.7e18, 1.7e18 + 256, 1.7e18 + 512]",
    "beyond all": "[-Number.MAX_VALUE, Number.MAX_VALUE]",
    "large": "[-1e308, 1e308]",
    "one large": "[1e308, 1e308]",
    "denormal": "[0, 5e-324]",
    "denormals": "[5e-324, 5e-324]",
    "neighbours": "[1, 1 + Number.EPSILON]",
    "far apart": "[5e-324, 1e308]",
    "zero": "[0, 0]",
    "minus zero": "[-0, 0]",
    "not numbers": "[NaN, Infinity, -Infinity, null]",
    "one number": "[NaN, 3, Infinity]",
    "nothing": "[]",
    "usual": "[3, 17]",
}


@pytest.mark.parametrize("name", EXTREMES)
async def test_an_axis_ends_whatever_the_values_are(name, axis):
    values = EXTREMES[name]
    low, high, shown, raw = await asyncio.wait_for(axis(values), 30)
    assert None not in (low, high)
    assert low < high
    assert len(shown) <= 12
    assert len(raw) <= 12
    assert shown == sorted(shown)
    if name in ("usual", "large"):
        assert len(shown) >= 3


@pytest.fixture
async def axis():
    """(values) -> the interval, its ticks and the ticks between the bare values, in a browser."""
    app = create_app(Board(), host="127.0.0.1")
    async with (
        listening(app, host="127.0.0.1", port=0, headers=PAGE_HEADERS) as port,
        browser_page(f"http://127.0.0.1:{port}/") as page,
    ):
        yield lambda values: page.evaluate(
            f"""async () => {{
                const {{ span, ticks }} = await import("/axis.js");
                const values = {values};
                const [low, high] = span(values);
                return [low, high, ticks(low, high), ticks(...[...values, 1, 2].slice(0, 2))];
            }}"""
        )


@pytest.mark.parametrize("window", [[1e16, 1e16 + 2], [-1.7e308, 1.7e308], [0.0, 5e-324], [math.inf, 1.0], [math.nan]])
async def test_a_window_of_any_numbers_is_drawn(window):
    record = life("a")[0]
    board = Board()
    evidence = msgspec.structs.replace(record.evidence, window=[[v] for v in window])
    board.take(msgspec.structs.replace(record, evidence=evidence))
    app = create_app(board, host="127.0.0.1")
    async with (
        listening(app, host="127.0.0.1", port=0, headers=PAGE_HEADERS) as port,
        browser_page(f"http://127.0.0.1:{port}/") as page,
    ):
        await page.locator("#list .alert").first.click()
        drawn = await page.locator(".chart").inner_html(timeout=20_000)
        assert "NaN" not in drawn
        assert "Infinity" not in drawn
        assert page.problems == []
