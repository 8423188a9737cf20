"""`tidewatch detectors`: the family, one line each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.table import Table

    from detectors.base import Detector
    from detectors.recipes import Recipe

DEFAULT = "default"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("detectors")(detectors)


def detectors(
    name: Annotated[str, typer.Argument(help="A detector, to see its settings. Default: all, one line each.")] = "",
) -> None:
    """List the detectors, or one detector's settings."""
    from rich.console import Console

    from detectors.recipes import METRIC, TABLE
    from detectors.registry import DETECTORS, find

    console = Console(highlight=False, markup=False)
    mixes = {"metrics": METRIC, "tables": TABLE}
    if name == DEFAULT:
        for what, recipe in mixes.items():
            console.print(f"default for {what}: {_mix(recipe)}", soft_wrap=True)
        console.print("settings of one of them: tidewatch detectors NAME")
        return
    if name:
        console.print(_settings(find(name)))
        return
    shown = "; ".join(f"{what}: {_mix(recipe)}" for what, recipe in mixes.items())
    console.print(f"{DEFAULT:<29}{'windows and rows':<18}The product's mix. {shown}.", soft_wrap=True)
    for detector in DETECTORS.values():
        takes = " and ".join(kind for kind in ("windows", "rows") if kind in detector.kinds)
        console.print(f"{detector.name:<29}{takes:<18}{detector.summary}", soft_wrap=True)
    console.print("\nsettings of one: tidewatch detectors NAME; train one: tidewatch train NAME --data nab --out FILE")


def _mix(recipe: Recipe) -> str:
    """Its members by name."""
    judged = ["a judgement of each newest row, whose alarm decides"] if recipe.judgement else []
    names = [" + ".join(m if isinstance(m, str) else m[0] for m in some) for some in (recipe.detectors, recipe.several)]
    members = names[0] + (f" ({names[1]} where there are several channels)" if names[1] else "")
    return " beside ".join([*judged, members])


def _settings(detector: type[Detector]) -> Table:
    from rich.table import Table

    table = Table("setting", "default", title=f"{detector.name}: {detector.summary}", title_justify="left", box=None)
    for key, value in _flat(detector.Config()):
        table.add_row(key, str(value))
    return table


def _flat(config: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings and defaults, nested ones by their dotted names, as `--set` takes them."""
    from pydantic import BaseModel

    for key in type(config).model_fields:
        value = getattr(config, key)
        if isinstance(value, BaseModel):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
