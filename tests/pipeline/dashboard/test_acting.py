"""The page before a worker that works: real Kafka, real Redis, a decision made in the browser and taken by the partition."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from browser import browser_page
from operated_stream import START, STEP, Watched

from pipeline.alerts.records import rfc3339
from pipeline.dashboard.server import Tokens, serving

SHOTS = Path(__file__).parents[3] / "out" / "page"

pytestmark = pytest.mark.kafka

OPERATOR = "0perators-of-this-test"


async def test_a_person_sees_the_stream_and_its_series_acts_and_sees_what_came_of_it(
    watched: Watched,
) -> None:
    from playwright.async_api import expect

    stream, worker, settings, subscriber = watched
    async with (
        serving(subscriber, tokens=Tokens("", OPERATOR), settings=settings) as (address, _),
        browser_page(f"{address}?token={OPERATOR}", bypass_csp=True) as page,
    ):
        card = page.get_by_role("region", name=stream.name)
        await expect(card.locator(".verdict")).to_have_text("live")
        await expect(card).to_contain_text("1 ")
        await card.get_by_role("link", name="series").click()
        await page.get_by_role("checkbox", name="quiet").check()
        await expect(page.locator(".detail")).to_contain_text("300 points")
        await expect(page.locator(".plot canvas")).to_have_count(1)
        await page.locator(".detail .beside a").first.click()

        await page.get_by_role("button", name="Acknowledge").click()
        await page.get_by_label("why").fill("the disk is being changed")
        await page.get_by_label("who").fill("ann")
        await page.get_by_role("dialog").get_by_role("button", name="Look after it").click()
        await expect(page.get_by_role("dialog")).to_contain_text("All partitions have taken it")
        await page.get_by_role("button", name="Done").click()
        await expect(page.locator(".detail")).to_contain_text("looked after by ann (page)")
        await expect(page.locator(".detail")).to_contain_text(
            "acknowledge quiet: the disk is being changed by ann (page)"
        )
        await page.get_by_role("button", name="undo decision 3").click()
        await page.get_by_role("dialog").get_by_role("button", name="Take it back").click()
        await expect(page.get_by_role("dialog")).to_contain_text("All partitions have taken it")
        await page.get_by_role("button", name="Done").click()
        await expect(page.locator(".detail")).not_to_contain_text("looked after by")
        await expect(page.locator(".life .word s")).to_have_text("acknowledge quiet: the disk is being changed")
        await page.get_by_role("button", name="Comment…").click()
        await page.get_by_role("textbox", name="comment").fill("the new disk\nis slower")
        await page.get_by_role("dialog").get_by_role("button", name="Comment").click()
        await expect(page.get_by_role("dialog")).to_contain_text("All partitions have taken it")
        await page.get_by_role("button", name="Done").click()
        await expect(page.locator(".life .word q")).to_have_text("the new disk is slower")
        await expect(page.locator(".life")).not_to_contain_text("not taken yet")
        life = await page.locator(".life > li").all_inner_texts()
        told = [
            next(i for i, line in enumerate(life) if word in line)
            for word in ("acknowledge quiet", "acknowledged ", "take back 3", "unacknowledged", "the new disk")
        ]
        assert told == sorted(told), life
        await page.screenshot(path=SHOTS / "alert-said.png", full_page=True)
        await page.get_by_role("button", name="Close…").click()
        await page.get_by_role("dialog").get_by_role("button", name="Close").click()
        await expect(page.get_by_role("dialog")).to_contain_text("All partitions have taken it")
        await page.get_by_role("button", name="Done").click()
        await expect(page.locator(".detail .sub .mark")).to_have_text("resolved")

        await page.get_by_role("button", name="This was normal…").click()
        await page.get_by_label("holds").select_option("at this time of day")
        await page.get_by_role("dialog").get_by_role("button", name="This was normal").click()
        await expect(page.get_by_role("dialog")).to_contain_text("All partitions have taken it")
        await page.get_by_role("button", name="Done").click()
        await expect(page.locator(".detail .said")).to_contain_text("by ann (page)")
        await page.get_by_role("button", name="undo…").click()
        await page.get_by_role("dialog").get_by_role("button", name="Take it back").click()
        await expect(page.get_by_role("dialog")).to_contain_text("All partitions have taken it")
        await page.get_by_role("button", name="Done").click()
        await expect(page.locator(".detail .said s")).to_have_text("normal")

        await page.locator(".detail .sub").get_by_role("link", name="series").click()
        await expect(page.locator(".detail")).to_contain_text("decisions: 8")
        await expect(page.locator(".detail")).to_contain_text(
            "acknowledge quiet: the disk is being changed (taken back) by ann (page)"
        )
        await expect(page.locator(".detail")).to_contain_text("from behind the observation of 2023-11-15 03:12:20 on")
        await page.screenshot(path=SHOTS / "series-decided.png")
        await page.get_by_role("button", name="You missed one…").click()
        await page.get_by_label("from", exact=True).fill(rfc3339(START + 280 * STEP))
        await page.get_by_label("to", exact=True).fill(rfc3339(START + 298 * STEP))
        await page.get_by_role("dialog").get_by_role("button", name="You missed one").click()
        await expect(page.get_by_role("dialog")).to_contain_text("All partitions have taken it", timeout=60_000)
        await page.get_by_role("button", name="Done").click()
        await expect(page.locator(".detail .said strong")).to_have_text("missed")

        await page.add_script_tag(path=AXE_FILE_PATH)
        for view in (f"#/series?stream={stream.name}&s=quiet", f"#/decisions?stream={stream.name}", "#/overview"):
            await page.evaluate("place => { location.hash = place; }", view)
            await page.wait_for_timeout(1000)
            await page.screenshot(path=SHOTS / f"{view[2:].partition('?')[0]}-decided.png", full_page=True)
            found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            assert [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found["violations"]] == [], view
        worker.terminate()
        worker.wait()
        await expect(page.locator("#connection")).to_have_text("no worker")
        assert page.problems == []
    assert stream.alerts()[-1]["change"] == "closed"
    done = await asyncio.to_thread(stream.run, "decisions", stream.name)
    assert "feedback normal: quiet at" in done.output
    assert "every day at that time" in " ".join(done.output.split())
    assert "the new disk is slower" in done.output
