"""A page in Chromium, with what it asked for and what its console said."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager

import pytest


def chromium() -> str:
    """Path of a Chromium. Without one the test is skipped; CI, which installs it, fails."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no Chromium on the PATH, and CI installs one", pytrace=False)
        pytest.skip("needs Chromium on the PATH")
    return found


@asynccontextmanager
async def browser_page(address, *, width=1440, height=900, **options):
    from playwright.async_api import async_playwright, expect

    expect.set_options(timeout=60_000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": width, "height": height}, **options)
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
