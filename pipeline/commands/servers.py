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
    folder: Annotated[Path, typer.Option(help="Where their data and logs are kept.")] = Path("out/servers"),
) -> None:
    """Start the embedded Kafka and Redis for a first try: on loopback, until Ctrl-C; the next start goes on from their data.

    With the usual ports no setting is needed to use them. To begin empty, remove the folder.
    """
    import signal
    import threading
    from contextlib import ExitStack
    from types import FrameType

    from pipeline.embedded.servers import locked, start_kafka, start_redis
    from pipeline.errors import TidewatchError

    ended = threading.Event()
    up = False

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()
        if not up:
            raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    with ExitStack() as stack:
        lock = [stack.enter_context(locked(folder))]
        typer.echo("starting Kafka and Redis ...", err=True)
        kafka = stack.enter_context(
            start_kafka(
                folder, port=kafka_port, keep=True, inherited=lock, tell=lambda line: typer.echo(line, err=True)
            )
        )
        if kafka.note:
            typer.echo(
                f"Apache Kafka cannot be had here ({kafka.note}). {kafka.kind} serves instead: in memory, gone when it ends"
            )
        apache = not kafka.note
        redis = stack.enter_context(start_redis(folder / "redis", port=redis_port, persistent=apache, inherited=lock))
        up = True
        kept = f"data kept in {folder}" if apache else "in memory"
        typer.echo(
            f"Kafka at {kafka.address}, Redis at {redis.url}; {kafka.kind} and {redis.kind}, {kept}; Ctrl-C ends them"
        )
        if (kafka.port, redis.port) != (KAFKA_PORT, REDIS_PORT):
            typer.echo("every other command finds them where these are set:")
            typer.echo(f"  export TIDEWATCH_KAFKA__BROKERS={kafka.address} TIDEWATCH_REDIS__URL={redis.url}")
        while not ended.wait(0.5):
            for server in (kafka, redis):
                if not server.alive:
                    msg = f"the embedded {server.name} ended by itself; its log {server.log} ends: {server.tail()}"
                    raise TidewatchError(msg)
        typer.echo("stopping", err=True)
