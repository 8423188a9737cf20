"""Several values of a message as the channels of one series."""

from __future__ import annotations

import pytest

from producers.formats import influx, telegraf
from producers.formats.base import COUNTER, Parsed, Point, Reason
from producers.formats.channels import Channels, Row, check_channels

T = 1_714_564_800_000
NAMES = ("usage_user", "usage_system", "usage_idle")


def message(fields: str, time: int = T // 1000) -> bytes:
    return b'{"name":"cpu","tags":{"host":"a"},"timestamp":%d,"fields":{%s}}' % (time, fields.encode())


def test_fields_of_a_message_are_one_series_in_the_order_of_the_settings_whatever_theirs_is() -> None:
    parsed = telegraf.parse(message('"usage_idle":96,"usage_nice":0,"usage_user":3.1,"usage_system":0.9,"state":"x"'))
    assert Channels(NAMES).rows(parsed) == [Row('cpu{host="a"}', T, [3.1, 0.9, 96.0])]
    assert (parsed.skipped, parsed.refused) == ({"text field": 1, "no channel": 1}, [])


def test_what_lacks_a_channel_is_refused_whole_and_what_has_none_is_left_out() -> None:
    parsed = telegraf.parse(message('"usage_user":3.1,"usage_idle":96'))
    assert Channels(NAMES).rows(parsed) == []
    (refused,) = parsed.refused
    assert refused.reason == Reason.WRONG_CHANNELS
    assert "has 2 of 3 channels; there is no usage_system" in refused.detail
    parsed = telegraf.parse(message('"time_user":3.1'))
    assert (Channels(NAMES).rows(parsed), parsed.refused, parsed.skipped) == ([], [], {"no channel": 1})


def test_series_and_times_of_one_message_stay_apart() -> None:
    lines = [
        f"cpu,host={h} usage_user={i},usage_system=1 {(T + i) * 10**6}\ncpu,host={h} usage_idle=9 {(T + i) * 10**6}"
        for i in range(2)
        for h in "ab"
    ]
    rows = Channels(NAMES).rows(influx.parse("\n".join(lines).encode()))
    assert rows == [Row(f'cpu{{host="{h}"}}', T + i, [float(i), 1.0, 9.0]) for i in range(2) for h in "ab"]


@pytest.mark.parametrize(
    ("name", "series", "channel"),
    [
        ("cpu_usage_user", "cpu", 1),
        ("cpu_user", "cpu", 0),  # the longer one that fits
        ("system.cpu.user", "system.cpu", 0),
        ("user", "", 0),
        ('user{host="a"}', '{host="a"}', 0),
        ("superuser", "superuser", -1),
        ('cpu{user="user"}', 'cpu{user="user"}', -1),
    ],
)
def test_a_channel_is_the_end_of_a_name_behind_a_sign(name: str, series: str, channel: int) -> None:
    assert Channels(["user", "usage_user"])._of(name) == (series, channel)


def test_a_channel_that_comes_twice_counts_once_and_one_that_counts_up_is_refused() -> None:
    parsed = Parsed([Point("m_a", T, 1.0), Point("m_a", T, 2.0), Point("m_b", T, 3.0)])
    assert Channels(["a", "b"]).rows(parsed) == [Row("m", T, [1.0, 3.0])]
    assert parsed.skipped == {"repeated channel": 1}
    parsed = Parsed([Point("m_a", T, 1.0), Point("m_b", T, 3.0, COUNTER)])
    assert Channels(["a", "b"]).rows(parsed) == []
    assert "'m_b' counts up" in parsed.refused[0].detail


@pytest.mark.parametrize("names", [["a", ""], ["a", "b", "a"], ["a{b}"]])
def test_names_that_are_none_are_told(names: list[str]) -> None:
    with pytest.raises(ValueError, match="channel"):
        check_channels(names)
