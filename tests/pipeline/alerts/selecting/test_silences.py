"""When a silence by calendar covers, against a clock that is looked at minute by minute; and how people write one."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest

from pipeline.alerts.selecting.silences import FOR_EVER, Calendar, Quiet, Silenced, calendar

MINUTE = 60_000
NOW = 1_795_000_000_000  # 2026-11-18


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def covered_by_the_clock(windows: list[tuple[set[int], int, int]], zone: str, start: int, minutes: int) -> list[bool]:
    """Of each minute: the clock showed a window's beginning, or what comes after, and is still to show what lies before its end."""
    margin = 3 * 1440
    shown = [
        datetime.fromtimestamp((start + m * MINUTE) / 1000, UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        for m in range(-margin, minutes + margin)
    ]
    covered = [False] * len(shown)
    for date in sorted({t.date() for t in shown})[1:-3]:
        midnight = datetime.combine(date, datetime.min.time())
        for days, begins, ends in windows:
            if date.weekday() in days:
                first = next(k for k, t in enumerate(shown) if t >= midnight + timedelta(minutes=begins))
                last = max(k for k, t in enumerate(shown) if t < midnight + timedelta(minutes=ends))
                covered[first : last + 1] = [True] * max(last + 1 - first, 0)
    return covered[margin : margin + minutes]


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("Europe/Berlin", "2026-03-28T12:00Z"),
        ("Europe/Berlin", "2026-10-24T12:00Z"),
        ("America/New_York", "2027-03-13T12:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T00:00Z"),
        ("Asia/Kolkata", "2026-10-03T00:00Z"),
        ("UTC", "2014-11-01T00:00Z"),
    ],
)
def test_windows_of_a_week_are_those_of_the_local_clock_where_it_is_put_on_and_back_too(zone: str, start: str) -> None:
    texts = ["sat,sun 22:00-06:00", "sun 02:15-02:45", "sun 01:30-02:10", "mon-tue 00:00-24:00", "fri-sat 12:00-12:30"]
    windows = [
        ({5, 6}, 22 * 60, 30 * 60),
        ({6}, 135, 165),
        ({6}, 90, 130),
        ({0, 1}, 0, 1440),
        ({4, 5}, 720, 750),
    ]
    for text, window in zip(texts, windows, strict=True):
        made = calendar([text], zone, now=NOW)
        covered = [bool(made.end(ms(start) + m * MINUTE)) for m in range(2 * 1440)]
        assert covered == covered_by_the_clock([window], zone, ms(start), 2 * 1440), text
        stretches = list(made.windows(ms(start), ms(start) + 2 * 1440 * MINUTE))
        assert covered == [any(a <= ms(start) + m * MINUTE < b for a, b in stretches) for m in range(2 * 1440)], text


def test_a_window_ends_when_it_ends() -> None:
    made = calendar(["sat,sun 22:00-06:00"], "Europe/Berlin", now=NOW)
    assert made.end(ms("2026-10-24T20:00Z")) == ms("2026-10-25T05:00Z")  # nine hours: the clock is put back within it
    assert made.end(ms("2026-10-24T19:59:59.999Z")) == made.end(ms("2026-10-25T05:00Z")) == 0
    assert calendar(["sat 20:00-08:00"], "UTC").end(ms("2026-10-25T00:00Z")) == ms("2026-10-25T08:00Z")


def test_what_is_decided_needs_no_time_zones_to_be_read_back() -> None:
    made = calendar(["daily 03:00-03:30"], "Europe/Berlin", now=NOW)
    body = msgspec.json.encode(Silenced(7, "*", 0, calendar=made))
    assert len(body) < 3000
    assert msgspec.json.decode(body, type=Silenced) == Silenced(7, "*", 0, calendar=made)
    assert made.offsets[-1][0] > NOW + 19 * 365 * 86_400_000


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Sat,SUN  22:00 - 06:00", "sat,sun 22:00-06:00"),
        ("fri-mon 00:00-24:00", "mon,fri,sat,sun 00:00-24:00"),
        ("mon-sun 05:00-04:00", "daily 05:00-04:00"),
    ],
)
def test_windows_are_written_as_people_write_them(text: str, written: str) -> None:
    assert str(calendar([text], "UTC")) == f"{written} UTC"
    assert calendar([written], "UTC") == calendar([text], "UTC")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sat 22:00", "is no window of a week"),
        ("satur 22:00-23:00", "is no window of a week"),
        ("sat 22:00-22:00", "does not end when it begins"),
        ("sat 24:00-06:00", "from 00:00 to 24:00"),
        ("sat 01:60-06:00", "from 00:00 to 24:00"),
        ("", "is no window of a week"),
    ],
)
def test_what_is_no_window_is_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        calendar([text], "UTC")


@pytest.mark.parametrize("zone", ["Berlin", "../../etc/passwd", "", "Europe"])
def test_a_zone_that_there_is_not_is_refused_in_words(zone: str) -> None:
    with pytest.raises(ValueError, match="there is no time zone"):
        calendar(["daily 01:00-02:00"], zone)


def test_a_silence_is_of_its_series_from_its_beginning_to_its_end() -> None:
    once = Silenced(1, "cpu*", 2_000, where={"env": "te*"}, since=1_000)
    assert [once.matches(s) for s in ('cpu{env="test"}', 'cpu{env="prod"}', "cpu", 'mem{env="test"}')] == [
        True, False, False, False,
    ]  # fmt: skip
    assert [once.end(at) for at in (999, 1_000, 1_999, 2_000)] == [0, 2_000, 2_000, 0]
    weekly = Silenced(2, "*", ms("2026-11-29T00:00Z"), calendar=calendar(["sat 22:00-06:00"], "UTC"))
    assert weekly.end(ms("2026-11-28T23:00Z")) == ms("2026-11-29T00:00Z")
    assert weekly.end(ms("2026-11-29T00:00Z")) == 0


def test_silences_that_overlap_or_follow_one_another_are_one() -> None:
    quiet = Quiet([Silenced(1, "*", 20, since=10), Silenced(2, "*", 30, since=15), Silenced(3, "*", 40, since=30)])
    assert [quiet.end(at) for at in (9, 10, 16, 39, 40, 12)] == [9, 40, 40, 40, 40, 40]
    whole: Calendar = calendar(["daily 00:00-24:00"], "Europe/Berlin", now=NOW)
    always = Quiet([Silenced(1, "*", 0, calendar=whole)])
    assert always.end(NOW) - NOW >= FOR_EVER
