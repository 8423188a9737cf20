"""Names in CSV files that people open with a spreadsheet, which would take `=cmd|...` for a formula and run it (OWASP, CSV injection).

Numbers are never written through this, so a negative one stays a number.
"""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_MARKED = ("'", *_FORMULA)


def plain_cell(text: str) -> str:
    """Text as a cell that a spreadsheet takes for text: with an apostrophe before what would be a formula; `read_cell` takes it off.

    >>> plain_cell("=1+1"), plain_cell("host/cpu"), plain_cell("'quoted'")
    ("'=1+1", 'host/cpu', "''quoted'")
    """
    return f"'{text}" if text.startswith(_MARKED) else text


def read_cell(text: str) -> str:
    """The text that `plain_cell` was given; text that never was marked stays as it is.

    >>> read_cell(plain_cell("=1+1")), read_cell(plain_cell("'quoted'")), read_cell("'single")
    ('=1+1', "'quoted'", "'single")
    """
    return text[1:] if text.startswith("'") and text[1:].startswith(_MARKED) else text
