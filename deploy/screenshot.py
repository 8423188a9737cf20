"""A picture of one section of a report, its heading and its charts, for README and docs. Needs Chromium on the PATH.

python deploy/screenshot.py out/demo/report.html taxi docs/images/demo-taxi.png
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

_MARGIN = 12


def draw(page: Page, section: str, to: Path) -> None:
    """From the section's heading down to its last chart."""
    place = page.locator(f"section[id='{section}']")
    for chart in place.locator(".chart").all():
        chart.scroll_into_view_if_needed()  # charts are drawn when they come into sight
        chart.locator("canvas").wait_for()
    page.evaluate("scrollTo(0, 0)")
    above, below = place.bounding_box(), place.locator(".chart").last.bounding_box()
    assert above is not None
    assert below is not None
    height = below["y"] + below["height"] + _MARGIN - above["y"]
    page.screenshot(path=to, full_page=True, clip={**above, "height": height})


def main() -> None:
    """Open the report and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("section", help="the id of its section")
    parser.add_argument("to", type=Path)
    parser.add_argument("--width", type=int, default=1000)
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": options.width, "height": 900}, color_scheme="light")
        page.goto(options.report.resolve().as_uri())
        draw(page, options.section, options.to)
        browser.close()


if __name__ == "__main__":
    main()
