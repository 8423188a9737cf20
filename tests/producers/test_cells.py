"""Names that a spreadsheet would run are marked, and come back as they were."""

from __future__ import annotations

import pytest

from producers.cells import plain_cell, read_cell

NAMES = [
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "'",
    "''",
    "'=1",
    "host/cpu",
    "",
    "-",
    "ü=1",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_cell_begins_like_a_formula_and_each_comes_back(name: str) -> None:
    assert not plain_cell(name).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert read_cell(plain_cell(name)) == name


def test_an_apostrophe_of_others_stays() -> None:
    assert read_cell("'s-Hertogenbosch") == "'s-Hertogenbosch"
