"""What `--apply` does, for the verbs that choose what judges: the model and its settings become a stream's, new or running."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from detectors.model import Model
    from pipeline.operations.adopting import Adopted
    from producers.datasets import Dataset

Apply = Annotated[
    bool,
    typer.Option(
        "--apply",
        help="Let a stream judge so: writes the model file, and the settings file where there is none; a stream that runs changes by a decision.",
    ),
]
AsStream = Annotated[
    str,
    typer.Option(
        "--stream",
        help="With --apply: name of the stream. Default: the one that reads the topic, else from the data's name.",
    ),
]


def make_stream(
    model: Model,
    settings: Mapping[str, Any],
    data: Dataset,
    source: str,
    name: str,
    config: Path | None,
    console: Console,
) -> None:
    """Adopt what judged `data` for a stream, and say what to do next.

    Raises
    ------
    SettingsError, ModelError
        The stream that runs cannot go on with this model; nothing was changed.
    """
    import asyncio

    from pipeline.offline.opening import KAFKA, stream_name
    from pipeline.operations.adopting import adopt

    topic = source.removeprefix(KAFKA) if source.startswith(KAFKA) else ""
    chosen: dict[str, Any] = dict(settings)
    for key, value in _long_steps(data).items():
        given = chosen.get(key)
        chosen[key] = {**value, **(given or {})} if isinstance(value, dict) else value if given is None else given
    form = "" if not topic else "auto" if (data.kind, len(data.channels)) == ("metric", 1) else "native"
    adopted = adopt(model, chosen, name=name or stream_name(data.name), topic=topic, form=form, config=config)
    console.print(f"model: {adopted.model}", markup=False)
    if adopted.stays:
        names = ", ".join(adopted.stays)
        console.print(
            f"note: the stream's own {names} in {adopted.file} stay; what is told above was judged without them",
            markup=False,
        )
    if not adopted.added:
        asyncio.run(_decide(adopted, console))
        return
    adopted.keep()
    console.print(f"stream {adopted.stream} of topic {adopted.topic} stands in {adopted.file}", markup=False)
    config_option = "" if str(adopted.file) == "tidewatch.toml" else f" --config {adopted.file}"
    topics = "" if topic else f"tidewatch topics create{config_option}; "
    console.print(f"next: {topics}tidewatch doctor{config_option}; tidewatch worker{config_option}", markup=False)


async def _decide(adopted: Adopted, console: Console) -> None:
    """Propose the settings of a stream that there is; where nobody can be asked, a worker does when it starts."""
    from pipeline.errors import BrokerError, ModelError, SettingsError, StoreError
    from pipeline.operations.deciding import shown
    from pipeline.operations.desk import at_desk

    try:
        async with at_desk(adopted.settings, adopted.stream) as desk:
            decision, changes = await desk.changes()
            for what, (then, now) in changes.items():
                console.print(f"{what}: {shown(then)} -> {shown(now)}", markup=False)
            said = (
                f"decision {await desk.apply(decision)} of stream {adopted.stream}"
                if changes
                else "these settings hold already"
            )
    except (SettingsError, ModelError) as error:
        adopted.drop()
        msg = f"{error}; or let both run: --stream NAME"
        raise type(error)(msg) from error
    except (BrokerError, StoreError) as error:
        said = f"not decided yet, a worker takes it when it starts: {error}"
    adopted.keep()
    console.print(f"stream {adopted.stream} stands so in {adopted.file}; {said}", markup=False)


def _long_steps(data: Dataset) -> dict[str, Any]:
    """What a stream of such steps needs, where it is not what every stream has: how far a jump is, and when a series is idle or silent."""
    from pipeline.offline import time_limits
    from pipeline.settings import AlertSettings, StreamSettings

    if data.kind == "table":
        return {}
    jump = time_limits.of_file(data)["future_limit"]
    fields, alerts = StreamSettings.model_fields, AlertSettings.model_fields
    found: dict[str, Any] = {}
    if jump > fields["future_limit"].default:
        found = {"future_limit": jump, "alerts": {"silence": max(jump, alerts["silence"].default)}}
        found["idle_after"] = max(jump, fields["idle_after"].default)
    return found
