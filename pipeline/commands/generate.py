"""`tidewatch generate`: new rows drawn from a trained variational autoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options.files import check_writable


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("generate", no_args_is_help=True)(generate)


def generate(
    model: Annotated[Path, typer.Argument(help="A model file with a variational autoencoder: tidewatch train vae.")],
    out: Annotated[Path, typer.Option(help="The file to write: .csv or .parquet.")],
    rows: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many rows.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Same model file and seed: same rows.")] = 0,
    series: Annotated[str, typer.Option(help="Metrics: the series in whose unit the values are.")] = "",
    mean: Annotated[
        bool, typer.Option("--mean", help="What the decoder gives, without the spread of values around it.")
    ] = False,
) -> None:
    """Draw new rows from a trained variational autoencoder, in the columns, units and categories of its training rows.

    Of a metric whole windows are drawn, a row for each of their steps. Numbers of a table stay between the smallest and the largest of the training
    rows, and are whole where those were.
    """
    from rich.console import Console

    from detectors.model_file import load
    from pipeline.offline import generating

    check_writable(out, endings=generating.ENDINGS)
    drawn = generating.generate(load(model), rows, seed=seed, series=series, spread=not mean)
    generating.write(drawn, out)
    Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(
        f"{len(drawn):,} made-up rows of {len(drawn.columns)} columns written to {out}"
    )
