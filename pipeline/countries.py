"""The public holidays of countries and their parts, by the package `holidays`: as dates, which are written down where they count.

What the package says changes with its version. So it is asked where settings are decided, and where a model is trained; who judges by these has the dates.
"""

from __future__ import annotations

import warnings
from datetime import date
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple

from detectors.judgement.calendar import Calendar, Holidays

FIRST, LAST = 1990, 2049
"""Years whose holidays are known."""
_OTHERWISE = {"UK": "GB", "EN": "GB", "EL": "GR", "ENGLAND": "GB-ENG", "SCOTLAND": "GB-SCT", "WALES": "GB-WLS"}
"""What people write."""


class PublicHolidays(NamedTuple):
    """Dates, rising, and which day of the week is the day of rest, 0 is Monday."""

    dates: tuple[date, ...] = ()
    rest: int = 6


@lru_cache(maxsize=16)
def public_holidays(country: str) -> PublicHolidays:
    """Those of a country, as US, or of a part of one, as US-NY or DE-BY; of "", none.

    Raises
    ------
    ValueError
        There is no such country, or no such part of it; says what is like it.
    """
    if not country:
        return PublicHolidays()
    import holidays as package

    code, _, part = country.partition("-")
    countries = package.list_supported_countries()
    if code not in countries:
        near = _near_countries(code, countries)
        msg = f"no holidays are known of a country {country[:60]!r}{_meant(near)}; write it as US, DE or GB-SCT"
        raise ValueError(msg)
    if country != code and part not in countries[code]:
        parts: dict[str, Any] = getattr(package, code).get_subdivision_aliases()
        near = [f"{code}-{p}" for p in _near_parts(part, parts)]
        known = ", ".join(countries[code]) or "none"
        msg = f"{code} has no part {part[:60]!r} whose holidays are known{_meant(near)}; its parts are {known}"
        raise ValueError(msg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of some countries fewer years are known
        found = package.country_holidays(code, subdiv=part or None, years=range(FIRST, LAST + 1))
    dates = tuple(sorted(day for day in found if FIRST <= day.year <= LAST))
    return PublicHolidays(dates, max(found.weekend, default=6))  # the last day of it: of Friday and Saturday Saturday


def calendar_of(time_zone: str, country: str) -> Calendar:
    """Of series that keep this clock and these holidays. Raises ValueError, as `public_holidays`."""
    return Calendar(time_zone, Holidays.of(*public_holidays(country)))


def _near_countries(code: str, countries: dict[str, list[str]]) -> list[str]:
    """Codes of countries that a text may mean."""
    from holidays.registry import COUNTRIES

    names = {name.upper(): names[1] for _, names in COUNTRIES.items() for name in names if names[1] in countries}
    return _near(code.replace(" ", ""), names | _OTHERWISE, 0.75)


def _near_parts(part: str, aliases: dict[str, list[str]]) -> list[str]:
    """Parts of a country that a text may mean."""
    return _near(part, {name.upper(): p for p, also in aliases.items() for name in (p, *also)}, 0.6)


def _near(text: str, names: dict[str, str], least: float) -> list[str]:
    """What is called so, or nearly so."""
    asked = text.upper()
    found = [asked] if asked in names else get_close_matches(asked, names, n=3, cutoff=least)
    return list(dict.fromkeys(names[name] for name in found))


def _meant(near: list[str]) -> str:
    return f"; is {' or '.join(near)} meant?" if near else ""
