"""Event times as people and programs write them, to ms since 1970.

A column is read in one form, which all of its cells must have. Where day and month could be either (03/04/2026), all rows decide: a number
beyond 12, or the one order in which the steps are even; else reading stops and names the option.
"""

from __future__ import annotations

import re
import warnings
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from producers.datasets.base import Corrections
from producers.datasets.casting import moments
from producers.datasets.epochs import Times, as_ms, even, rounded
from producers.datasets.numbers import Ambiguous
from producers.errors import DataError

MOST_DIFFERENT = 200_000
"""Different texts of an odd form, each read by itself, which takes 0.1 ms."""
PARSED = 1 << 18
"""Texts that are read at a time."""
LONGEST = 100
"""Characters of a time."""
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
_MONTH_YEAR = re.compile(
    rf"^{_MONTH}[-/ ]'?\d{{2}}$|^(?:0?[1-9]|1[0-2])[-/](?:19|20)\d{{2}}$|^\d{{4}}[-/ ]{_MONTH}$|^\d{{4}}[- ]?M\d{{1,2}}$",
    re.IGNORECASE,
)
_BETWEEN = re.compile(r" (?:-|–|—|to|bis|until) |/(?=\d{4}-)")
"""Between the two times of a span, the first of which is the event time."""
_BROWSER = r" GMT([+-]\d{4})(?: \(.*\))?$"
_MIDNIGHT = r"[ T]24:00(?::00(?:[.,]0+)?)?$"
_QUARTER = re.compile(r"^(\d{4})[- ]?Q([1-4])$|^Q([1-4])[- /](\d{4})$", re.IGNORECASE)
_WEEK = re.compile(r"^\d{4}-?W\d{2}(?:-?\d)?$")
_ZONED = r"(?:[zZ]|[T ]\d\d(?::?\d\d){0,2}(?:[.,]\d+)?[+-]\d\d(?::?\d\d)?)$"
_POINTS = r"^(\d{1,2})\.(\d{2})\.(\d{2})$"
ONLY_ZONE = re.compile(r"^(?:Z|UTC|GMT|[+-]\d{2}:?\d{2})$")
ZONE_NAME = re.compile(
    r"^(?:Africa|America|Antarctica|Asia|Atlantic|Australia|Europe|Indian|Pacific|US)/[A-Z][A-Za-z_/+-]+$"
)
LIKE_A_DATE = re.compile(r"(?=.*(?<!\d)(?:19|20)\d{2}(?!\d))(?=.*\d\D+\d)")
"""What holds a year and another number."""
ONLY_HALF = re.compile(r"^[AaPp]\.?[Mm]\.?$")
ONLY_CLOCK = re.compile(rf"^{_CLOCK}$|^(?:[01]?\d|2[0-3])\.[0-5]\d\.[0-5]\d$")
DIGITS_OF_CLOCK = re.compile(r"^\d{1,6}$")
IN_DIGITS = "times of day in digits"
SHORT_YEARS = ("year-month-day", "year/month/day")
"""Forms that all rows together tell."""
MONTH_WITH_POINT = (
    re.compile(r"^(?:0[1-9]|1[0-2])\.(?:19|20)\d{2}$"),
    re.compile(r"^(?:19|20)\d{2}\.(?:0[1-9]|1[0-2])$"),
)
"""03.2026 and 2026.03, numbers but under the name of a time."""
DURATION = re.compile(r"^(?:\d+ days? )?\d{1,6}:\d{2}:\d{2}(?:[.,]\d+)?$")
_ANY = (_YEAR_FIRST, _BASIC, _NUMERIC, _NAMED, _MONTH_YEAR, _QUARTER, _WEEK)


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


def dates_with_points(text: pd.Series[str]) -> bool:
    """Whether texts as 01.03.26, which may be times of day, are all dates too.

    >>> dates_with_points(pd.Series(["01.03.26", "02.03.26"])), dates_with_points(pd.Series(["01.03.26", "01.13.26"]))
    (True, False)
    """
    return bool(
        len(text)
        and text.str.fullmatch(_POINTS).all()
        and pd.to_datetime(text, format="%d.%m.%y", errors="coerce").notna().all()
    )


def clock_in_digits(digits: pd.Series[str]) -> pd.Series[str] | None:
    """Times of day as 930, 1530 or 153000 with colons; None: they are none, or none is beyond the first hour (0 to 59 may be anything).

    >>> list(clock_in_digits(pd.Series(["0", "930", "1530"])))
    ['00:00', '09:30', '15:30']
    """
    width = 4 if digits.str.len().max() <= 4 else 6
    whole = digits.str.zfill(width)
    hours, *rest = (pd.to_numeric(whole.str[i : i + 2]) for i in range(0, width, 2))
    if not (hours <= 23).all() or not all((part <= 59).all() for part in rest) or not (hours > 0).any():
        return None
    return whole.str.replace(r"(\d\d)(?=\d)", r"\1:", regex=True)


def without_thousands(text: pd.Series[str]) -> pd.Series[str]:
    """Numbers of times as computers write them: 1,767,571,200 without commas, else a comma as a point."""
    if not text.str.contains(",", regex=False).any():
        return text
    if text.str.fullmatch(r"-?\d{1,3}(?:,\d{3}){2,}|").all():
        return text.str.replace(",", "", regex=False)
    return text.str.replace(",", ".", regex=False)


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


def sets_back(zone: str, since: int) -> bool:
    """Whether clocks of a zone are set back, for all that is known, in the 20 years behind a time (ms since 1970). Raises DataError.

    >>> sets_back("Europe/Berlin", 0), sets_back("Asia/Tokyo", 1_700_000_000_000)
    (True, False)
    """
    here = zone_of(zone)
    days = (datetime.fromtimestamp(since / 1000, UTC) + timedelta(days=day) for day in range(20 * 366))
    offsets = [here.utcoffset(day.astimezone(here)) or timedelta() for day in days]
    return any(after < before for before, after in pairwise(offsets))


def from_text(text: pd.Series[str], missing: NDArray[np.bool_], zone: str, chosen: Corrections) -> Times:
    """Times of a column of texts, without a zone those of `zone`.

    Raises Ambiguous where two readings fit.
    """
    known = text[~missing] if missing.any() else text
    if not len(known):
        return Times(np.zeros(len(text), np.int64), missing, "no times")
    if (read := _plain_iso(text, missing, zone)) is not None:
        return read
    first = str(known.iloc[0])
    span = len(first) <= LONGEST and _begun(first) is not None
    if first != _plain(first):
        text = text.map(_plain)
        known, first = text[~missing], _plain(first)
    after_midnight = np.asarray(text.str.contains(_MIDNIGHT, regex=True), np.bool_)
    if after_midnight.any():
        text = text.str.replace(r"([ T])24:00", r"\g<1>00:00", regex=True)
        first = str(text[~missing].iloc[0])
    if (
        DURATION.match(first)
        and known.str.match(DURATION.pattern).all()
        and not known.str.match(ONLY_CLOCK.pattern).all()
    ):
        return _elapsed(text, missing)
    if (
        ONLY_CLOCK.match(first)
        and known.str.match(ONLY_CLOCK.pattern, case=False).all()
        and not dates_with_points(known)
    ):
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
    return Times(as_ms(parsed, wrong), wrong, form, unsure)


def _months(text: pd.Series[str]) -> pd.Series[pd.Timestamp]:
    """Times as Jan-90, 1990-Jan, 1990M01.

    Raises Ambiguous where two digits behind a month may be its day.
    """
    plain = text.str.replace("[/ ']+", "-", regex=True).str.replace(r"^(\d{4})-?[Mm](\d)$", r"\1M0\2", regex=True)
    plain = plain.str.replace(r"^(\d{4})-?[Mm](\d\d)$", r"\1-\2", regex=True)
    plain = plain.str.replace(r"(?i)([a-z]{3})[a-z]*\.?", r"\1", regex=True)
    for form in ("%Y-%m", "%m-%Y", "%Y-%b", "%b-%y"):
        parsed = pd.to_datetime(plain, format=form, errors="coerce")
        if parsed.notna().any():
            break
    if form == "%b-%y" and not even(parsed.dropna()):
        msg = f"{text.iloc[0]!r} may be a month of a year or a day without one; write years with four digits, or take the rows in their order: --table"
        raise Ambiguous(msg)
    return parsed


def _plain_iso(text: pd.Series[str], missing: NDArray[np.bool_], zone: str) -> Times | None:
    """Times that are all written alike, as programs write them, with their zone or in UTC."""
    for zoned, form in ((False, "ISO 8601 in UTC"), (True, "ISO 8601")):
        if (zoned or zone == "UTC") and (ms := moments(text, missing, zoned=zoned)) is not None:
            return Times(ms, missing, form)
    return None


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
    short = bool((parts.loc[good, 3].str.len() == 2).all() and (parts.loc[good, 0].str.len() == 2).all())
    dates = {form: (year, month, day) for form, (day, month) in forms.items()}
    if short and sign != "." and chosen.day_first is None:
        dates[f"year{sign}month{sign}day"] = (
            a + np.where(a < 70, 2000, 1900),
            b,
            pd.to_numeric(parts[3], errors="coerce"),
        )
    for form, (its_year, month, day) in dates.items():
        date = (
            its_year.map("{:.0f}".format)
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
    if (first := whole_ones.pop(f"year{sign}month{sign}day", None)) is not None:
        # Years of two digits stand first where only that is in order.
        in_order = {form for form, parsed in (whole_ones | {"": first}).items() if _one_way(parsed[good])}
        if in_order == {""} or not whole_ones:
            return first, f"year{sign}month{sign}day"
    found.pop(f"year{sign}month{sign}day", None)
    if len(whole_ones) == 1 or len(found) == 1:
        form, parsed = next(iter((whole_ones or found).items()))
        return parsed, form
    if not whole_ones:  # a wrong cell: take the order that fits more
        form = max(found, key=lambda f: int(found[f].notna().sum()))
        return found[form], form
    regular = {form: parsed for form, parsed in whole_ones.items() if even(parsed[good])}
    if len(regular) == 1 and good.sum() > 2:
        [(form, parsed)] = regular.items()
        return parsed, form
    one, other = whole_ones.values()
    if one[good].equals(other[good]):
        return one, next(iter(whole_ones))
    cell = str(text[good & (a != b).to_numpy()].iloc[0])
    msg = (
        f"{cell!r} may be day before month or month before day; say which: --read day-first=yes or --read day-first=no"
    )
    raise Ambiguous(msg)


def _one_way(times: pd.Series[pd.Timestamp]) -> bool:
    """Whether times only rise, or only fall."""
    return bool(times.is_monotonic_increasing or times.is_monotonic_decreasing)


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
        rounded(spans.dt.total_seconds().to_numpy(np.float64) * 1000, wrong),
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
    return Times(rounded(spans.dt.total_seconds().to_numpy(np.float64) * 1000, wrong), wrong, "times of one day")


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
