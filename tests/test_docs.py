"""The documentation says what is true: generated pages are current, links lead somewhere, commands parse."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

from pipeline.cli import create_cli
from pipeline.settings import IntakeSettings, Settings, StreamSettings
from pipeline.settings.reference import reference

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / "README.md", PROJECT / "CHANGELOG.md", *sorted((PROJECT / "docs").rglob("*.md"))]


def test_the_settings_page_is_current() -> None:
    assert (PROJECT / "docs/settings.md").read_text() == reference(), "run `make docs`"


def test_every_setting_has_its_sentence() -> None:
    def fields(table: type[BaseModel], path: str = "") -> list[str]:
        bare = []
        for name, field in table.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                bare += fields(inner, f"{path}{name}.")
            elif not (field.description or "").endswith("."):
                bare.append(f"{path}{name}")
        return bare

    lists = fields(StreamSettings, "streams.") + fields(IntakeSettings, "intake.")
    assert [f for f in fields(Settings) if f not in ("streams", "intake")] + lists == []


def broken_links(page: Path) -> list[str]:
    """Relative links and images of a page that lead nowhere, headings included."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (heading and heading not in headings(target)):
            broken.append(link)
    return broken


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One, two\n[a](page.md#one-two) [b](page.md#three) [c](none.md) [d](https://example.org/none)")
    assert broken_links(page) == ["page.md#three", "none.md"]


def commands(text: str) -> list[str]:
    """Every `tidewatch ...` in the code blocks of a page, comments and continued lines put right."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [
        re.match(r"(?:\$ )?(?:\S+=\S+ )*(?:docker compose exec \w+ )?(?:\.venv/bin/)?(tidewatch\b.*)", x) for x in lines
    ]
    return [match[1] for match in found if match]


def complaint(line: str) -> str:
    """Why a command line does not parse; empty where it does."""
    command: Any = typer.main.get_command(create_cli())
    words = shlex.split(line, comments=True)[1:]
    until = next((i for i, w in enumerate(words) if w in ("|", ">", "&", "&&", ";")), len(words))
    words = words[:until]
    while hasattr(command, "commands"):
        if not words or words[0].startswith("-"):
            return "" if words in ([], ["--help"]) else f"{line}: no verb"
        if words[0] not in command.commands:
            return f"{line}: there is no {words[0]}"
        command = command.commands[words.pop(0)]
    try:
        context = command.context_class(command)
        _, left, _ = command.make_parser(context).parse_args(words)
    except Exception as error:  # typer brings its own copy of click, and so of click's errors
        return f"{line}: {error}"
    return f"{line}: too many arguments" if left else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_shown_parse(page: Path) -> None:
    assert [c for line in commands(page.read_text()) if (c := complaint(line))] == []


def test_a_command_that_does_not_parse_is_found() -> None:
    page = "```console\n$ tidewatch replay taxi --sped 1x\n$ A=b .venv/bin/tidewatch wroker  # no\n$ make demo\n```\n`tidewatch inline`\n"
    assert commands(page) == ["tidewatch replay taxi --sped 1x", "tidewatch wroker  # no"]
    assert "--sped" in complaint("tidewatch replay taxi --sped 1x")
    assert complaint("tidewatch wroker") == "tidewatch wroker: there is no wroker"
    assert "no show2" in complaint("tidewatch state show2 x")
    assert "too many" in complaint("tidewatch state show a b")
    assert complaint("tidewatch replay taxi --speed 1x | head") == ""
    assert len(commands((PROJECT / "docs/operations.md").read_text())) > 5


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {match[0] for d in wanted if (match := re.match(r"[\w.-]+", d))}
    told = set(re.findall(r"`([\w.-]+)`", "".join(
        line.split("|")[1] for line in (PROJECT / "docs/dependencies.md").read_text().splitlines() if line.startswith("| `")
    )))  # fmt: skip
    assert names - told == set(), "docs/dependencies.md does not say why they are here"
    assert told - names == set(), "docs/dependencies.md tells of what is gone"


def test_every_file_that_the_architecture_names_exists() -> None:
    text = (PROJECT / "docs/architecture.md").read_text()
    named = set(re.findall(r"`((?:producers|detectors|pipeline|deploy|tests|benchmarks)/[\w./]*)`", text))
    assert len(named) > 40
    assert sorted(n for n in named if not (PROJECT / n).exists()) == []


def test_the_architecture_tells_of_every_folder_and_of_no_other() -> None:
    """Its table has each package of the three trees once, with a file of that very folder to begin with."""
    rows = re.findall(
        r"^\| `([\w/]+/)` \|.*\| `([\w./]+)` \|$", (PROJECT / "docs/architecture.md").read_text(), re.MULTILINE
    )
    packages = {
        f"{init.parent.relative_to(PROJECT)}/"
        for tree in ("producers", "detectors", "pipeline")
        for init in (PROJECT / tree).rglob("__init__.py")
    }
    assert sorted(folder for folder, _ in rows) == sorted(packages)
    assert [begin for folder, begin in rows if Path(begin).parent != Path(folder)] == []


def test_no_wing_is_too_large_to_be_looked_over() -> None:
    """Fourteen modules at most in a wing, twelve on the top level; commands have one file per verb, twenty-four at most."""
    modules = {
        init.parent: [m for m in init.parent.glob("*.py") if m.name != "__init__.py"]
        for init in (PROJECT / "pipeline").rglob("__init__.py")
    }
    limits = {PROJECT / "pipeline": 12, PROJECT / "pipeline/commands": 24}
    too_large = {str(folder): len(found) for folder, found in modules.items() if len(found) > limits.get(folder, 14)}
    assert too_large == {}
