"""What series are called where their own labels are not what should tell them apart: a pod's name changes with each restart, its service's does not.

    cpu{pod="api-7f9-x2",service="api"} ── drop_labels = ["pod"] ────────────────▶ cpu{service="api"}
                                        ── series = "{service}/{metric}" ─────────▶ api/cpu

Two series that get one name are one series from there on: their observations are judged together, in the order of their times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress

from producers.formats.base import Unusable, checked_series, labels_text

METRIC = "metric"
"""Stands for the name before the labels."""

_FIELD = re.compile(r"\{([^{}]*)\}")
_LABEL = re.compile(r'([^=,{}]+)="((?:[^"\\]|\\.)*)"(,|\}$)')
_ESCAPED = re.compile(r"\\(.)")
_KEPT = 1 << 17


def labels_of(series: str) -> tuple[str, dict[str, str]]:
    """The name before the labels (of a series of channels it may be empty), and the labels; a name that has none in the form of `series_name` is all name.

    >>> labels_of('cpu{core="0",host="a"}')
    ('cpu', {'core': '0', 'host': 'a'})
    """
    name, brace, rest = series.partition("{")
    labels, at = dict[str, str](), 0
    while brace and at < len(rest):
        if (found := _LABEL.match(rest, at)) is None:
            return series, {}
        labels[found[1]] = _ESCAPED.sub(lambda m: "\n" if m[1] == "n" else m[1], found[2])
        at = found.end()
    return (name, labels) if labels else (series, {})


def check_template(template: str) -> None:
    """Raise ValueError where a template names no series: it has fields, `{metric}` or `{label}`, and nothing else in braces."""
    fields = _FIELD.findall(template)
    if not fields or not all(fields) or {*"{}"} & set(_FIELD.sub("", template)):
        msg = f'{template[:60]!r} is no name for series; write the metric and labels in braces, as "{{service}}/{{metric}}"'
        raise ValueError(msg)


def renamed(drop_labels: Sequence[str], template: str) -> Callable[[Sequence[str]], list[str]] | None:
    """Names for names; None where they stay as they are.

    Parameters
    ----------
    drop_labels
        Labels that tell no series apart.
    template
        Text with `{metric}` and `{label}`; empty: the name with the labels that are left. A series that has not all of these labels keeps its own
        name, without the dropped ones: it would be taken for another one.
    """
    if not drop_labels and not template:
        return None
    fields = set(_FIELD.findall(template)) - {METRIC}
    dropped, known = frozenset(drop_labels), dict[str, str]()

    def name_of(series: str) -> str:
        name, labels = labels_of(series)
        if template and fields <= labels.keys():
            called = _FIELD.sub(lambda f: name if f[1] == METRIC else labels[f[1]], template)
            with suppress(Unusable):  # too long
                return checked_series(called)
        if not dropped & labels.keys():
            return series
        return name + labels_text({k: v for k, v in labels.items() if k not in dropped}) or series

    def names_of(names: Sequence[str]) -> list[str]:
        if len(known) > _KEPT:  # whoever makes up names must not fill the memory
            known.clear()
        for name in set(names) - known.keys():
            known[name] = name_of(name)
        return [known[name] for name in names]

    return names_of
