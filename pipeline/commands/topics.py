"""`tidewatch topics`: the topics of the configured streams and intakes, as they are, and created where they are missing."""

from __future__ import annotations

import typer

from pipeline.commands.options.stream import ConfigFile


def register(app: typer.Typer) -> None:
    """Add the verb."""
    topics = typer.Typer(
        no_args_is_help=True, help="Show the topics of the configured streams and intakes, or create them."
    )
    app.add_typer(topics, name="topics")

    @topics.command()
    def show(config: ConfigFile = None) -> None:
        """Print each topic with its partitions and id; those that are missing say so."""
        from pipeline.kafka import topics
        from pipeline.kafka.clients import connect_admin
        from pipeline.settings import load_settings

        settings = load_settings(config)
        plans = topics.plan(settings.streams, settings.intake)
        facts = topics.describe(connect_admin(settings.kafka), settings.kafka, [p.name for p in plans])
        for plan in plans:
            fact = facts.get(plan.name)
            there = "missing" if fact is None else f"{fact.partitions} partitions  {fact.topic_id}"
            typer.echo(f"{plan.name}  {there}")

    @topics.command()
    def create(config: ConfigFile = None) -> None:
        """Create the topics that are missing, with the settings of `[kafka]`; what exists is left as it is."""
        from pipeline.kafka import topics
        from pipeline.kafka.clients import connect_admin
        from pipeline.settings import load_settings

        settings = load_settings(config)
        plans = topics.plan(settings.streams, settings.intake)
        created = topics.create(connect_admin(settings.kafka), settings.kafka, plans)
        for name in created:
            typer.echo(f"created {name}")
        if not created:
            typer.echo("all topics exist")
