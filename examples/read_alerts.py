"""Reads the alert topic from its beginning: a line for each alert that fires or ends. Ctrl-C ends it.

python examples/read_alerts.py --once      # what the topic holds now
"""

import argparse
import asyncio

from pipeline.settings import load_settings
from pipeline.subscribe import AlertSubscriber


async def read(*, once: bool) -> None:
    async with AlertSubscriber(load_settings().kafka, start="beginning", follow=not once) as alerts:
        async for alert in alerts:
            print(alert.as_of, alert.stream, alert.series, alert.status, alert.severity, alert.reason, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--once", action="store_true")
    asyncio.run(read(once=parser.parse_args().once))
