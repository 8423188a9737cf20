"""Series that stop: an alert of their own that there is no data, or one for many; through the real steps, cut in any way."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from frozen_states import stream_of
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipeline.alerts.records import Alert, encode
from pipeline.alerts.selecting.silences import Silenced
from pipeline.partition.core import PartitionCore
from pipeline.partition.deciding.carrying import carried, hold
from pipeline.partition.deciding.decisions import InForce
from pipeline.partition.stream import Stream, create_stream
from pipeline.steps.batches.observations import Observations

MINUTE = 60_000
DAY = 1440
T0 = 1_774_915_200_000
SCHEMA = Path(__file__).parents[3] / "docs/schemas/alert.v1.json"


def stream(
    absent_after: object = timedelta(minutes=10), idle_after: timedelta = timedelta(hours=12), **alerts: object
) -> Stream:
    frozen = stream_of("metric")
    changes = {"absent_after": absent_after, "silence": timedelta(hours=6), "update_every": timedelta(0)} | alerts
    policy = frozen.settings.alerts.model_copy(update=changes)
    update = {"alerts": policy, "idle_after": idle_after, "max_series": 1000}
    return create_stream(frozen.settings.model_copy(update=update), frozen.model)


Row = tuple[str, int, float]


def log(minutes: int, gone: dict[str, range] | None = None, far: range = range(0), names: str = "abcde") -> list[Row]:
    """Series a minute each, that say nothing in the minutes they are `gone`; "a" is far out in `far`."""
    chance, gone = random.Random(5), gone or {}
    return [
        (name, T0 + minute * MINUTE + k, chance.gauss(10, 1) + (50 if name == "a" and minute in far else 0))
        for minute in range(minutes)
        for k, name in enumerate(names)
        if minute not in gone.get(name, ())
    ]


def run(
    of: Stream | PartitionCore, rows: list[Row], cuts: tuple[int, ...] = (), *, first: int = 0, restarts: bool = False
) -> tuple[list[Alert], PartitionCore]:
    core, alerts = of if isinstance(of, PartitionCore) else of.core(0), []
    for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        names, times, values = [[r[i] for r in rows[a:b]] for i in range(3)]
        taken = Observations(np.arange(a, b) + first, names, np.array(times, np.int64), np.array(values).reshape(-1, 1))
        for _, settled in core.process(taken):
            alerts += settled.alerts
        if restarts:
            stored, core = core.state.snapshot(everything=True), core.stream.core(0)
            core.state.restore(stored)
    return alerts, core


def absences(alerts: list[Alert]) -> list[tuple[str, str, str]]:
    return [(a.series, a.status, a.change) for a in alerts if a.kind == "no data"]


def test_a_series_that_stops_has_an_alert_that_there_is_no_data_until_there_is() -> None:
    alerts, _ = run(stream(), log(450, {"a": range(300, 400)}))
    assert absences(alerts) == [("a", "firing", "anomaly"), ("a", "resolved", "normal")]
    fired, resolved = [a for a in alerts if a.kind == "no data"]
    assert fired.starts_at == "2026-03-31T05:09:00.000Z"  # heard last at minute 299, patient for ten
    assert fired.id == resolved.id
    assert resolved.as_of == "2026-03-31T06:40:00.000Z"
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for alert in alerts:
        validator.validate(json.loads(encode(alert)))


def test_what_fires_of_a_series_that_stops_goes_on_as_no_data_and_never_ends_by_silence() -> None:
    for absent_after in (timedelta(minutes=10), "auto"):  # "auto": it has not reported for a day, so `silence` tells
        alerts, _ = run(
            stream(absent_after, silence=timedelta(hours=1), hold=timedelta(0)),
            log(450, {"a": range(300, 420)}, range(299, 300)),
        )
        told = [a for a in alerts if a.series == "a" and a.as_of >= "2026-03-31T05:00"]
        assert [(a.status, a.change) for a in told[:2]] == [("resolved", "changed"), ("firing", "anomaly")]
        assert (told[0].next_id, told[1].kind) == (told[1].id, "no data")
        assert told[-1].change == "normal"
        assert not any(a.change == "silence" for a in alerts)


def test_who_never_comes_back_is_gone_when_it_is_forgotten() -> None:
    alerts, _ = run(stream(), log(1200, {"a": range(300, 1200)}))
    assert absences(alerts) == [("a", "firing", "anomaly"), ("a", "resolved", "gone")]


def test_by_default_five_usual_steps_of_who_reported_for_a_day() -> None:
    assert stream_of("metric").settings.alerts.absent_after == "auto"
    assert absences(run(stream("off"), log(DAY + 300, {"a": range(DAY + 100, DAY + 200)}))[0]) == []
    assert absences(run(stream("auto"), log(400, {"a": range(300, 400)}))[0]) == []
    alerts, _ = run(stream("auto"), log(DAY + 300, {"a": range(DAY + 100, DAY + 200)}))
    assert absences(alerts) == [("a", "firing", "anomaly"), ("a", "resolved", "normal")]
    starts_at = next(a.starts_at for a in alerts if a.kind == "no data")
    assert starts_at == "2026-04-01T01:44:00.000Z"  # minute 99 of the second day, and five


def test_who_sleeps_every_night_is_told_of_once_and_one_outage_makes_no_habit() -> None:
    nights = {minute for day in range(6) for minute in range(day * DAY + 1000, day * DAY + 1300)}
    outages = {*range(DAY + 100, DAY + 200), *range(3 * DAY + 100, 3 * DAY + 150), *range(5 * DAY + 100, 5 * DAY + 140)}
    rows = log(6 * DAY, {"a": nights, "b": outages})  # type: ignore[dict-item]
    told = [a for a in run(stream("auto"), rows)[0] if a.kind == "no data" and a.status == "firing"]
    assert [(a.series, a.starts_at[:10]) for a in told] == [
        ("b", "2026-04-01"), ("a", "2026-04-01"),  # the first night was within its first day
        ("b", "2026-04-03"),
    ]  # fmt: skip


def test_many_that_stop_at_once_are_one_alert_and_who_stays_away_is_told_when_the_others_are_back() -> None:
    names = "abcdefghijklmnopqrst"
    gone = {n: range(300, 400) for n in names[:8]} | {"h": range(300, 450)}
    alerts, _ = run(stream(hold=timedelta(0)), log(500, gone, range(297, 300), names))
    assert absences(alerts) == [
        ("(partition 0)", "firing", "anomaly"), ("(partition 0)", "resolved", "normal"),
        ("h", "firing", "anomaly"), ("h", "resolved", "normal"),
    ]  # fmt: skip
    begun, over = [a for a in alerts if a.series == "(partition 0)"]
    assert (begun.together.series, begun.id, begun.sequence, over.sequence) == (8, over.id, 0, 1)
    assert begun.summary == "8 of 20 series of partition 0 sent no data, since 2026-03-31 05:11:00.013 UTC."
    assert over.together.series == 1
    changed = [a for a in alerts if a.change == "changed" and a.series == "a"]
    assert changed[-1].next_id == begun.id  # what fired of one of them is not closed by it


@pytest.mark.parametrize("cut", [None, 350, 420])
def test_many_that_are_silent_when_a_silence_ends_are_told_then(cut: int | None) -> None:
    names = "abcdefghij"
    rows = log(520, {n: range(300, 500) for n in names[:6]}, names=names)
    for ends, sequences in ((290, [0, 1]), (400, [0, 1, 2]), (600, [0, 1])):
        core = stream().core(0)
        hold(core, InForce(1, silences=(Silenced(1, "*", T0 + ends * MINUTE),)))
        alerts, core = run(
            core, rows, (len(log(cut, {n: range(300, 500) for n in names[:6]}, names=names)),) if cut else ()
        )
        many = [a for a in alerts if a.series == "(partition 0)"]
        assert [a.sequence for a in many] == sequences
        told = [(a.change, a.as_of) for a in many if a.silenced is not True]
        assert told[:1] == ([("unsilenced", "2026-03-31T06:40:00.000Z")] if ends == 400 else told[:1])
        assert len(told) == {290: 2, 400: 2, 600: 0}[ends]
        assert not any(name.startswith("many") for name in core.state.scalars)


def test_files_that_end_at_different_times_are_not_an_alert_each() -> None:
    names = [f"file {i}" for i in range(50)]
    rows = [
        (n, T0 + m * 30 * MINUTE + i, 10.0 + (m + i) % 3)
        for m in range(200)
        for i, n in enumerate(names)
        if m < 80 + 2 * i
    ]
    told = [
        series for series, _, change in absences(run(stream("auto", timedelta(days=7)), rows)[0]) if change == "anomaly"
    ]
    assert len(told) <= 8
    assert told.count("(partition 0)") == 1


def test_series_one_after_the_other_with_years_between_are_told_of_no_more_than_once() -> None:
    year = 365 * DAY
    rows = [(f"s{k}", T0 + (k * year + m) * MINUTE, 10.0 + m % 3) for k in range(4) for m in range(2 * DAY)]
    told = [series for series, _, change in absences(run(stream("auto"), rows[::5])[0]) if change == "anomaly"]
    assert told == ["s0", "s1", "s2"]


def test_all_who_were_away_and_come_back_are_not_absent() -> None:
    rows = log(300) + [(n, t + 700 * MINUTE, v) for n, t, v in log(60)]
    assert absences(run(stream(), rows)[0]) == []


def test_settings_that_wait_begin_when_they_come_and_end_what_was_told_of_many_when_they_go() -> None:
    names = "abcdefghij"
    rows = log(400, {n: range(300, 400) for n in names[:6]}, names=names)
    cut = len(log(200, names=names))
    alerts, core = run(stream("off"), rows[:cut])
    core = carried(core, stream())
    more, core = run(core, rows[cut:], first=cut)
    assert absences(alerts) == []
    assert absences(more) == [("(partition 0)", "firing", "anomaly")]
    core = carried(core, stream("off"))
    assert [(a.series, a.status, a.change) for a in core.wait_no_more()] == [("(partition 0)", "resolved", "closed")]
    assert core.wait_no_more() == []


class Whole:
    """A log, what it leads to in one batch, and the state behind it."""

    def __init__(self) -> None:
        gone = {n: range(100, 130) for n in "abcdef"} | {"b": range(100, 150), "g": range(60, 75)}
        self.rows = log(180, gone, range(98, 100), "abcdefghij")
        alerts, core = run(stream(hold=timedelta(0)), self.rows)
        self.absences = absences(alerts)
        self.alerts, self.state = [encode(a) for a in alerts], core.state.snapshot(everything=True)


@pytest.fixture(scope="module")
def whole() -> Whole:
    return Whole()


@settings(deadline=None, max_examples=10, phases=(Phase.explicit, Phase.generate))
@given(st.lists(st.integers(500, 1500), max_size=10).map(sorted), st.booleans())
def test_any_cut_and_any_restart_give_the_same_alerts(whole: Whole, cuts: list[int], restarts: bool) -> None:
    assert [a[0] for a in whole.absences if a[1] == "firing"] == ["g", "(partition 0)", "b"]
    got, core = run(stream(hold=timedelta(0)), whole.rows, tuple(cuts), restarts=restarts)
    assert [encode(a) for a in got] == whole.alerts
    assert core.state.snapshot(everything=True) == whole.state


def test_selectors_say_how_long_each_series_is_waited_for() -> None:
    def selecting(default: object, **of: object) -> Stream:
        base = stream(default)
        select = [{"series": name, "absent_after": after} for name, after in of.items()]
        told = base.settings.model_dump(mode="json") | {"select": select}
        return create_stream(type(base.settings).model_validate(told), base.model)

    rows = log(450, {n: range(300, 400) for n in "abc"})

    def firing(of: Stream) -> list[tuple[str, str]]:
        return [
            (a.series, a.starts_at[11:16]) for a in run(of, rows)[0] if a.kind == "no data" and a.status == "firing"
        ]

    assert firing(selecting(timedelta(minutes=10), a="30m", b="never")) == [("c", "05:09"), ("a", "05:29")]
    assert firing(selecting("off", b="5m")) == [("b", "05:04")]
    assert firing(selecting("off", b="auto")) == []  # it has not reported for a day
    day = log(DAY + 300, {"b": range(DAY + 100, DAY + 200), "c": range(DAY + 100, DAY + 200)})
    alerts, _ = run(selecting("off", b="auto"), day)
    assert absences(alerts) == [("b", "firing", "anomaly"), ("b", "resolved", "normal")]
    # Those that nobody waited for are waited for where the settings change.
    cut = len(log(390, {n: range(300, 400) for n in "abc"}))
    before, core = run(selecting("off", b="5m"), rows[:cut])
    core = carried(core, selecting("off", b="5m", a="5m"))
    after, _ = run(core, rows[cut:], first=cut)
    assert [a[0] for a in absences(before + after) if a[1] == "firing"] == ["b", "a"]


def test_a_device_that_brings_a_day_at_once_is_missed_once_and_loses_nothing() -> None:
    rows: list[Row] = []
    for day in range(6):
        rows += [(n, t + day * DAY * MINUTE, v) for n, t, v in log(DAY, names="bcd")]
        rows += [("a", t + day * DAY * MINUTE, v) for _, t, v in log(DAY, names="a")]
    for cuts in ((), tuple(range(1000, len(rows), 1777))):
        alerts, core = run(stream("auto", idle_after=timedelta(days=7)), rows, cuts)
        told = [a for a in alerts if a.series == "a" and a.kind == "no data"]
        assert [a.status for a in told] == ["firing", "resolved"]  # on the third day; then it has a habit
        assert int(core.state.arrays["windows"]["ordinal"][core.state.row_of("a")]) == 6 * DAY
