"""What the verbs that work on configured streams share: the settings file, the stream's name, the brokers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Settings file; default: TIDEWATCH_CONFIG, ./tidewatch.toml.")
]
StreamName = Annotated[str, typer.Argument(metavar="STREAM", help="Name of the stream.")]
Brokers = Annotated[str, typer.Option(help="Kafka's bootstrap servers; default: the settings'.")]
