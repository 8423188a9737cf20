"""Times in records are RFC 3339's, leap seconds and small letters included; what is none is said."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.formats.base import Unusable, milliseconds
from producers.times import milliseconds_of, typed_time

MIDNIGHT = 1_483_228_800_000  # 2017-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("text", "after_midnight"),
    [
        ("2017-01-01T00:00:00Z", 0),
        ("2017-01-01t00:00:00z", 0),
        ("2017-01-01 00:00:00Z", 0),
        ("2016-12-31T23:59:60Z", 0),
        ("2016-12-31T23:59:60.5Z", 500),
        ("2016-12-31T15:59:60-08:00", 0),
        ("2017-01-01T05:29:60+05:30", 0),
        ("2016-12-31T24:00:00Z", None),
        ("2017-01-01T00:00:00-00:00", 0),
        ("2017-01-01T23:59:00+23:59", 0),
        ("2016-12-31T00:01:00-23:59", 0),
        ("2017-01-01T00:00:00+24:00", None),
        ("2017-01-01T00:00:00+00:60", None),
        ("2017-01-01T00:00:00.1Z", 100),
        ("2017-01-01T00:00:00.12Z", 120),
        ("2017-01-01T00:00:00.999999999999Z", 999),
        ("2017-01-01T00:00:00.0009Z", 0),
        ("2017-01-01T00:00:00,25Z", 250),
        ("2017-01-01T00:00:00.Z", None),
        ("2017-01-01T02:00:00+0200", 0),
        ("2017-01-01T02:00:00+02", 0),
        ("2017-01-01T00:00Z", 0),
        ("2017-01-01T12:00:60Z", None),
        ("2017-01-15T23:59:60Z", None),
        ("2017-01-01T00:00:61Z", None),
        ("2017-01-01T00:60:00Z", None),
        ("2017-02-29T00:00:00Z", None),
        ("0000-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("9999-12-31T23:59:60Z", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("2017-01-01", None),
        ("2017-01-01T00:00:00", None),
        ("20170101T000000Z", None),
        ("2016-W52-7T00:00:00Z", None),
        ("2017-01-01X00:00:00Z", None),
        ("2017-01-01T00:00:00Z\n", None),
        (" 2017-01-01T00:00:00Z", None),
        ("２０１７-01-01T00:00:00Z", None),
        ("2017-1-1T00:00:00Z", None),
        ("2017-01-01T00:00:00 Z", None),
        ("2017-01-01T00:00:00UTC", None),
        ("2017-01-01T00:00:00Z+01:00", None),
        ("", None),
    ],
)
def test_what_rfc_3339_says(text: str, after_midnight: int | None) -> None:
    if after_midnight is None:
        with pytest.raises(ValueError, match=r"RFC 3339|zone|there is|leap second"):
            milliseconds_of(text)
        with pytest.raises(Unusable, match="absurd timestamp"):
            milliseconds(text)
    else:
        expected = MIDNIGHT + after_midnight
        assert milliseconds_of(text) == expected


@given(st.datetimes(timezones=st.just(UTC)), st.integers(0, 12))
def test_what_python_writes_is_read_as_it_is_cut_to_ms(moment: datetime, digits: int) -> None:
    fraction = f"{moment.microsecond:06d}000000"[:digits]
    text = (
        moment.strftime("%Y").zfill(4) + moment.strftime("-%m-%dT%H:%M:%S") + (f".{fraction}" if digits else "") + "Z"
    )
    whole = round(moment.replace(microsecond=0).timestamp()) * 1000
    assert milliseconds_of(text) == whole + int(fraction.ljust(3, "0")[:3] or 0)


@given(st.text())
def test_any_text_is_a_time_or_a_reason(text: str) -> None:
    try:
        milliseconds(text)
    except Unusable as error:
        assert "\n" not in str(error)  # noqa: PT017  most are none


def test_what_a_person_types_is_utc_unless_it_says() -> None:
    noon = datetime(2014, 11, 1, 12, tzinfo=UTC)
    for text in ("2014-11-01T12:00", "2014-11-01 12:00:00", "2014-11-01T13:00+01:00", " 2014-11-01T12:00Z "):
        assert typed_time(text) == noon
    assert typed_time("2014-11-01") == datetime(2014, 11, 1, tzinfo=UTC)
    for text in ("yesterday", "2014-11", "1414843200", "2014-11-01T", "2014-11-31"):
        with pytest.raises(ValueError, match="is not a time"):
            typed_time(text)
