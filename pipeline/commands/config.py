"""`tidewatch config`: what settings hold, and which there are."""

from __future__ import annotations

import typer

from pipeline.commands.options.stream import ConfigFile


def register(app: typer.Typer) -> None:
    """Add the verb."""
    config = typer.Typer(no_args_is_help=True, help="Show the settings that hold, or list all there are.")
    app.add_typer(config, name="config")

    @config.command()
    def show(file: ConfigFile = None) -> None:
        """Print the settings that hold, as TOML: file, environment and defaults together, secrets masked."""
        from pipeline.settings import config_file, load_settings
        from pipeline.settings_reference import shown

        settings = load_settings(file)
        typer.echo(f"# from {file or config_file() or 'no file'}, the environment and the defaults")
        typer.echo(shown(settings), nl=False)

    @config.command()
    def reference() -> None:
        """Print every setting with its default and meaning, as Markdown (docs/settings.md)."""
        from pipeline.settings_reference import reference

        typer.echo(reference(), nl=False)
