"""Event times that are numbers, to ms since 1970: counted since then, days of other calendars, or the digits of a date.

What unit it is is told by option, by the column's name, by the size. Where two readings fit (days of Excel or seconds, 2025152 as a date), reading
stops and names the option.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from producers.datasets import names
from producers.datasets.base import Corrections
from producers.datasets.numbers import Ambiguous

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
_SINCE = {
    "filetime": (11_644_473_600_000, (1.25e17, 1.46e17), "100 ns since 1601"),
    "ticks": (62_135_596_800_000, (6.3e17, 6.5e17), "100 ns since the year 1"),
}
"""Units of 100 ns, as Windows and .NET count them: ms before 1970 that they begin, what numbers of our age are between, and for people."""
_MAY_BE_DAYS = (
    ("excel", 20_000, 80_000),
    ("matlab", 700_000, 770_000),
    ("jd", 2_400_000, 2_500_000),
)
"""Numbers with parts of a day, which may as well be seconds."""
DAY_MS = 86_400_000
PART = 1 << 18
"""Numbers that are worked on at a time."""
EVEN = 3.0
"""Times the median step that the longest may have, where steps are even."""


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


def unit_of_name(name: str) -> str | None:
    """The unit that a column's name states: `timestamp_millis`, `time [s]`."""
    found = re.search(
        r"[_\s\[(-](millis|milliseconds|msec|ms|micros|microseconds|us|µs|nanos|nanoseconds|ns|seconds|secs|sec|s|minutes|mins|min|hours|hrs|h|days|d)[\])]?$",
        name.strip().lower(),
    )
    if found is None:
        found = re.search(r"(millis|micros|nanos)$", name.lower())
    if found is None:
        return None
    word = found[1]
    if word.startswith(("micro", "µ")):
        return "us"
    if word.startswith("min"):
        return "min"
    return {
        "mi": "ms",
        "ms": "ms",
        "us": "us",
        "na": "ns",
        "ns": "ns",
        "h": "h",
        "ho": "h",
        "hr": "h",
        "d": "d",
        "da": "d",
    }.get(word[:2], "s")


def from_numbers(number: NDArray[np.float64], name: str, chosen: Corrections) -> Times:
    """Seconds, ms, us or ns since 1970, told by option, by the column's name or by the size of the largest; dates as 20260316; years.

    Raises Ambiguous where sizes do not go together.
    """
    wrong = ~np.isfinite(number)
    good = number[~wrong] if wrong.any() else number
    unit = chosen.time_unit or unit_of_name(name) or _unit_of_days(good, name)
    if unit in _DAYS:
        since, words = _DAYS[unit]
        return Times(rounded((number - since) * DAY_MS, wrong), wrong, words)
    if unit in _SINCE:
        before, _, words = _SINCE[unit]
        return Times(rounded(number * 1e-4 - before, wrong), wrong, words)
    if unit is None and (dates := _as_digits(good)) is not None:
        text, form = dates
        ms = np.zeros(len(number), np.int64)
        ms[~wrong] = text
        return Times(ms, wrong, form)
    said = set(re.split(r"[^a-z]+", name.lower()))
    if (
        unit is None
        and ("year" in name.lower() or said & names.YEARS)
        and len(good)
        and good.min() >= 1500
        and good.max() <= 2200
    ):
        whole = np.floor(np.where(wrong, 1970.0, number))
        first, after = (
            ((whole + add).astype(np.int64) - 1970).astype("datetime64[Y]").astype("datetime64[ms]").astype(np.int64)
            for add in (0, 1)
        )
        return Times(
            rounded((first + (number - whole) * (after - first)).astype(np.float64), wrong),
            wrong,
            "years and their parts",
        )
    if unit is None and len(good) and not _with_parts(good) and 10_000 <= good.min() <= good.max() < 1e8:
        if said & names.DIGITS:
            return _dates_in_digits(number, wrong, said)
        _check_digits(good)
    if unit is None:
        sizes = np.abs(good)
        if len(sizes) and sizes.min() > 1e8 and sizes.max() > 200 * sizes.min():
            msg = f"{sizes.min():.0f} and {sizes.max():.0f} are not of one unit; say which: --read time-unit=s, or mend the smaller or larger ones"
            raise Ambiguous(msg)
        _check_days(good, name)
        _check_ticks(good)
        _check_long_units(good, name)
        unit = next(u for below, u in _BY_SIZE if (float(sizes.max()) if len(sizes) else 0.0) < below)
    words = WORDS_OF_UNITS[unit]
    return Times(rounded(number * EPOCH_UNITS[unit], wrong), wrong, f"{words} since 1970")


def _check_days(good: NDArray[np.float64], name: str) -> None:
    """Raise Ambiguous where numbers may be days with parts, or are dates by name and may be days."""
    parts = bool(_with_parts(good)) or any(word in name.lower() for word in ("date", "datum", "fecha"))
    for unit, low, high in _MAY_BE_DAYS if len(good) and parts else ():
        if low < good.min() and good.max() < high:
            words = _DAYS[unit][1]
            msg = f"{good[0]:.12g} may be {words}, or seconds; say which: --read time-unit={unit} or --read time-unit=s"
            raise Ambiguous(msg)


def _check_ticks(good: NDArray[np.float64]) -> None:
    """Raise Ambiguous where numbers come to ns of 1974 or 1990, and to our age as Windows and .NET count."""
    for unit, (_, (low, high), words) in _SINCE.items():
        if len(good) and low < good.min() and good.max() < high:
            msg = f"{good[0]:.0f} may be {words}, or nanoseconds since 1970; say which: --read time-unit={unit} or --read time-unit=ns"
            raise Ambiguous(msg)


def _check_digits(good: NDArray[np.float64]) -> None:
    """Raise Ambiguous where whole numbers that nobody called dates have the digits of dates in even steps."""
    if len(np.unique(good)) > 2 and (fits := list(_digits_that_fit(good))):
        msg = (
            f"{good[0]:.0f} may be a date ({fits[0]}), or seconds; call the column `date`, write dates as 2026-03-16, or say what the numbers are: "
            "--read time-unit=s"
        )
        raise Ambiguous(msg)


def _check_long_units(good: NDArray[np.float64], name: str) -> None:
    """Raise Ambiguous where whole numbers come to seconds of the years behind 1970, and to minutes or hours of ours."""
    if not len(good) or _with_parts(good):
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


def even(times: pd.Series[pd.Timestamp]) -> bool:
    """Whether times go one way in steps of about one size."""
    steps = times.drop_duplicates().diff().dropna().dt.total_seconds().to_numpy()
    if not len(steps):
        return True
    one_way = (steps > 0).mean() in (0.0, 1.0)
    sizes = np.abs(steps)
    return bool(one_way and sizes.max() <= EVEN * np.median(sizes))


def _as_digits(good: NDArray[np.float64]) -> tuple[NDArray[np.int64], str] | None:
    """Numbers whose digits are a date: 20260316, 20260316120000, 2026."""
    if not len(good) or _with_parts(good):
        return None
    for low, high, form, words in (
        (17000101, 22001231, "%Y%m%d", "dates as YYYYMMDD"),
        (1900010100, 2100123123, "%Y%m%d%H", "dates as YYYYMMDDhh"),  # as seconds they would be of 2030 to 2036
        (170001010000, 220012312359, "%Y%m%d%H%M", "dates as YYYYMMDDhhmm"),
        (17000101000000, 22001231235959, "%Y%m%d%H%M%S", "dates as YYYYMMDDhhmmss"),
        (1500, 2200, "%Y", "years"),
    ):
        if good.min() >= low and good.max() <= high:
            text = pd.Series(good.astype(np.int64)).astype(str)
            parsed = pd.to_datetime(text, format=form, errors="coerce")
            if parsed.notna().all() and (form != "%Y" or len(np.unique(good)) > 1):
                return as_ms(parsed, np.zeros(len(good), np.bool_)), words
    return None


def _dates_in_digits(number: NDArray[np.float64], wrong: NDArray[np.bool_], said: set[str]) -> Times:
    """Dates whose digits are not in the order of ISO 8601, or too few: 260316, 2026075, 16032026, 202603. Raises Ambiguous where not one of them fits."""
    good = number[~wrong]
    fits = _digits_that_fit(good)
    for words, told in (("YYYYMM", names.MONTHS), ("a year and its week", names.WEEKS)):
        if words in fits and said & told:
            fits = {words: fits[words]}
    if len(fits) != 1:
        days = f"--read time-unit={'excel' if good.min() > 20_000 and good.max() < 80_000 else 's'}"
        msg = f"{good[0]:.0f} is no date that is known, or more than one; write dates as 2026-03-16, or say what the numbers are: {days}"
        raise Ambiguous(msg)
    [(words, parsed)] = fits.items()
    ms = np.zeros(len(number), np.int64)
    ms[~wrong] = as_ms(parsed, np.zeros(len(good), np.bool_))
    return Times(ms, wrong, f"dates as {words}")


def _digits_that_fit(good: NDArray[np.float64]) -> dict[str, pd.Series[pd.Timestamp]]:
    """Readings as dates, by how they are written, in which all numbers are dates of 1900 to 2100 in even steps."""
    whole = pd.Series(good.astype(np.int64)).astype(str)
    fits = {}
    for form, digits, words in (
        ("%y%m%d", 6, "YYMMDD"),
        ("%d%m%y", 6, "DDMMYY"),
        ("%m%d%y", 6, "MMDDYY"),
        ("%Y%m", 6, "YYYYMM"),
        ("%G%V%u", 6, "a year and its week"),
        ("%Y%j", 7, "a year and its day"),
        ("%d%m%Y", 8, "DDMMYYYY"),
        ("%m%d%Y", 8, "MMDDYYYY"),
    ):
        text = whole.str.zfill(digits)
        text = text + "1" if "%V" in form else text
        parsed = pd.to_datetime(text, format=form, errors="coerce")
        if (text.str.len() <= 8).all() and parsed.dt.year.between(1900, 2100).all() and even(parsed):
            fits[words] = parsed
    return fits


def as_ms(parsed: pd.Series[pd.Timestamp], wrong: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n,) ms since 1970, 0 where a cell is wrong; times without a zone are UTC."""
    utc = parsed if parsed.dt.tz is None else parsed.dt.tz_convert(UTC).dt.tz_localize(None)
    ms = utc.to_numpy().astype("datetime64[ms]").view(np.int64)
    ms[wrong] = 0
    return ms


def _with_parts(good: NDArray[np.float64]) -> bool:
    """Whether not all numbers are whole."""
    return any((good[start : start + PART] % 1).any() for start in range(0, len(good), PART))


def rounded(ms: NDArray[np.floating[Any]], wrong: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n,) whole ms, 0 where a cell is wrong."""
    found = np.empty(len(ms), np.int64)
    for start in range(0, len(ms), PART):
        of = slice(start, start + PART)
        found[of] = np.round(np.where(wrong[of], 0.0, ms[of].astype(np.float64)))
    return found
