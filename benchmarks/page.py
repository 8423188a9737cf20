"""How smooth the page stays: 5,000 alerts open, records coming at a rate, in Chromium on this machine.

    python benchmarks/page.py [--alerts 5000] [--series 10000] [--rates 0 500] [--seconds 30] [--parts 4]
    python benchmarks/page.py --rates 500 --seconds 1800 --parts 30          # half an hour, the heap each minute

Prints the first paint, the longest task of the browser's main thread, by the clock and by the CPU time that it took (on a busy machine the two are far apart; told
where there are four parts at most), and how many took more than 50 ms by the clock while records came, frames a second while
the list was scrolled (10 s of each part at most), and the heap, collected, at the beginning and after each part. At rate 0 nothing comes: the baseline. Of 20
records one ends an alert and one begins another, of the next series, so that alerts come and go; the others are news of one that is open.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

from alert_lives import life  # noqa: E402

from pipeline.alerts.records import Alert  # noqa: E402
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


_SCROLLED = 10.0
"""Seconds of each part."""
_TRACED = 4
"""Parts beyond which the browser keeps no trace of its tasks."""
_EACH = 20
"""Of so many records one ends an alert and one begins another."""


async def measured(
    rate: int, alerts: int, series: int, seconds: float, parts: int
) -> tuple[dict[str, float], list[float]]:
    """One page, `rate` records/s; and the heap in MB before and after each of `parts` equal parts of the time."""
    from playwright.async_api import async_playwright

    board = Board()
    records = _coming(alerts, series)
    for _ in range(alerts):
        board.take(next(records))
    board.say("read", b'{"all": true}')
    all_tasks: list[float] = []

    async def send() -> None:
        began, sent = time.monotonic(), 0
        while rate:
            await asyncio.sleep(0.02)
            for _ in range(int((time.monotonic() - began) * rate) - sent):
                board.take(next(records))
                sent += 1

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
        if traced := parts <= _TRACED:
            await browser.start_tracing(page=page, categories=["toplevel", "disabled-by-default-devtools.timeline"])
        sending = asyncio.create_task(send())
        rates = []
        for part in range(parts):
            scrolled = min(seconds / parts, _SCROLLED)
            rates.append(await page.evaluate(_SCROLL, scrolled))
            await page.wait_for_timeout(1000 * (seconds / parts - scrolled))
            tasks = await page.evaluate("window.tasks")  # the collection that follows is no task of the page
            heaps.append(await heap())
            await page.evaluate("window.tasks = []")
            all_tasks += tasks
            if parts > 4:
                held, load = await page.evaluate("document.querySelectorAll('*').length"), os.getloadavg()[0]
                print(
                    f"  {(part + 1) * seconds / parts:>6.0f} s: heap {heaps[-1]:.1f} MB, {held:,} elements, longest task {max(tasks, default=0):.0f} ms, "
                    f"{rates[-1]:.1f} frames/s, load {load:.1f}",
                    flush=True,
                )
        sending.cancel()
        on_cpu = _cpu_times(await browser.stop_tracing()) if traced else []
        await browser.close()
    return {
        "paint": paint,
        "longest": max(all_tasks, default=0.0),
        "cpu": max(on_cpu, default=0.0),
        "long": len(all_tasks),
        "frames": min(rates),
    }, heaps


def _cpu_times(trace: bytes) -> list[float]:
    """CPU time in ms of each task of the page's main thread; those are among them that collect garbage because we said so."""
    events = json.loads(trace)["traceEvents"]
    mains = {(e["pid"], e["tid"]) for e in events if e.get("args", {}).get("name") == "CrRendererMain"}
    return [
        e["tdur"] / 1000
        for e in events
        if e["name"].endswith("RunTask") and (e["pid"], e["tid"]) in mains and "tdur" in e
    ]


def _coming(alerts: int, series: int) -> Iterator[Alert]:
    """The onset of `alerts` alerts; then what happens to them, for ever."""
    [first, *_] = life("first", values=(5.0,))
    begun = itertools.count()

    def begins() -> Alert:
        i = next(begun)
        return msgspec.structs.replace(first, id=f"{i:08x}", series=f"host-{i % series:05d}/cpu", sequence=1)

    there = deque(begins() for _ in range(alerts))
    yield from there
    for n in itertools.count():
        if n % _EACH == 0:
            ended = there.popleft()
            yield msgspec.structs.replace(ended, status="resolved", ends_at=ended.as_of, sequence=ended.sequence + 1)
        elif n % _EACH == 1:
            there.append(begins())
            yield there[-1]
        else:
            at = n * 7919 % len(there)
            held = there[at]
            there[at] = msgspec.structs.replace(held, sequence=held.sequence + 1, score=4.0 + n % 5)
            yield there[at]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=5_000)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--rates", type=int, nargs="+", default=[0, 500])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--parts", type=int, default=4)
    options = parser.parse_args()
    print(f"{options.alerts:,} open alerts, {options.series:,} series, {options.seconds:.0f} s")
    print(
        f"{'records/s':>10} {'first paint':>12} {'longest task':>13} {'on the CPU':>11} {'over 50 ms':>11} {'frames/s':>9}   heap, MB"
    )
    for rate in options.rates:
        m, heaps = asyncio.run(measured(rate, options.alerts, options.series, options.seconds, options.parts))
        print(
            f"{rate:>10,} {m['paint']:>9.0f} ms {m['longest']:>10.0f} ms {m['cpu']:>8.0f} ms {m['long']:>11.0f} {m['frames']:>9.1f}   {', '.join(f'{h:.1f}' for h in heaps)}"
        )


if __name__ == "__main__":
    main()
