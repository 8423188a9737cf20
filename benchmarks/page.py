"""How smooth the page stays: 5,000 alerts open, records coming at a rate, in Chromium on this machine.

    python benchmarks/page.py [--alerts 5000] [--rate 500] [--seconds 30]

Prints the first paint, the longest task of the browser's main thread and how many took more than 50 ms while records came, frames a second while
the list was scrolled, and the heap at the beginning and after each quarter; beside it the same page with nothing coming, as the baseline.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from pathlib import Path

import msgspec

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

from alert_lives import life  # noqa: E402

from pipeline.dashboard.board import Board  # noqa: E402
from pipeline.dashboard.server import PAGE_HEADERS, create_app  # noqa: E402
from pipeline.operations.listening import listening  # noqa: E402

_WATCH = """() => {
  window.tasks = [];
  new PerformanceObserver((list) => { for (const e of list.getEntries()) window.tasks.push(e.duration); }).observe({ type: "longtask", buffered: false });
}"""
_SCROLL = """async (seconds) => {
  const box = document.querySelector(".rows"), end = performance.now() + 1000 * seconds;
  let frames = 0;
  while (performance.now() < end) {
    await new Promise(requestAnimationFrame);
    frames += 1;
    box.scrollTop = (box.scrollTop + 40) % (box.scrollHeight - box.clientHeight);
  }
  return frames / seconds;
}"""


_PARTS = 4


async def measured(rate: int, alerts: int, seconds: int) -> tuple[dict[str, float], list[float]]:
    """One page, `rate` records/s; and the heap in MB before and after each of `_PARTS` equal parts of the time."""
    from playwright.async_api import async_playwright

    [first, *_] = life("first", values=(5.0,))
    board = Board()
    made = [msgspec.structs.replace(first, id=f"{i:08x}", series=f"host-{i:05d}/cpu") for i in range(alerts)]
    for record in made:
        board.take(record)
    board.say("read", b'{"all": true}')
    all_tasks: list[float] = []

    async def send() -> None:
        sequence = 0
        while rate:
            for _ in range(max(rate // 50, 1)):
                sequence += 1
                board.take(
                    msgspec.structs.replace(made[sequence * 7919 % alerts], sequence=sequence, score=4.0 + sequence % 5)
                )
            await asyncio.sleep(0.02)

    app = create_app(board, host="127.0.0.1")
    async with listening(app, host="127.0.0.1", port=0, headers=PAGE_HEADERS) as port, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1440, "height": 900})
        await page.goto(f"http://127.0.0.1:{port}/#/alerts")
        await page.locator(".row").first.wait_for()
        paint = await page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1")
        await page.locator(".row").nth(2).click()
        await page.wait_for_timeout(2000)
        await page.evaluate(_WATCH)
        session = await page.context.new_cdp_session(page)

        async def heap() -> float:
            await session.send("HeapProfiler.collectGarbage")
            return float((await session.send("Runtime.getHeapUsage"))["usedSize"]) / 2**20

        heaps = [await heap()]
        sending = asyncio.create_task(send())
        rates = []
        for _ in range(_PARTS):
            rates.append(await page.evaluate(_SCROLL, seconds / _PARTS))
            tasks = await page.evaluate("window.tasks")  # the collection that follows is no task of the page
            heaps.append(await heap())
            await page.evaluate("window.tasks = []")
            all_tasks += tasks
        sending.cancel()
        await browser.close()
    return {
        "paint": paint,
        "longest": max(all_tasks, default=0.0),
        "long": len(all_tasks),
        "frames": min(rates),
    }, heaps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=5_000)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=30)
    options = parser.parse_args()
    print(f"{options.alerts:,} open alerts, {options.seconds} s of scrolling")
    print(f"{'records/s':>10} {'first paint':>12} {'longest task':>13} {'over 50 ms':>11} {'frames/s':>9}   heap, MB")
    for rate in (0, options.rate):
        m, heaps = asyncio.run(measured(rate, options.alerts, options.seconds))
        print(
            f"{rate:>10,} {m['paint']:>9.0f} ms {m['longest']:>10.0f} ms {m['long']:>11.0f} {m['frames']:>9.1f}   {', '.join(f'{h:.1f}' for h in heaps)}"
        )


if __name__ == "__main__":
    main()
