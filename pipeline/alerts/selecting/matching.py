"""Which series a selector means: globs over names, with labels or without, and over the labels in a name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from pipeline.settings import SelectSettings

_PAIR = re.compile(r'([^{},="]+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def matches(selector: SelectSettings, series: str) -> bool:
    """Whether a selector selects a series."""
    names = (series, series.partition("{")[0])
    if selector.series and not any(fnmatchcase(name, glob) for glob in selector.series for name in names):
        return False
    return labels_match(selector.where, series)


def labels_match(where: Mapping[str, str], series: str) -> bool:
    """Whether the labels in a series' name match globs; a label that it has not is empty."""
    labels = labels_of(series) if where else {}
    return all(fnmatchcase(labels.get(label, ""), glob) for label, glob in where.items())


def labels_of(series: str) -> dict[str, str]:
    r"""The labels in a series' name.

    >>> labels_of('cpu{core="0",path="C:\\\\a,b"}')
    {'core': '0', 'path': 'C:\\a,b'}
    """
    _, brace, rest = series.partition("{")
    if not brace or not rest.endswith("}"):
        return {}
    return {
        m[1].strip(): _ESCAPED.sub(lambda e: "\n" if e[1] == "n" else e[1], m[2]) for m in _PAIR.finditer(rest[:-1])
    }
