"""What is wrong with settings, in one line: which setting, in which file and line, what it should be, and the name that was meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_HEADER = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.\"' -]+?)\s*\]\]?\s*(#.*)?")
_KEY = re.compile(r"\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*[=.]")

Location = Sequence[int | str]


def in_words(error: ValidationError, settings: type[BaseModel], file: Path | None) -> str:
    """All that is wrong, on one line; nothing of a value that may be secret.

    Parameters
    ----------
    settings
        Whose names are proposed where there is no such setting.
    file
        That was read; None: none was.
    """
    text = file.read_text(encoding="utf-8", errors="replace") if file is not None and file.is_file() else ""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(_problem(p["loc"], p["type"], p["msg"], settings, file, text) for p in problems)


def _problem(
    location: Location, kind: str, message: str, settings: type[BaseModel], file: Path | None, text: str
) -> str:
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    what = {"missing": "is missing", "extra_forbidden": "there is no such setting"}.get(
        kind, message.removeprefix("Value error, ")
    )
    if kind == "extra_forbidden":
        what += _meant(location, settings)
    elif kind in ("tuple_type", "model_type", "model_attributes_type") and len(location) == 1:
        one = f"one [[{name}]] for each" if kind == "tuple_type" else f"one table, [{name}]"
        what = f"write {one}, with {'two pairs' if kind == 'tuple_type' else 'one pair'} of brackets"
    in_list = any(isinstance(part, int) for part in location)
    variable = f"TIDEWATCH_{location[0] if in_list else '__'.join(map(str, location))}".upper() if location else ""
    line = _line(location, text)
    written = "" if file is None and variable else f"{file or 'tidewatch.toml'}{f', line {line}' if line else ''}"
    where = " or ".join(filter(None, [written or "tidewatch.toml", variable]))
    return f"setting {name}: {what} (mend it in {where}; docs/settings.md lists all)"


def _meant(location: Location, settings: type[BaseModel]) -> str:
    """`; did you mean metrics_port?`, from the names of the same table, else of all tables."""
    *parents, wrong = map(str, location)
    table = settings
    for parent in parents:
        if not parent.isdecimal():
            found = table.model_fields.get(parent)
            inner = None if found is None else _table(found.annotation)
            if inner is None:
                return ""
            table = inner
    if near := get_close_matches(wrong, table.model_fields, 1, 0.6):
        return f"; did you mean {near[0]}?"
    for other, field in settings.model_fields.items():
        inner = _table(field.annotation)
        if inner is not None and wrong in inner.model_fields:
            return f"; it belongs to [{other}]" if inner is not table else ""
    return ""


def _table(annotation: Any) -> type[BaseModel] | None:
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _line(location: Location, text: str) -> int:
    """Where a setting stands in a TOML file, from 1; where it does not, its table's header; 0: neither."""
    names = [part for part in location if isinstance(part, str)]
    if not names:
        return 0
    # Which of several tables of one name, the inner ones within the outer; a place in a list of values says nothing of lines.
    lists = {".".join(map(str, location[:i])): part for i, part in enumerate(location) if isinstance(part, int)}
    wanted = {re.sub(r"\.\d+(?=\.|$)", "", path): number for path, number in lists.items()}
    table, header = "", 0
    items: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := _HEADER.fullmatch(line):
            table = re.sub(r"[\"'\s]", "", match[2])
            if match[1] == "[[":
                items = {path: n for path, n in items.items() if not path.startswith(f"{table}.")}
                items[table] = items.get(table, -1) + 1
            here = all(items.get(path, item) == item for path, item in wanted.items())
            here &= not wanted or min(wanted, key=len) in items
            if here and table == ".".join(names):
                return number
            if here and table == ".".join(names[:-1]):
                header = number
        elif match := _KEY.match(line):
            here = all(items.get(path, item) == item for path, item in wanted.items())
            at = [*table.split("."), match[1]] if table else [match[1]]
            if here and (at == names or (at == names[:-1] and "=" in line)):
                return number
    return header
