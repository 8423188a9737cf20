"""The page in a real browser, as a person uses it; screenshots at both widths and in both themes lie in out/page afterwards."""

from __future__ import annotations

import asyncio
import json
import math
import time
from pathlib import Path

import msgspec
import pytest
from alert_lives import life, row_alerts
from alert_topic import new_alert_topic, publish
from axe_playwright_python.base import AXE_FILE_PATH
from browser import browser_page
from served_page import filled, served

from pipeline.alerts.subscribe import AlertSubscriber
from pipeline.dashboard.board import Board
from pipeline.dashboard.server import Tokens, serving
from pipeline.settings import KafkaSettings

NASTY = '<img src=x onerror="document.title=1">'
SHOTS = Path(__file__).parents[3] / "out" / "page"


@pytest.fixture
def kafka(embedded_kafka):
    return KafkaSettings(brokers=embedded_kafka)


@pytest.fixture
def topic(kafka):
    return new_alert_topic(kafka)


@pytest.mark.embedded
async def test_alerts_are_listed_drawn_filtered_and_followed(kafka, topic):
    from playwright.async_api import expect

    await publish(kafka, topic, [*life("host-1/cpu"), *life("host-2/cpu", start=30, values=(5.0,)), *row_alerts()])
    subscriber = AlertSubscriber(kafka, topic, start="beginning")
    async with serving(subscriber) as (address, _), browser_page(f"{address}#/alerts", color_scheme="light") as page:
        rows = page.locator(".row")
        await expect(rows).to_have_count(3)
        await expect(page.locator("#connection")).to_have_text("alerts only")
        await expect(page).to_have_title("(2) Tidewatch")
        await expect(rows.nth(2)).to_contain_text("host-1/cpu")  # what fires comes first

        await rows.nth(2).click()
        detail = page.locator(".detail")
        await expect(detail.locator("h2")).to_have_text("host-1/cpu")
        await expect(detail.locator(".life li")).to_have_count(3)
        await expect(detail.locator(".plot canvas")).to_have_count(1)
        await detail.locator(".life button").first.click()
        await detail.get_by_text("evidence and model").click()
        await expect(detail.locator(".facts").last).to_contain_text("16 … 24")

        await publish(kafka, topic, life(NASTY, start=60, values=(5.0,)))
        await expect(rows).to_have_count(4)
        await page.locator(".row").filter(has_text=NASTY).click()
        await expect(detail.locator("h2")).to_have_text(NASTY)
        await page.go_back()
        await expect(detail.locator("h2")).to_have_text("host-1/cpu")

        await page.locator(".row").filter(has_text="http").click()
        await expect(detail).to_contain_text("ftp")
        await page.keyboard.press("Escape")
        await expect(detail).to_contain_text("Choose an alert")
        await page.keyboard.press("j")
        await expect(page.locator('[role=option][aria-selected="true"]')).to_have_count(1)
        await page.get_by_role("button", name="resolved 1").click()
        await expect(rows).to_have_count(1)
        await page.reload()
        await expect(rows).to_have_count(1)  # the address holds what is wanted
        await page.get_by_role("button", name="all 4").click()
        await page.keyboard.press("/")
        await page.keyboard.type("HOST-2")
        await expect(rows).to_have_count(1)
        await page.keyboard.press("Escape")
        await expect(rows).to_have_count(4)

        light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        await page.locator(".menu summary").click()
        await page.get_by_role("button", name="light or dark").click()
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") != light
        assert page.problems == []
        assert {url.startswith(address) for url in page.asked} == {True}
        assert await page.title() == "(3) Tidewatch"


@pytest.mark.embedded
async def test_the_page_says_when_the_server_is_gone_and_finds_it_again(kafka, topic):
    from playwright.async_api import expect

    await publish(kafka, topic, life("a"))
    async with serving(AlertSubscriber(kafka, topic, start="beginning")) as (address, _):
        port = int(address.rsplit(":", 1)[1].strip("/"))
        opened = browser_page(f"{address}#/alerts")
        page = await opened.__aenter__()
        await expect(page.locator(".row")).to_have_count(1)
    try:
        await expect(page.locator("#connection")).to_have_text("away")
        async with serving(AlertSubscriber(kafka, topic, start="beginning"), port=port):
            await expect(page.locator("#connection")).to_have_text("alerts only", timeout=30_000)
            await expect(page.locator(".row")).to_have_count(1)
    finally:
        await opened.__aexit__(None, None, None)


LOOK = {
    "at": 0.0, "kafka": "", "store": "", "workers": ["w1@10.0.0.1", "w2@10.0.0.2", "w3@10.0.0.3"],
    "words": [
        {"worker": "pod-1:7", "verdict": "well", "age": 2.0, "began": 1.7e9, "version": "1", "problems": [], "notes": [], "held": {"web": [0]}, "stored_at": 1.7e9},
        {"worker": "pod-2:7", "verdict": "degraded", "age": 1.0, "began": 1.7e9, "version": "1", "problems": ["web[0] waits for the store since 31 s"],
         "notes": [f"web[0]: the clock of series '{NASTY}' is 8 h ahead"], "held": {}, "stored_at": None},
    ],
    "streams": [
        {
            "name": "web", "verdict": "live", "why": "what comes is scored", "topic": "web.observations", "lag": 12, "rate": 812.0,
            "coming": 815.5, "silences": [{"serial": 3, "series": "host-*", "until": 4e12, "by": "ann@x", "at": "", "why": "move"}],
            "decisions": 4, "scores": "", "live": 980, "warming": 12,
            "replays": [{"source": NASTY, "sent": 5160, "total": 10320, "when": 1.41e12, "speed": "600x"}],
            "partitions": [{"partition": 0, "offset": 100, "end": 112, "lag": 12, "stored_for": 1.0, "came_for": 0.2}],
        }
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, "degraded"),
        ({"words": LOOK["words"][:1]}, "live"),
        ({"workers": []}, "no worker"),
        ({"kafka": "no broker answers", "workers": []}, "Kafka away"),
        ({"store": "Redis cannot be reached"}, "store away"),
        ({"streams": [LOOK["streams"][0] | {"verdict": "stuck", "why": "no checkpoint for 80 s"}]}, "stuck"),
    ],
)
async def test_the_page_knows_what_it_does_not_know(changed, word):
    from playwright.async_api import expect

    board = filled(*life("a"))
    board.say("look", json.dumps(LOOK | {"at": time.time()} | changed).encode())
    async with served(board) as address, browser_page(address) as page:
        await expect(page.locator("#connection")).to_have_text(word)
        await expect(page.locator(".standing b")).to_have_text(word)
        await expect(page.get_by_role("region", name="web")).to_contain_text("host-*")
        nobody = page.get_by_role("region", name="workers").get_by_text("Nobody works")
        await expect(nobody).to_have_count(
            int(word == "no worker")
        )  # of whom Kafka would tell, it says so only where Kafka does


async def test_thousands_of_alerts_are_drawn_as_needed_and_what_comes_moves_nothing():
    from playwright.async_api import expect

    [first, *_] = life("first", values=(5.0,))
    first = msgspec.structs.replace(first, starts_at="2024-01-01T00:00:00.000Z")
    board = filled(*[msgspec.structs.replace(first, id=f"{i:08x}", series=f"host-{i:04d}/cpu") for i in range(5_000)])
    async with served(board) as address, browser_page(f"{address}#/alerts") as page:
        await expect(page.get_by_role("button", name="firing 5000")).to_be_visible()
        rows = page.locator(".rows")
        assert await page.locator(".row").count() < 60
        await rows.evaluate("e => { e.scrollTop = 100_000; }")
        await expect(page.locator(".row").filter(has_text="host-1620/cpu")).to_be_visible()
        await page.locator(".row").filter(has_text="host-1620/cpu").click()
        await page.locator(".summary").evaluate(
            "e => { const r = document.createRange(); r.selectNodeContents(e); getSelection().removeAllRanges(); getSelection().addRange(r); }"
        )
        before = await page.evaluate("[String(getSelection()), document.querySelector('.rows').scrollTop]")
        assert before[0]
        for i in range(200):
            board.take(msgspec.structs.replace(first, id=f"new-{i}", series=f"zzz-{i}"))
            await asyncio.sleep(0.002)
        await expect(page.get_by_role("button", name="firing 5200")).to_be_visible()
        assert await page.evaluate("[String(getSelection()), document.querySelector('.rows').scrollTop]") == before
        assert page.problems == []


async def test_a_page_that_stays_open_keeps_of_what_is_over_the_newest_only():
    [first, *_, over] = life("first")
    board = Board(max_ended=6_000)
    for i in range(5_010):
        board.take(msgspec.structs.replace(over, id=f"{i:08x}", sequence=9))
    board.take(msgspec.structs.replace(first, id="open"))
    board.say("read", b'{"all": true}')
    held = "import('./store.js').then((s) => [s.known.alerts.size, s.known.changed.size, s.known.alerts.has('open'), s.known.alerts.keys().next().value])"
    async with served(board) as address, browser_page(f"{address}#/alerts", bypass_csp=True) as page:
        await page.locator(".row").first.wait_for()
        assert await page.evaluate(held) == [5_001, 5_001, True, f"{10:08x}"]
        board.take(msgspec.structs.replace(first, id=f"{10:08x}", sequence=10))  # it opens again, and is none of them
        board.take(msgspec.structs.replace(over, id="over", sequence=9))
        await page.wait_for_function("import('./store.js').then((s) => s.known.alerts.has('over'))")
        assert (await page.evaluate(held))[:1] == [5_002]


EXTREMES = [
    [1e16, 1e16 + 2], [1e16, 1e16], [1.7e18, 1.7e18 + 256], [-1.7e308, 1.7e308], [0.0, 5e-324], [5e-324, 5e-324], [1.0, 1.0 + 2**-52],
    [5e-324, 1e308], [0.0, 0.0], [math.nan, 3.0], [math.inf, 1.0], [math.nan], [3.0, 17.0],
]  # fmt: skip


@pytest.mark.parametrize("window", EXTREMES, ids=str)
async def test_a_window_of_any_numbers_is_drawn(window):
    from playwright.async_api import expect

    record = life("a")[0]
    evidence = msgspec.structs.replace(record.evidence, window=[[v] for v in window])
    board = filled(msgspec.structs.replace(record, evidence=evidence))
    async with served(board) as address, browser_page(f"{address}#/alerts?alert={record.id}") as page:
        await expect(page.locator(".plot canvas")).to_have_count(1, timeout=20_000)
        text = await page.locator(".detail").inner_text()
        assert "NaN" not in text
        assert "Infinity" not in text
        assert page.problems == []


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_view_fits_and_axe_finds_nothing(width, theme):
    from playwright.async_api import expect

    SHOTS.mkdir(parents=True, exist_ok=True)
    chosen = life("host-1/cpu")
    board = filled(
        *chosen, *life("host-2/cpu", start=3, values=(5.0,)), *life("disk", start=4, values=(9.0, 9.0)), *row_alerts()
    )
    board.say("look", json.dumps(LOOK | {"at": time.time()}).encode())
    views = {
        "overview": "#/overview",
        "alerts": "#/alerts",
        "alert": f"#/alerts?alert={chosen[0].id}",
        "series": "#/series",
        "what-if": "#/what-if",
        "none": "#/alerts?q=nothing",
    }
    async with (
        served(board, tokens=Tokens("", "0perators-of-this-test")) as address,
        browser_page(address, width=width, height=844, color_scheme=theme, bypass_csp=True) as page,
    ):
        await expect(page.locator("#connection")).to_have_text("degraded")
        await page.add_script_tag(path=AXE_FILE_PATH)
        for name, place in views.items():
            await page.evaluate("place => { location.hash = place; }", place)
            if name == "alert":
                await expect(page.locator(".plot canvas")).to_have_count(1)
            await page.wait_for_timeout(150)
            await page.screenshot(path=SHOTS / f"{name}-{width}-{theme}.png")
            found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            assert [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found["violations"]] == [], name
            across = await page.evaluate("document.documentElement.scrollWidth")
            assert across <= width, name
