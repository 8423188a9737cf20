"""Series in a real browser: several on one time axis, zoom in the address, channels by name, rows of a table, what they are chosen from."""

from __future__ import annotations

import math

import msgspec
import pytest
from alert_lives import life
from served_page import answered, filled

START, STEP = 1_700_000_000_000, 60_000
RIGHTS = {
    "operator": True,
    "operators": True,
    "streams": [{"name": "web", "topic": "web.observations", "scores": "web.scores"}],
}
LIFE = life("early")
NAMES = ["early", "late", *(f"host-{i:05d}" for i in range(498))]


def points(first: int, count: int, channels: int = 1) -> list[dict[str, object]]:
    return [
        {
            "t": START + STEP * i, "at": i, "in": 0, "observed": [math.sin(i / 9 + c) for c in range(channels)], "expected": [0.0] * channels,
            "lower": [-1.0] * channels, "upper": [1.0] * channels, "score": 1.0 + i % 3, "threshold": 3.0, "alarm": None,
        }
        for i in range(first, first + count)
    ]  # fmt: skip


SERIES = {
    "early": points(0, 200),
    "late": points(300, 200),
    "host-00003": points(0, 200, 2),
    "rows": [p | {"observed": None, "expected": None, "lower": None, "upper": None} for p in points(0, 50)],
}
ANSWERS = {
    "rights": RIGHTS, "alert": [msgspec.to_builtins(r) for r in LIFE], "decisions": [], "marks": [],
    "series": {"of": 10_000, "fitting": 10_000, "names": NAMES},
    "points": lambda asked: {
        "stream": "web", "series": asked["series"], "topic": "web.scores", "partition": 0, "source": "scores", "newest": 20_000,
        "channels": ["usage_user", "usage_idle"], "points": SERIES[asked["series"]],
    },
}  # fmt: skip


@pytest.fixture
async def page():
    async with answered(
        filled(*LIFE), "#/series?stream=web&s=early&s=late", answers=ANSWERS, timezone_id="UTC"
    ) as page:
        yield page


async def range_of(page):
    """From where to where the address says that pictures go, in steps; None: all."""
    found = await page.evaluate(
        "[...new URLSearchParams(location.hash.split('?')[1]).entries()].filter(([n]) => n === 'from' || n === 'to').map(([, v]) => Number(v))"
    )
    return [(t - START) / STEP for t in found] or None


async def told_at(page, x, expected, picture=0):
    """A picture says the expected time below the pointer at a place of the first one, once that has the axis which it is to have."""
    over = page.locator(".plot .u-over").first
    box = await over.bounding_box()
    for attempt in range(100):
        await page.mouse.move(box["x"] + x * box["width"], box["y"] + 20 + attempt % 2)
        if expected in (told := await page.locator(".reading").nth(picture).inner_text()):
            return
        await page.wait_for_timeout(100)
    pytest.fail(f"it says {told}")


async def test_several_series_lie_on_one_time_axis_and_the_address_keeps_the_zoom(page):
    from playwright.async_api import expect

    await expect(page.locator(".plot canvas")).to_have_count(4)
    await told_at(page, 0.1, "2023-11-14 23:0")  # a tenth of 500 minutes on, not of the 200 of this series
    over = await page.locator(".plot .u-over").first.bounding_box()
    await page.mouse.move(over["x"] + 0.2 * over["width"], over["y"] + 20)
    await page.mouse.down()
    await page.mouse.move(over["x"] + 0.8 * over["width"], over["y"] + 20, steps=4)
    await page.mouse.up()
    await page.wait_for_timeout(200)
    begin, end = await range_of(page)
    assert (begin, end) == (pytest.approx(100, abs=3), pytest.approx(399, abs=3))
    await page.reload()
    await expect(page.locator(".plot canvas")).to_have_count(4)
    assert await range_of(page) == [begin, end]
    await told_at(page, 0.1, "2023-11-15 00:2")  # 100 + 0.1 * 300 = 130 minutes on
    await page.locator(".plot .u-over").last.dblclick()
    await page.wait_for_timeout(200)
    assert await range_of(page) is None
    await page.locator(".plot").first.focus()
    await page.keyboard.press("+")
    await page.wait_for_timeout(200)
    begin, end = await range_of(page)
    assert 0.6 * 499 < end - begin < 0.8 * 499
    await page.keyboard.press("0")
    await page.wait_for_timeout(200)
    assert await range_of(page) is None
    await page.get_by_role("button", name="1 h").click()
    await page.wait_for_timeout(200)
    await told_at(page, 0.5, "2023-11-15 06:0", picture=2)  # half an hour before the newest point of them all
    await page.locator(".detail h2").first.click()
    await page.keyboard.press("Escape")
    await expect(page.locator(".detail")).to_contain_text("Choose a series")
    assert page.problems == []


async def test_a_name_that_is_ticked_stays_where_it_is_and_channels_have_their_names(page):
    from playwright.async_api import expect

    box = page.get_by_role("checkbox", name="host-00003")
    before = await box.bounding_box()
    await box.check()
    await expect(page.get_by_text("usage_idle")).to_be_visible()
    assert await box.bounding_box() == before
    assert await box.evaluate("e => e === document.activeElement")
    await expect(page.locator(".filters")).to_contain_text("10,000 of 10,000 series, the first 500 shown")


async def test_of_rows_only_the_score_is_drawn(page):
    from playwright.async_api import expect

    await page.evaluate("location.hash = '#/series?stream=web&s=rows'")
    await expect(page.locator(".plot canvas")).to_have_count(1)
    await expect(page.locator(".chart figcaption")).to_contain_text("score")


async def test_an_alert_leads_to_its_stretch_of_the_series(page):
    from playwright.async_api import expect

    await page.evaluate("id => { location.hash = `#/alerts?alert=${id}`; }", LIFE[-1].id)
    link = page.locator(".detail .sub").get_by_role("link", name="series")
    await expect(link).to_have_attribute("href", "#/series?stream=taxi&s=early&from=1404142800000&to=1404203100000")
