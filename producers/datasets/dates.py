"""Event times as people and programs write them, to ms since 1970.

A column is read in one form, which all of its cells must have. Where day and month could be either (03/04/2026), all rows decide: a number
beyond 12, or the one order in which the steps are even; else reading stops and names the option.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from producers.datasets.base import Corrections
from producers.datasets.numbers import Ambiguous
from producers.errors import DataError

EPOCH_UNITS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6, "min": 6e4, "h": 3.6e6, "d": 8.64e7}
_LONG = (("min", "minutes", ()), ("h", "hours", ("hour", "hours", "h")))
"""Units that are longer than a second, and words without one of which in the name nobody counts since 1970 in them."""
_THIS_AGE = (631_152_000_000, 2_840_140_800_000)
"""1990 to 2060, ms since 1970."""
_BY_SIZE = ((1e11, "s"), (1e14, "ms"), (1e17, "us"), (np.inf, "ns"))  # |number| below this
WORDS_OF_UNITS = {
    "s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds", "min": "minutes", "h": "hours", "d": "days",
}  # fmt: skip
_DAYS = {
    "excel": (25_569.0, "days as Excel counts them"),
    "jd": (2_440_587.5, "Julian days"),
    "mjd": (40_587.0, "modified Julian days"),
    "matlab": (719_529.0, "days as MATLAB counts them"),
}
"""Units of days: what 1970 is in them, and for people."""
_NAMES_OF_DAYS = {
    "jd": ("jd", 2_200_000, 2_700_000), "julian_date": ("jd", 2_200_000, 2_700_000), "bjd": ("jd", 2_200_000, 2_700_000),
    "hjd": ("jd", 2_200_000, 2_700_000), "mjd": ("mjd", 1, 200_000), "datenum": ("matlab", 600_000, 900_000),
}  # fmt: skip
"""Names of columns that say so, with what their numbers are between."""
DAY_MS = 86_400_000
MOST_DIFFERENT = 200_000
"""Different texts of an odd form, each read by itself, which takes 0.1 ms."""
PARSED = 1 << 18
"""Texts that are read at a time."""
LONGEST = 100
"""Characters of a time."""
EVEN = 3.0
"""Times the median step that the longest may have, where steps are even."""

_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?[AaPp]\.?[Mm]\.?)?"
_ZONE = r"(?: ?(?:Z|z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2}))?(?: UTC)?"
_NUMERIC = re.compile(
    rf"^(0?[1-9]|[12]\d|3[01])([/.\-])(0?[1-9]|[12]\d|3[01])\2(\d{{4}}|\d{{2}})(?:[ T,]+({_CLOCK}))?({_ZONE})$"
)
_YEAR_FIRST = re.compile(
    rf"^(?!\d{{4}}\.\d{{1,2}}$)\d{{4}}([-/.])\d{{1,2}}(?:\1\d{{1,2}}(?:(?:[ T]+|, ){_CLOCK}{_ZONE}|[ T]\d{{2}}(?:\d{{2}})*Z?)?)?$"
)
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_NAMED = re.compile(
    rf"^(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? )?(?:\d{{1,2}}(?:st|nd|rd|th)?[-/ ]{_MONTH}[-/ ,]+\d{{2,4}}|{_MONTH}[-/ ]\d{{1,2}}(?:st|nd|rd|th)?,?[-/ ]\d{{4}}"
    rf"|{_MONTH}[-/ ]\d{{1,2}} {_CLOCK} (?:[A-Z]+ )?\d{{4}}|{_MONTH}[-/ ]\d{{4}}|\d{{4}}[-/ ]{_MONTH}[-/ ]\d{{1,2}})(?:(?:[ T,:]| at )+{_CLOCK})?{_ZONE}$",
    re.IGNORECASE,
)
_BASIC = re.compile(r"^(?:19|20|21)\d{6}[T ]\d{4}(?:\d{2})?Z?$")
_MONTH_YEAR = re.compile(rf"^{_MONTH}[-/ ]'?\d{{2}}$|^\d{{4}}[-/ ]{_MONTH}$|^\d{{4}}[- ]?M\d{{1,2}}$", re.IGNORECASE)
_BETWEEN = re.compile(r" (?:-|–|—|to|bis|until) |/(?=\d{4}-)")
"""Between the two times of a span, the first of which is the event time."""
_BROWSER = r" GMT([+-]\d{4})(?: \(.*\))?$"
_MIDNIGHT = r"(?<=[ T])24(?=:00(?::00(?:[.,]0+)?)?$)"
_QUARTER = re.compile(r"^(\d{4})[- ]?Q([1-4])$|^Q([1-4])[- /](\d{4})$", re.IGNORECASE)
_WEEK = re.compile(r"^\d{4}-?W\d{2}(?:-?\d)?$")
_ZONED = r"(?:[zZ]|[T ]\d\d(?::?\d\d){0,2}(?:[.,]\d+)?[+-]\d\d(?::?\d\d)?)$"
_POINTS = r"^(\d{1,2})\.(\d{2})\.(\d{2})$"
ONLY_ZONE = re.compile(r"^(?:Z|UTC|GMT|[+-]\d{2}:?\d{2})$")
LIKE_A_DATE = re.compile(r"(?=.*(?<!\d)(?:19|20)\d{2}(?!\d))(?=.*\d\D+\d)")
"""What holds a year and another number."""
ONLY_HALF = re.compile(r"^[AaPp]\.?[Mm]\.?$")
ONLY_CLOCK = re.compile(rf"^{_CLOCK}$|^(?:[01]?\d|2[0-3])\.[0-5]\d\.[0-5]\d$")
DURATION = re.compile(r"^(?:\d+ days? )?\d{1,6}:\d{2}:\d{2}(?:[.,]\d+)?$")
_ANY = (_YEAR_FIRST, _BASIC, _NUMERIC, _NAMED, _MONTH_YEAR, _QUARTER, _WEEK)


@dataclass(frozen=True)
class Times:
    """Event times and how they were read.

    Attributes
    ----------
    ms : (n,) int64
        0 where a cell is no time.
    wrong : (n,) bool
    form
        For people: `seconds since 1970`, `day/month/year`.
    """

    ms: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    form: str
    unsure: NDArray[np.bool_] | None = None
    """(n,) where clocks show an hour twice, and the order of the rows does not tell which is which (that of a series may); None: nowhere."""


def looks_like_time(cell: str) -> bool:
    """Whether a text is a date, with a time of day or not, or a span of two of them."""
    cell = _plain(cell)
    return any(form.match(cell) for form in _ANY) or (cell[:1].isdigit() and _NAMED.match(_english(cell)) is not None)


def _plain(cell: str) -> str:
    """The beginning of a span of two times; a browser's date with its offset alone."""
    if len(cell) > LONGEST:
        return cell
    return re.sub(_BROWSER, r"\1", cell) if "GMT" in cell else _begun(cell) or cell


def _begun(cell: str) -> str | None:
    """Of a span of two times the first."""
    first, *second = _BETWEEN.split(cell, maxsplit=1)
    first = first.strip()
    return first if second and re.search(r"\d", second[0]) and any(form.match(first) for form in _ANY) else None


def with_colons(clock: pd.Series[str]) -> pd.Series[str]:
    """Times of day written 18.30.00 as 18:30:00."""
    return clock.str.replace(_POINTS, r"\1:\2:\3", regex=True)


_MONTHS = {
    "jan": "janvier januar gennaio enero janeiro ene gen", "feb": "février fevrier februar febbraio febrero fevereiro fév fev",
    "mar": "märz maerz mrz mär mars marzo março maart", "apr": "avril aprile abril avr abr", "may": "mai maggio mayo maio mei mag",
    "jun": "juin juni giugno junio junho giu", "jul": "juillet juli luglio julio julho juil lug", "aug": "août aout agosto augustus ago",
    "sep": "septembre settembre septiembre setembro set", "oct": "octobre oktober ottobre octubre outubro okt ott out",
    "nov": "novembre noviembre novembro", "dec": "décembre decembre dezember dicembre diciembre dezembro dez dic déc",
}  # fmt: skip
_ENGLISH = {word: month for month, words in _MONTHS.items() for word in words.split()}


_NUMBER_OF_MONTH = {month: i for i, month in enumerate(_MONTHS, 1)}


def month_number(cell: str) -> int:
    """1 to 12 of a month's number or name, short or long; 0: it is none.

    >>> month_number("Jan"), month_number("September"), month_number("März"), month_number("11"), month_number("Q1")
    (1, 9, 3, 11, 0)
    """
    word = cell.strip().lower().rstrip(".")
    if word.isdigit():
        return int(word) if 1 <= int(word) <= 12 else 0
    word = _ENGLISH.get(word, word)
    return _NUMBER_OF_MONTH.get(word[:3], 0) if re.fullmatch(_MONTH, word) else 0


def _english(cell: str) -> str:
    """A date with the English name of its month, and no point behind the day; others as they are."""
    plain = re.sub(r"^(\d{1,2})\. ?(?=[^\W\d])", r"\1 ", cell)
    return re.sub(r"[^\W\d_]+", lambda m: _ENGLISH.get(m[0].lower(), m[0]), plain)


def _named(cell: str) -> bool:
    return _NAMED.match(cell) is not None or _NAMED.match(_english(cell)) is not None


def zone_of(name: str) -> ZoneInfo:
    """A time zone by name. Raises DataError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        msg = f"time zone {name!r} is not known; name one like UTC or Europe/Berlin"
        raise DataError(msg) from error


def unit_of_name(name: str) -> str | None:
    """The unit that a column's name states: `timestamp_millis`, `time [s]`."""
    found = re.search(
        r"[_\s\[(-](millis|milliseconds|msec|ms|micros|microseconds|us|µs|nanos|nanoseconds|ns|seconds|secs|sec|s)[\])]?$",
        name.lower(),
    )
    if found is None:
        found = re.search(r"(millis|micros|nanos)$", name.lower())
    if found is None:
        return None
    return {"mi": "ms", "ms": "ms", "us": "us", "µs": "us", "na": "ns", "ns": "ns", "se": "s", "s": "s"}[
        "us" if found[1].startswith("micro") else found[1][:2]
    ]


def from_numbers(number: NDArray[np.float64], name: str, chosen: Corrections) -> Times:
    """Seconds, ms, us or ns since 1970, told by option, by the column's name or by the size of the largest; dates as 20260316; years.

    Raises Ambiguous where sizes do not go together.
    """
    wrong = ~np.isfinite(number)
    good = number[~wrong]
    unit = chosen.time_unit or unit_of_name(name) or _unit_of_days(good, name)
    if unit in _DAYS:
        since, words = _DAYS[unit]
        return Times(_whole((number - since) * DAY_MS, wrong), wrong, words)
    if unit is None and (dates := _as_digits(good)) is not None:
        text, form = dates
        ms = np.zeros(len(number), np.int64)
        ms[~wrong] = text
        return Times(ms, wrong, form)
    if unit is None and "year" in name.lower() and len(good) and good.min() >= 1500 and good.max() <= 2200:
        whole = np.floor(np.where(wrong, 1970.0, number))
        first, after = (
            ((whole + add).astype(np.int64) - 1970).astype("datetime64[Y]").astype("datetime64[ms]").astype(np.int64)
            for add in (0, 1)
        )
        return Times(
            _whole((first + (number - whole) * (after - first)).astype(np.float64), wrong),
            wrong,
            "years and their parts",
        )
    called_a_date = set(re.split(r"[^a-z]+", name.lower())) & {"date", "datum", "fecha", "day", "tag"}
    if (
        unit is None
        and called_a_date
        and len(good)
        and not (good % 1).any()
        and 10_000 <= good.min() <= good.max() < 1e8
    ):
        return _dates_in_digits(number, wrong)
    if unit is None:
        sizes = np.abs(good)
        if len(sizes) and sizes.min() > 1e8 and sizes.max() > 200 * sizes.min():
            msg = f"{sizes.min():.0f} and {sizes.max():.0f} are not of one unit; say which: --read time-unit=s, or mend the smaller or larger ones"
            raise Ambiguous(msg)
        parts = bool((good % 1).any()) or any(word in name.lower() for word in ("date", "datum", "fecha"))
        if len(good) and parts and good.min() > 20_000 and good.max() < 80_000:
            msg = f"{good[0]:g} may be days as Excel counts them, or seconds; say which: --read time-unit=excel or --read time-unit=s"
            raise Ambiguous(msg)
        _check_long_units(good, name)
        unit = next(u for below, u in _BY_SIZE if (float(sizes.max()) if len(sizes) else 0.0) < below)
    words = WORDS_OF_UNITS[unit]
    return Times(_whole(number * EPOCH_UNITS[unit], wrong), wrong, f"{words} since 1970")


def _check_long_units(good: NDArray[np.float64], name: str) -> None:
    """Raise Ambiguous where whole numbers come to seconds of the years behind 1970, and to minutes or hours of ours."""
    if not len(good) or (good % 1).any():
        return
    said = set(re.split(r"[^a-z]+", name.lower()))
    for unit, words, needed in _LONG:
        fits = _THIS_AGE[0] <= good.min() * EPOCH_UNITS[unit] and good.max() * EPOCH_UNITS[unit] <= _THIS_AGE[1]
        if fits and (not needed or said & set(needed)):
            msg = f"{good[0]:.0f} may be {words} since 1970, or seconds; say which: --read time-unit={unit} or --read time-unit=s"
            raise Ambiguous(msg)


def _unit_of_days(good: NDArray[np.float64], name: str) -> str | None:
    unit, low, high = _NAMES_OF_DAYS.get(re.sub(r"[^a-z]+", "_", name.lower()).strip("_"), ("", 1.0, 0.0))
    return unit if len(good) and good.min() >= low and good.max() <= high else None


def from_text(text: pd.Series[str], missing: NDArray[np.bool_], zone: str, chosen: Corrections) -> Times:
    """Times of a column of texts, without a zone those of `zone`.

    Raises Ambiguous where two readings fit.
    """
    known = text[~missing] if missing.any() else text
    if not len(known):
        return Times(np.zeros(len(text), np.int64), missing, "no times")
    first = str(known.iloc[0])
    span = len(first) <= LONGEST and _begun(first) is not None
    if first != _plain(first):
        text = text.map(_plain)
        known, first = text[~missing], _plain(first)
    after_midnight = np.asarray(text.str.contains("24:00", regex=False), np.bool_)
    if after_midnight.any():
        after_midnight = after_midnight & np.asarray(text.str.contains(_MIDNIGHT, regex=True), np.bool_)
        text = text.str.replace(_MIDNIGHT, "00", regex=True)
        first = str(text[~missing].iloc[0])
    if (
        DURATION.match(first)
        and known.str.match(DURATION.pattern).all()
        and not known.str.match(ONLY_CLOCK.pattern).all()
    ):
        return _elapsed(text, missing)
    if ONLY_CLOCK.match(first) and known.str.match(ONLY_CLOCK.pattern, case=False).all():
        return _elapsed_clock(text, missing)
    if _NUMERIC.match(first):
        parsed, form = _numeric(text, missing, chosen)
    elif _QUARTER.match(first):
        plain = (
            text.str.replace(r"^[Qq]([1-4])[- /](\d{4})$", r"\2Q\1", regex=True)
            .str.replace(r"[- ]", "", regex=True)
            .str.upper()
        )
        good = np.asarray(plain.str.match(r"^\d{4}Q[1-4]$"), np.bool_)
        parsed = pd.Series(pd.NaT, text.index, dtype="datetime64[ms]")
        parsed[good] = pd.PeriodIndex(plain[good], freq="Q").to_timestamp().astype("datetime64[ms]")
        form = "quarters"
    elif _WEEK.match(first):
        week = text.str.replace("-", "").str.replace("W", "-W")
        parsed, form = (
            pd.to_datetime(week.str[:8] + "-" + week.str[8:].replace({"": "1"}), format="%G-W%V-%u", errors="coerce"),
            "weeks",
        )
    elif _MONTH_YEAR.match(first):
        parsed, form = _months(text), "months"
    elif _named(first):
        parsed, form = _by_name(text, missing), "dates with names of months"
    else:
        parsed, form = _iso(text, missing), "ISO 8601"
    if span:
        form = f"the beginnings of spans, {form}"
    if after_midnight.any():
        parsed = parsed + pd.to_timedelta(after_midnight.astype(np.int64), unit="D")
    wrong = np.asarray(parsed.isna().to_numpy(), np.bool_) | missing
    unsure = None
    if parsed.dt.tz is None:
        parsed, skipped, unsure = _localised(parsed, zone_of(zone))
        if (skipped & ~wrong).any():
            return Times(
                np.zeros(len(text), np.int64),
                skipped & ~wrong,
                f"!does not exist in {zone}: clocks skip it (wrong --time-zone?)",
            )
        form += f" in {zone}"
    return Times(_ms(parsed, wrong), wrong, form, unsure)


def _months(text: pd.Series[str]) -> pd.Series[pd.Timestamp]:
    """Times as Jan-90, 1990-Jan, 1990M01.

    Raises Ambiguous where two digits behind a month may be its day.
    """
    plain = text.str.replace("[/ ']+", "-", regex=True).str.replace(r"^(\d{4})-?[Mm](\d)$", r"\1M0\2", regex=True)
    plain = plain.str.replace(r"^(\d{4})-?[Mm](\d\d)$", r"\1-\2", regex=True)
    plain = plain.str.replace(r"(?i)([a-z]{3})[a-z]*\.?", r"\1", regex=True)
    for form in ("%Y-%m", "%Y-%b", "%b-%y"):
        parsed = pd.to_datetime(plain, format=form, errors="coerce")
        if parsed.notna().any():
            break
    if form == "%b-%y" and not _even(parsed.dropna()):
        msg = f"{text.iloc[0]!r} may be a month of a year or a day without one; write years with four digits, or take the rows in their order: --table"
        raise Ambiguous(msg)
    return parsed


def _iso(text: pd.Series[str], missing: NDArray[np.bool_]) -> pd.Series[pd.Timestamp]:
    parsed = _as_iso(text)
    if parsed[~missing].notna().all():
        return parsed
    plain = text.str.replace(r"^(\d{4})[/.](\d{1,2})[/.](\d{1,2})", r"\1-\2-\3", regex=True)
    plain = plain.str.replace(r" ?(?:UTC|GMT)$", "Z", regex=True).str.replace(r"([+-]\d\d:?\d\d)Z$", r"\1", regex=True)
    plain = plain.str.replace(r"^(\d{4}-\d{2}-\d{2}),? +", r"\1 ", regex=True).str.replace(
        r"(\d) +(Z|[+-]\d)", r"\1\2", regex=True
    )
    plain = plain.str.replace(r"(:\d{2}),(\d+)", r"\1.\2", regex=True)
    parsed = _as_iso(plain)
    rest = parsed.isna() & text.map(looks_like_time)
    if rest.any() and rest.sum() > 0.5 * len(text):  # 2024-1-5 3:04 PM
        clocks = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
        for clock in clocks:
            again = pd.to_datetime(plain, format=f"%Y-%m-%d{clock}", errors="coerce")
            if again.isna().sum() < parsed.isna().sum():
                parsed = again
    return parsed


def _as_iso(text: pd.Series[str]) -> pd.Series[pd.Timestamp]:
    """ISO 8601 as pandas reads it; a time without a zone among others that have one is none."""
    zoned = text.str.contains(_ZONED, regex=True)
    utc = bool(zoned.any())
    try:
        # Each text becomes an object of Python's on the way: some at a time.
        parts = (text.iloc[start : start + PARSED] for start in range(0, max(1, len(text)), PARSED))
        parsed = pd.concat([pd.to_datetime(part, format="ISO8601", errors="coerce", utc=utc) for part in parts])
    except ValueError:
        return pd.Series(pd.NaT, text.index, dtype="datetime64[us]")
    return parsed.where(zoned) if utc else parsed


def _numeric(
    text: pd.Series[str], missing: NDArray[np.bool_], chosen: Corrections
) -> tuple[pd.Series[pd.Timestamp], str]:
    """Times as 12/31/2024, 31.12.2024 13:05, 3-4-26 1:05 PM."""
    parts = text.str.extract(_NUMERIC)
    good = parts[0].notna().to_numpy() & ~missing
    a, b, year = (pd.to_numeric(parts[k], errors="coerce") for k in (0, 2, 3))
    year = year.where(parts[3].str.len() == 4, year + np.where(year < 70, 2000, 1900))
    sign = str(parts.loc[good, 1].iloc[0])
    clock = (
        parts[4].fillna("00:00").str.replace(",", ".").str.upper().str.replace(r"\.(?=M|$)|(?<=[AP])\.", "", regex=True)
    )
    clock = clock.str.replace(r"(\d)([AP]M)$", r"\1 \2", regex=True)
    half = bool(clock.str.contains("M").any())
    zoned = parts[5].fillna("").str.strip().str.replace(r"^(?:UTC|GMT|z)$", "Z", regex=True)
    forms = {f"day{sign}month{sign}year": (a, b), f"month{sign}day{sign}year": (b, a)}
    if chosen.day_first is not None:
        wanted = "day" if chosen.day_first else "month"
        forms = {form: order for form, order in forms.items() if form.startswith(wanted)}
    elif sign == ".":
        forms.pop(f"month{sign}day{sign}year")
    found: dict[str, pd.Series[pd.Timestamp]] = {}
    for form, (day, month) in forms.items():
        date = (
            year.map("{:.0f}".format)
            + "-"
            + month.map("{:.0f}".format).str.zfill(2)
            + "-"
            + day.map("{:.0f}".format).str.zfill(2)
        )
        whole = date + " " + clock
        if half:
            parsed = pd.Series(pd.NaT, text.index, dtype="datetime64[us]")
            for style in ("%Y-%m-%d %I:%M %p", "%Y-%m-%d %I:%M:%S %p", "%Y-%m-%d %I:%M:%S.%f %p", "%Y-%m-%d %H:%M"):
                parsed = parsed.fillna(pd.to_datetime(whole, format=style, errors="coerce"))
        else:
            whole = whole.str.replace(r" (\d):", r" 0\1:", regex=True)
            parsed = pd.to_datetime(whole + zoned, format="ISO8601", errors="coerce", utc=bool((zoned != "").any()))
        if (zoned != "").any():
            parsed = parsed.where(zoned != "")
        found[form] = parsed.where(pd.Series(good, text.index))
    whole_ones = {form: parsed for form, parsed in found.items() if parsed[good].notna().all()}
    if len(whole_ones) == 1 or len(found) == 1:
        form, parsed = next(iter((whole_ones or found).items()))
        return parsed, form
    if not whole_ones:  # a wrong cell: take the order that fits more
        form = max(found, key=lambda f: int(found[f].notna().sum()))
        return found[form], form
    even = {form: parsed for form, parsed in whole_ones.items() if _even(parsed[good])}
    if len(even) == 1 and good.sum() > 2:
        [(form, parsed)] = even.items()
        return parsed, form
    one, other = whole_ones.values()
    if one[good].equals(other[good]):
        return one, next(iter(whole_ones))
    cell = str(text[good & (a != b).to_numpy()].iloc[0])
    msg = (
        f"{cell!r} may be day before month or month before day; say which: --read day-first=yes or --read day-first=no"
    )
    raise Ambiguous(msg)


def _even(times: pd.Series[pd.Timestamp]) -> bool:
    """Whether times go one way in steps of about one size."""
    steps = times.drop_duplicates().diff().dropna().dt.total_seconds().to_numpy()
    if not len(steps):
        return True
    one_way = (steps > 0).mean() in (0.0, 1.0)
    sizes = np.abs(steps)
    return bool(one_way and sizes.max() <= EVEN * np.median(sizes))


def _by_name(text: pd.Series[str], missing: NDArray[np.bool_]) -> pd.Series[pd.Timestamp]:
    """Dates with names of months, each different text by dateutil; what it would fill in (a day, a year) counts as wrong."""
    from dateutil import parser

    different = text[~missing].unique()
    if len(different) > MOST_DIFFERENT:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pd.to_datetime(text, format=_format_of(str(different[0])), errors="coerce")
    read: dict[str, pd.Timestamp | None] = {}
    a, b = datetime(2000, 1, 1, tzinfo=None), datetime(2003, 1, 2, tzinfo=None)  # noqa: DTZ001  # local times
    for cell in different:
        cleaned = re.sub(r"(\d{4}):(\d{2}:)", r"\1 \2", _english(str(cell))).replace(" at ", " ")
        try:
            one, two = parser.parse(cleaned, default=a), parser.parse(cleaned, default=b)
        except (ValueError, OverflowError):
            continue
        if one == two or re.match(rf"^{_MONTH}[-/ ]\d{{4}}$", cleaned, re.IGNORECASE):
            read[str(cell)] = pd.Timestamp(one)
    zoned = any(t is not None and t.tzinfo is not None for t in read.values())
    if zoned:
        read = {cell: t for cell, t in read.items() if t is not None and t.tzinfo is not None}
    return pd.to_datetime(text.map(read.get), utc=zoned)


def _format_of(cell: str) -> str:
    from pandas.tseries.api import guess_datetime_format

    clock = " %I:%M:%S %p" if re.search(r"[AaPp][Mm]$", cell) else " %H:%M:%S"
    return guess_datetime_format(cell) or f"%d-%b-%Y{clock}"


def _elapsed(text: pd.Series[str], missing: NDArray[np.bool_]) -> Times:
    spans = pd.to_timedelta(text.str.replace(",", ".").where(~missing), errors="coerce")
    wrong = np.asarray(spans.isna(), np.bool_)
    return Times(
        _whole(spans.dt.total_seconds().to_numpy(np.float64) * 1000, wrong),
        wrong,
        "hours, minutes and seconds since a start",
    )


def _elapsed_clock(text: pd.Series[str], missing: NDArray[np.bool_]) -> Times:
    """A time of day without a date is a time where it never falls (so it stays within one day)."""
    plain = (
        with_colons(text).str.replace(",", ".").str.replace(r"^(\d{1,2}:\d{2})$", r"\1:00", regex=True).where(~missing)
    )
    spans = pd.to_timedelta(plain, errors="coerce")
    wrong = np.asarray(spans.isna(), np.bool_)
    if (spans.dropna().diff().dropna() < pd.Timedelta(0)).any() or wrong[~missing].any():
        msg = "times of day have no date; name the column of the date too: --timestamp-column DATE,TIME, or --table for rows in their order"
        raise Ambiguous(msg)
    return Times(_whole(spans.dt.total_seconds().to_numpy(np.float64) * 1000, wrong), wrong, "times of one day")


def _as_digits(good: NDArray[np.float64]) -> tuple[NDArray[np.int64], str] | None:
    """Numbers whose digits are a date: 20260316, 20260316120000, 2026."""
    if not len(good) or (good % 1).any():
        return None
    for low, high, form, words in (
        (17000101, 22001231, "%Y%m%d", "dates as YYYYMMDD"),
        (170001010000, 220012312359, "%Y%m%d%H%M", "dates as YYYYMMDDhhmm"),
        (17000101000000, 22001231235959, "%Y%m%d%H%M%S", "dates as YYYYMMDDhhmmss"),
        (1500, 2200, "%Y", "years"),
    ):
        if good.min() >= low and good.max() <= high:
            text = pd.Series(good.astype(np.int64)).astype(str)
            parsed = pd.to_datetime(text, format=form, errors="coerce")
            if parsed.notna().all() and (form != "%Y" or len(np.unique(good)) > 1):
                return _ms(parsed, np.zeros(len(good), np.bool_)), words
    return None


def _dates_in_digits(number: NDArray[np.float64], wrong: NDArray[np.bool_]) -> Times:
    """Dates whose digits are not in the order of ISO 8601, or too few: 260316, 2026075, 16032026. Raises Ambiguous where not one of them fits."""
    whole = pd.Series(np.where(wrong, 0, number).astype(np.int64)).astype(str)
    fits = {}
    for form, digits, words in (
        ("%y%m%d", 6, "YYMMDD"),
        ("%d%m%y", 6, "DDMMYY"),
        ("%m%d%y", 6, "MMDDYY"),
        ("%Y%j", 7, "a year and its day"),
        ("%d%m%Y", 8, "DDMMYYYY"),
        ("%m%d%Y", 8, "MMDDYYYY"),
    ):
        parsed = pd.to_datetime(whole.str.zfill(digits), format=form, errors="coerce")
        if parsed[~wrong].dt.year.between(1900, 2100).all() and _even(parsed[~wrong]):
            fits[words] = parsed
    if len(fits) != 1:
        cell = f"{number[~wrong][0]:.0f}"
        msg = f"{cell} is no date that is known, or more than one; write dates as 2026-03-16, or say what the numbers are: --read time-unit=s"
        raise Ambiguous(msg)
    [(words, parsed)] = fits.items()
    return Times(_ms(parsed, wrong), wrong, f"dates as {words}")


def _localised(
    parsed: pd.Series[pd.Timestamp], zone: ZoneInfo
) -> tuple[pd.Series[pd.Timestamp], NDArray[np.bool_], NDArray[np.bool_] | None]:
    """Local times with their zone, which do not exist, and (None: none) of which the order left it open of which of two equal hours they are.

    An hour that clocks show twice is read in order where that tells, else as the later one.
    """
    unsure = None
    try:
        found = parsed.dt.tz_localize(zone, ambiguous="infer", nonexistent="raise")
    except ValueError:
        later, sooner = (
            parsed.dt.tz_localize(zone, ambiguous=np.full(len(parsed), first), nonexistent="NaT")
            for first in (False, True)
        )
        found, open_ones = later, np.asarray((later.notna() & (later != sooner)).to_numpy(), np.bool_)
        unsure = open_ones if open_ones.any() else None
    return found, np.asarray((found.isna() & parsed.notna()).to_numpy(), np.bool_), unsure


def _ms(parsed: pd.Series[pd.Timestamp], wrong: NDArray[np.bool_]) -> NDArray[np.int64]:
    utc = parsed if parsed.dt.tz is None else parsed.dt.tz_convert(UTC).dt.tz_localize(None)
    return np.where(wrong, 0, utc.to_numpy().astype("datetime64[ms]").astype(np.int64))


def _whole(ms: NDArray[np.floating[Any]], wrong: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.round(np.where(wrong, 0.0, ms.astype(np.float64))).astype(np.int64)
