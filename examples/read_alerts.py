"""Reads the alert topic from its beginning: a line for each alert that fires or ends. Ctrl-C ends it.

python examples/read_alerts.py --once      # what the topic holds now

Exit code 2, with one line, where the settings are wrong, no broker answers or there is no such topic.
"""

import argparse
import asyncio
import sys

from pipeline.alerts.subscribe import AlertSubscriber
from pipeline.errors import TidewatchError
from pipeline.settings import load_settings


async def read(*, once: bool) -> None:
    async with AlertSubscriber(load_settings().kafka, start="beginning", follow=not once) as alerts:
        async for alert in alerts:
            print(alert.as_of, alert.stream, alert.series, alert.status, alert.severity, alert.reason, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--once", action="store_true")
    try:
        asyncio.run(read(once=parser.parse_args().once))
    except (TidewatchError, ValueError) as error:  # a setting out of its range is a ValueError
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
