"""docs/detectors.md lists every detector, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from detectors.registry import DETECTORS

PAGE = Path(__file__).parents[2] / "docs" / "detectors.md"


def test_the_page_lists_the_family() -> None:
    rows = re.findall(r"^\| (`[a-z`, -]+`) \|.*\| (`[a-z_.`, ]+`) \|$", PAGE.read_text(), flags=re.MULTILINE)
    listed = [name for names, _ in rows for name in re.findall(r"`([^`]+)`", names)]
    assert sorted(listed) == sorted(DETECTORS)
    for _, files in rows:
        for file in re.findall(r"`([^`]+)`", files):
            assert (PAGE.parents[1] / "detectors" / file).is_file(), file


def test_a_detectors_file_is_named_beside_it() -> None:
    text = PAGE.read_text()
    for name, detector in DETECTORS.items():
        file = detector.__module__.removeprefix("detectors.") + ".py"
        row = next(line for line in text.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1])
        assert f"`{file}`" in row, name
