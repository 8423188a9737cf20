"""Numbers as people and programs write them in text: separators, units, signs, switches.

Whether a comma or a point parts the decimals is decided by all rows of a column, else by the other columns of the file; where both
would do (`1,034`), reading stops and names the option. Units of one kind are brought to one size (`1.50 K`, `12 ms` beside `1.2 s`); a unit that all cells share
is left off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Decimal = Literal[".", ","]

MISSING = frozenset(
    {
        *(
            "",
            "nan",
            "na",
            "null",
            "none",
            "n/a",
            "-",
            "--",
            "---",
            "#n/a",
            "#na",
            "\\n",
            "?",
            ".",
            "..",
            "nil",
            "missing",
            "(null)",
            "<na>",
        ),
        *("#value!", "#div/0!", "#ref!", "#num!", "#name?", "#null!", "-nan", "1.#qnan", "no data", "undefined"),
        *("unavailable", "unknown", "not available", "nodata", "no_data", "n.a.", "n/d", "k.a."),
    }
)
"""Cells that hold nothing, in lower case."""
_GAP = r"[ \u00a0\u202f'’]"
_BODY = (
    rf"(?:\d{{1,3}}(?:{_GAP}\d{{3}})+(?:[.,]\d+)?|\d{{1,3}}(?:,\d{{2,3}})*,\d{{3}}(?:\.\d+)?|\d{{1,3}}(?:\.\d{{3}})+(?:,\d+)?"
    r"|\d*[.,]?\d+|\d+[.,])(?:[eE][+-]?\d+)?"
)
_UNIT = r"(?:%|‰|[A-Za-zµμ°Ω][A-Za-zµμ°Ω³²]{0,9}(?:/[A-Za-z]{1,6})?|[€$£¥₹₽₩₺₪฿₴₫])"
_MONEY = (
    r"(?:[€$£¥₹₽₩₺₪฿₴₫]|(?:US|CA?|AU?|HK|NZ|S)\$|"
    r"(?:USD|EUR|GBP|JPY|CNY|CHF|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|KRW|TRY|RUB|SGD|HKD|Rs\.?) ?)"
)
"""Currencies that stand before a number."""
_SIGN = r"[+\-−–]?"
NUMBER = re.compile(
    rf"{_SIGN}{_MONEY}? ?{_SIGN}(?:{_BODY}{_GAP}?{_UNIT}?|inf|infinity)|\({_MONEY}? ?{_BODY}\)|{_MONEY}? ?{_BODY}[\-−]",
    re.IGNORECASE,
)
"""A cell that may be a number, with a unit or not."""
_PARTS = re.compile(
    rf"^(\()?({_SIGN})({_MONEY})? ?({_SIGN})({_BODY}|inf(?:inity)?(?![A-Za-z]))(?:\)|([\-−]))?{_GAP}?({_UNIT})?$",
    re.IGNORECASE,
)
"""What opens brackets, a sign, a currency, a sign, digits, a sign behind them, a unit."""
_MINUS = ("-", "−", "–")

_SWITCHES = (
    ("true", "false"), ("yes", "no"), ("on", "off"), ("t", "f"), ("y", "n"), ("enabled", "disabled"), ("up", "down"),
    ("open", "closed"), ("active", "inactive"), ("ja", "nein"), ("wahr", "falsch"), ("oui", "non"),
)  # fmt: skip
"""Texts of 1 and 0."""

_SCALES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "Mil": 1e6, "G": 1e9, "Bil": 1e9, "T": 1e12, "Tri": 1e12}
_TIMES = {
    "ns": 1e-9, "µs": 1e-6, "μs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0,
    "min": 60.0, "mins": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hour": 3600.0, "hours": 3600.0, "d": 86400.0,
    "day": 86400.0, "days": 86400.0, "week": 604800.0, "weeks": 604800.0,
}  # fmt: skip
_PREFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY = {f"{p}i": 1024.0**n for n, p in enumerate(["K", "M", "G", "T", "P"], 1)} | {"ki": 1024.0}
_FAMILIES: tuple[dict[str, float], ...] = (
    _SCALES,
    _TIMES,
    *(
        {f"{prefix}{base}": factor for prefix, factor in (_PREFIXES | _BINARY).items()}
        for base in (
            "B",
            "b",
            "B/s",
            "b/s",
            "Bps",
            "bps",
            "W",
            "Wh",
            "V",
            "A",
            "Hz",
            "Pa",
            "m",
            "g",
            "bit",
            "bytes",
            "pps",
            "ops/s",
        )
    ),
)


@dataclass(frozen=True)
class Written:
    """The cells of a column, taken apart.

    Attributes
    ----------
    text
        As they stood, without blanks around them.
    missing : (n,) bool
    body
        Digits and separators; "" where a cell is no number.
    negative : (n,) bool
    units
        Of each cell, "" where it has none; None where no cell has one.
    money
        Likewise, the currency before the digits.
    """

    text: pd.Series[str]
    missing: NDArray[np.bool_]
    body: pd.Series[str]
    negative: NDArray[np.bool_]
    units: pd.Series[str] | None
    money: pd.Series[str] | None = None


class Ambiguous(ValueError):
    """Two readings fit; the text of the error says which and the option that decides."""


def switches(present: pd.Series[str]) -> tuple[str, str] | None:
    """The texts for 1 and 0, where a column holds nothing else."""
    found = set(present.str.lower().unique()[:3])
    return next((pair for pair in _SWITCHES if found and found <= set(pair)), None)


def looks_numeric(present: pd.Series[str]) -> bool:
    """Whether most cells of a sample hold numbers, or all of them switches; numbers with units only where the units go together."""
    if not len(present):
        return False
    if switches(present) is not None:
        return True
    plain = pd.to_numeric(present, errors="coerce").notna().mean()
    if plain > 0.5:
        return True
    parts = present.str.extract(_PARTS)
    good = parts[4].notna()
    if good.mean() <= 0.5:
        return False
    units = set(parts.loc[good, 6].fillna("").unique())
    return _factors(units, bare_zero=True) is not None


def taken_apart(text: pd.Series[str], missing: NDArray[np.bool_]) -> Written:
    """The cells of a column as sign, digits and unit."""
    unique = pd.Series(text.unique())
    if len(unique) < 0.5 * len(text):  # mostly the same cells again
        apart = taken_apart(unique, np.zeros(len(unique), np.bool_))
        where = pd.Index(unique).get_indexer(pd.Index(text))
        units = None if apart.units is None else apart.units.iloc[where].reset_index(drop=True)
        money = None if apart.money is None else apart.money.iloc[where].reset_index(drop=True)
        body = apart.body.iloc[where].reset_index(drop=True)
        return Written(text, missing, body, apart.negative[where], units, money)
    parts = text.str.extract(_PARTS)
    body = parts[4].fillna("").str.replace(_GAP, "", regex=True)
    minus = parts[1].isin(_MINUS) | parts[3].isin(_MINUS) | parts[0].notna() | parts[5].notna()
    units = parts[6].fillna("")
    money = parts[2].fillna("").str.strip().str.upper()
    return Written(
        text,
        missing,
        body,
        np.asarray(minus, np.bool_),
        units if (units != "").any() else None,
        money if (money != "").any() else None,
    )


def decimal_of(column: Written, among: set[Decimal], delimiter: str) -> Decimal | None:
    """What parts the decimals of a column, told by its own cells; None where no cell tells.

    Raises Ambiguous where cells tell different things. `among`: what the file's other columns told.
    """
    commas = column.body[column.body.str.contains(",", regex=False)]
    points = column.body[column.body.str.contains(".", regex=False)]
    says_comma = _first(commas, r"^\d*,(\d{1,2}|\d{4,})?([eE]|$)|^0*,|^0+,|^\d{4,},|,\d+[eE]|\.\d{3},") or _first(
        points, r"^\d{1,3}(\.\d{3}){2,}$"
    )
    says_point = _first(points, r"^\d*\.(\d{1,2}|\d{4,})?([eE]|$)|^0*\.|^0+\.|^\d{4,}\.|\.\d+[eE]|,\d{3}\.") or _first(
        commas, r"^\d{1,3}(,\d{2,3})+,\d{3}$"
    )
    if says_comma and says_point:
        msg = f"{says_comma!r} has a decimal comma and {says_point!r} a decimal point; mend one of them"
        raise Ambiguous(msg)
    if says_comma or says_point:
        return "," if says_comma else "."
    if len(among) == 1 or not (len(commas) or len(points)):
        return next(iter(among), None)
    some, sign, other = (commas, ",", ".") if len(commas) else (points, ".", ",")
    if sign == "." and delimiter != ";":
        return "."
    bare = column.body[(column.body != "") & ~column.body.str.contains("[.,]", regex=True)]
    if (bare.str.len() > 3).any():
        return "," if sign == "," else "."
    if len(some) >= 10 and len(bare) >= 3:  # nothing below a thousand has a separator: it parts thousands
        return "." if sign == "," else ","
    cell = some.iloc[0]
    msg = f"{cell!r} may be {cell.replace(sign, '')} or {cell.replace(sign, '.')}; say which: --read decimal={sign} or --read decimal={other}"
    raise Ambiguous(msg)


def values_of(column: Written, decimal: Decimal) -> tuple[NDArray[np.float64], NDArray[np.bool_], str]:
    """Values, which cells are wrong, and the unit that all share ("": none, or brought to one size).

    Raises Ambiguous where units do not go together.
    """
    thousands = "." if decimal == "," else ","
    body = column.body
    wrong_group = body.str.contains(rf"\{thousands}(?!\d{{2,3}}(?:\D|$))|\{decimal}.*[.,]", regex=True)
    body = body.str.replace(thousands, "", regex=False).str.replace(decimal, ".", regex=False)
    values: NDArray[np.float64] = pd.to_numeric(body, errors="coerce").to_numpy(np.float64, na_value=np.nan).copy()
    wrong = (np.isnan(values) | np.asarray(wrong_group, np.bool_)) & ~column.missing
    values[wrong | column.missing] = np.nan
    values = np.where(column.negative, -values, values)
    present = ~column.missing & ~wrong
    currencies = set() if column.money is None else set(column.money[present].unique()) - {""}
    if len(currencies) > 1:
        msg = f"currencies do not go together: {' and '.join(map(repr, sorted(currencies)[:4]))}; bring them to one"
        raise Ambiguous(msg)
    if column.units is None:
        return values, wrong, ""
    found = set(column.units[present].unique())
    zero = not np.any(values[present & np.asarray(column.units == "", np.bool_)])
    factors = _factors(found, bare_zero=zero)
    if factors is None:
        listed = " and ".join(repr(u) if u else "cells without a unit" for u in sorted(found)[:4])
        msg = f"units do not go together: {listed}; bring them to one"
        raise Ambiguous(msg)
    if len(found) == 1:
        [unit] = found
        scale = _SCALES.get(unit, 1.0) if unit in _SCALES else 1.0
        return values * scale, wrong, unit
    return values * column.units.map(lambda u: factors.get(u, 1.0)).to_numpy(np.float64), wrong, ""


def _factors(units: set[str], *, bare_zero: bool) -> dict[str, float] | None:
    """What brings each unit to the family's own; None where they do not go together."""
    if len(units) == 1:
        return dict.fromkeys(units, 1.0)
    for family in _FAMILIES:
        if units <= set(family):
            return family
    others = units - {""}
    if bare_zero and "" in units:
        return _factors(others, bare_zero=False)
    return None


def _first(cells: pd.Series[str], pattern: str) -> str | None:
    found = cells[cells.str.contains(pattern.replace("(", "(?:"), regex=True)] if len(cells) else cells
    return str(found.iloc[0]) if len(found) else None
