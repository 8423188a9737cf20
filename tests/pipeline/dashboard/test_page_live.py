"""The page before a stream that goes on: a replay into it with its progress, and other settings tried on it meanwhile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browser import browser_page
from operated_stream import ROOT, START, STEP, OperatedStream, Watched

from pipeline.alerts.records import rfc3339
from pipeline.dashboard.server import serving

SHOTS = Path(__file__).parents[3] / "out" / "page"

pytestmark = pytest.mark.kafka


def replay(stream: OperatedStream, rows: int) -> subprocess.Popen[bytes]:
    """So many further observations, ten a second."""
    file = stream.folder / "quiet.csv"
    lines = [f"{rfc3339(START + STEP * (300 + i))},{10 + i % 3}" for i in range(rows)]
    file.write_text("\n".join(["time,value", *lines]))
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "replay", "csv", str(file), "--topic", stream.topic, "--rate", "10"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=stream.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **stream.environment},
    )  # fmt: skip
    stream.running.callback(process.wait)
    stream.running.callback(process.kill)
    return process


async def test_a_replay_is_seen_to_go_on_and_other_settings_are_tried_meanwhile(
    watched: Watched,
) -> None:
    from playwright.async_api import expect

    stream, _, settings, subscriber = watched
    async with serving(subscriber, settings=settings) as (address, _), browser_page(address, bypass_csp=True) as page:
        running = replay(stream, 6000)
        card = page.get_by_role("region", name=stream.name)
        progress = card.locator("progress")
        await expect(progress).to_be_visible()
        before = float(await progress.get_attribute("value") or 0)
        await page.wait_for_function("before => document.querySelector('progress').value > before", arg=before)
        await page.screenshot(path=SHOTS / "replay.png")

        await card.get_by_role("link", name="what if").click()
        await page.get_by_label("false alarms").fill("")
        await page.get_by_label("hold").fill("10m")
        await page.get_by_role("button", name="try").click()
        found = page.get_by_role("region", name="what if")
        await expect(found).to_contain_text(re.compile("1 alerts? now, 0 then"))
        await expect(found).to_contain_text("would not fire: 1")
        await expect(found.locator(".beside a")).to_have_text("quiet")
        records = int((await found.inner_text()).partition(" records replayed")[0].rsplit(None, 1)[-1].replace(",", ""))
        assert records > 300  # what has come since is among them
        assert running.poll() is None
        await page.screenshot(path=SHOTS / "what-if-live.png")
        await page.reload()
        await expect(found).to_contain_text("would not fire: 1")  # the address says what was tried
        running.kill()
        running.wait()
        await page.get_by_role("navigation").get_by_role("link", name="overview").click()
        await expect(progress).to_have_count(0)
        assert page.problems == []
