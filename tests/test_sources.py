"""The pages of docs/sources do as they say: what they show of `tidewatch formats` is what it prints, and their settings can be read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import create_cli
from pipeline.settings import Settings, load_settings

PAGES = sorted((Path(__file__).parents[1] / "docs/sources").glob("*.md"))


def shown(page: str) -> list[tuple[str, str]]:
    """Each command of a page's console blocks, and what it shows below it."""
    blocks = re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    parts = [re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:] for block in blocks]
    return [pair for of in parts for pair in zip(of[::2], of[1::2], strict=True)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_what_comes_of_its_messages(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cli, ran = create_cli(), 0
    for command, output in shown(page.read_text()):
        verb, *words = shlex.split(command)
        if verb == "cat":
            Path(words[0]).write_text(output)
            continue
        assert verb == "tidewatch"
        result = CliRunner().invoke(cli, words)
        assert (result.exit_code, result.output) == (0, output), command
        ran += 1
    assert ran >= (page.stem != "registry")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_settings_of_a_page_are_settings(page: Path, tmp_path: Path) -> None:
    tables = re.findall(r"^```toml\n(# tidewatch\.toml\n.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    assert len(tables) == 1
    file = tmp_path / "tidewatch.toml"
    file.write_text(tables[0])
    assert len(load_settings(file).streams) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_page_says_how_an_intake_reads_the_same_records(page: Path, tmp_path: Path) -> None:
    """With the format, the fields, and the counters of the page's stream."""

    def settings(title: str) -> Settings:
        (table,) = re.findall(rf"^```toml\n(# {title}\n.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        (file := tmp_path / "tidewatch.toml").write_text(table)
        return load_settings(file)

    (direct,), by_intake = settings("tidewatch.toml").streams, settings("tidewatch.toml, whatever the keys are")
    (stream,), (intake,) = by_intake.streams, by_intake.intake
    assert (intake.stream, stream.name, stream.format) == (stream.name, direct.name, "native")
    assert (intake.format, intake.fields, stream.counter, stream.gauge) == (
        direct.format, direct.fields, direct.counter, direct.gauge,
    )  # fmt: skip


def test_there_is_a_page_for_each_source() -> None:
    assert {page.stem for page in PAGES} == {"telegraf", "prometheus", "opentelemetry", "registry", "own-code"}
