"""`tidewatch config`: what settings hold, and which there are."""

from __future__ import annotations

from typing import Annotated

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
        from pipeline.settings.reference import shown

        settings = load_settings(file)
        typer.echo(f"# from {file or config_file() or 'no file'}, the environment and the defaults")
        typer.echo(shown(settings), nl=False)

    @config.command()
    def series(
        name: Annotated[str, typer.Argument(metavar="SERIES", help="Name of a series, with its labels.")],
        stream: Annotated[str, typer.Option("--stream", help="Only of this stream; default: of each.")] = "",
        file: ConfigFile = None,
    ) -> None:
        """Show which selectors match a series, and what holds for it."""
        from pipeline.alerts.selecting.selectors import told
        from pipeline.errors import SettingsError
        from pipeline.settings import load_settings

        settings = load_settings(file)
        wanted = [s for s in settings.streams if stream in ("", s.name)]
        if not wanted:
            names = ", ".join(s.name for s in settings.streams) or "none"
            msg = f"there is no stream {stream or 'in the settings'} (configured: {names})"
            raise SettingsError(msg)
        for one in wanted:
            typer.echo(f"stream {one.name}, series {name}")
            for setting, text in told(one, name):
                typer.echo(f"  {setting:<14} {text}")

    @config.command()
    def reference() -> None:
        """Print every setting with its default and meaning, as Markdown (docs/settings.md)."""
        from pipeline.settings.reference import reference

        typer.echo(reference(), nl=False)
