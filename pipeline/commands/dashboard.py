"""`tidewatch dashboard`: a page that shows streams, series and alerts as they come, and where operators act."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options.stream import Brokers


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("dashboard")(dashboard)


def dashboard(
    host: Annotated[str, typer.Option(help="Address to bind to; beyond loopback a token is required.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: a free one.")] = 8480,
    token: Annotated[
        str,
        typer.Option(
            envvar="TIDEWATCH_DASHBOARD_TOKEN",
            help="Who opens the page must know it; better by the environment, or by the file that "
            "TIDEWATCH_DASHBOARD_TOKEN_FILE names.",
        ),
    ] = "",
    operator_token: Annotated[
        str,
        typer.Option(
            envvar="TIDEWATCH_DASHBOARD_OPERATOR_TOKEN",
            help="Who knows it may acknowledge, silence and close too; or by TIDEWATCH_DASHBOARD_OPERATOR_TOKEN_FILE. On loopback one is made "
            "where none is given.",
        ),
    ] = "",
    topic: Annotated[str, typer.Option(help="The alert topic; default: that of the streams.")] = "",
    brokers: Brokers = "",
    config: Annotated[
        Path | None, typer.Option(help="Settings file; default: TIDEWATCH_CONFIG, ./tidewatch.toml.")
    ] = None,
) -> None:
    """Serve a page with the streams, their series and alerts, live; until Ctrl-C. With the operators' token one can act there."""
    import asyncio
    import secrets

    from pipeline import logs
    from pipeline.alerts.subscribe import AlertSubscriber
    from pipeline.commands.alerts import alert_topic
    from pipeline.dashboard.server import Tokens, require_token, serving
    from pipeline.operations.exposure import loopback
    from pipeline.settings import load_settings, secret_file, with_brokers

    settings = load_settings(config)
    logs.configure(settings.worker.log_format, settings.worker.log_level)
    tokens = Tokens(
        token or secret_file("TIDEWATCH_DASHBOARD_TOKEN_FILE"),
        operator_token or secret_file("TIDEWATCH_DASHBOARD_OPERATOR_TOKEN_FILE"),
    )
    made = not tokens.operator and bool(settings.streams) and loopback(host)
    if made:
        tokens = Tokens(tokens.viewer, secrets.token_urlsafe(18))
    require_token(host, tokens)
    kafka = with_brokers(settings.kafka, brokers)
    settings = settings.model_copy(update={"kafka": kafka})
    subscriber = AlertSubscriber(kafka, topic or alert_topic(settings), start="beginning")

    async def serve() -> None:
        async with serving(subscriber, host=host, port=port, tokens=tokens, settings=settings) as (address, reading):
            guarded = (
                "guarded by a token: open it with ?token=... the first time"
                if tokens.viewer
                else "for this machine only"
            )
            typer.echo(f"alerts at {address}, {guarded} (Ctrl-C ends it)")
            if made:
                typer.echo(f"to act there (acknowledge, silence, close): {address}?token={tokens.operator}")
            await reading

    asyncio.run(serve())
