"""`tidewatch servers`: the embedded Kafka and Redis in the foreground, for a first try without installing either."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

KAFKA_PORT, REDIS_PORT = 9092, 6379
"""Where every command looks for them unless told otherwise."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("servers")(servers)


def servers(
    kafka_port: Annotated[int, typer.Option(min=0, max=65535, help="Of Kafka; 0: a free one.")] = KAFKA_PORT,
    redis_port: Annotated[int, typer.Option(min=0, max=65535, help="Of Redis; 0: a free one.")] = REDIS_PORT,
    folder: Annotated[Path, typer.Option(help="Where their logs go.")] = Path("out/servers"),
) -> None:
    """Start the embedded Kafka and Redis for a first try: on loopback, all in memory, gone with Ctrl-C.

    With the usual ports no setting is needed to use them.
    """
    import signal
    import threading
    from contextlib import ExitStack

    from pipeline.embedded import start_kafka, start_redis
    from pipeline.errors import TidewatchError

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with ExitStack() as stack:
        running = [
            stack.enter_context(start_kafka(folder, port=kafka_port)),
            stack.enter_context(start_redis(folder, port=redis_port)),
        ]
        typer.echo(f"Kafka at {running[0].address}, Redis at {running[1].url}; in memory, until Ctrl-C")
        if (running[0].port, running[1].port) != (KAFKA_PORT, REDIS_PORT):
            typer.echo("every other command finds them where these are set:")
            typer.echo(f"  export TIDEWATCH_KAFKA__BROKERS={running[0].address} TIDEWATCH_REDIS__URL={running[1].url}")
        while not ended.wait(0.5):
            for server in running:
                if not server.alive:
                    msg = f"the embedded {server.name} ended by itself; its log {server.log} ends: {server.tail()}"
                    raise TidewatchError(msg)
