"""Where decisions count, and what each change of settings does to a state: one test for each row of the table in docs/decisions.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from frozen_states import log_of, process, stream_of
from msgspec import UNSET
from partition_world import World
from simulation.scenarios import small_numbers

from detectors.baselines import ZScore, ZScoreConfig
from pipeline.alerts.lifecycle import FIRING
from pipeline.alerts.records import Acknowledged, Alert, decode_alert
from pipeline.alerts.selecting.silences import calendar
from pipeline.errors import Dropped, ModelError, SettingsError
from pipeline.partition.core import PartitionCore
from pipeline.partition.deciding.carrying import applied, hold, in_force_after, shape_of
from pipeline.partition.deciding.decisions import (
    Decisions,
    Entry,
    InForce,
    Mark,
    Reset,
    Taken,
    decode_entry,
    together,
    unpacked,
    valid,
)
from pipeline.partition.deciding.what import (
    Acknowledge,
    Close,
    Comment,
    Decision,
    Forget,
    Lift,
    SettingsOf,
    Silence,
    Undo,
    What,
)
from pipeline.partition.stream import Stream, create_stream
from pipeline.partition.streams import Streams, content_id, decided
from pipeline.settings import SelectSettings

DAY = 86_400_000

# What counts


def decision(serial: int, what: What | None = None, by: str = "ann") -> Decision:
    return Decision(f"d{serial}", what or Silence("*", 0), by, "2026-01-01T00:00:00Z", serial)


def taken(owner: str, offset: int, *serials: int, log: str = "t") -> Taken:
    return Taken("s", 0, owner, offset, tuple(decision(n) for n in serials), log)


def mark(owner: str, log: str = "t") -> Mark:
    return Mark("s", 0, owner, log)


@pytest.mark.parametrize(
    ("lines", "counts"),
    [
        ([mark("a"), taken("a", 5, 1), taken("a", 9, 2)], [(5, 1), (9, 2)]),
        ([mark("a"), mark("b"), taken("a", 5, 1), taken("b", 7, 1)], [(7, 1)]),
        ([mark("a"), taken("a", 5, 1), mark("b"), taken("a", 6, 2), taken("b", 8, 2)], [(5, 1), (8, 2)]),
        ([mark("b"), mark("a"), taken("b", 5, 1), mark("b"), taken("b", 5, 1)], [(5, 1)]),
        ([taken("a", 5, 1)], []),
        ([mark("a"), taken("a", 5, 1), taken("a", 6, 1)], [(5, 1)]),
        ([mark("a"), taken("a", 5, 1, 2), taken("a", 6, 2)], [(5, 2)]),
        ([mark("a"), taken("a", 5, 1), Reset("s", 0), taken("a", 6, 2), mark("b"), taken("b", 0, 2)], [(0, 2)]),
        ([mark("a", "old"), taken("a", 5, 1, log="old"), mark("a"), taken("a", 0, 1)], [(0, 1)]),
    ],
    ids=["owner", "zombie", "zombie later", "late mark", "no mark", "once", "several", "reset", "another log"],
)
def test_what_counts_is_what_the_last_owner_wrote_behind_its_mark(
    lines: list[Entry], counts: list[tuple[int, int]]
) -> None:
    assert [(t.offset, t.serial) for t in valid(lines, "t")] == counts


def test_lines_that_anybody_may_have_written_are_no_lines() -> None:
    for body in (b"", b"\xff", b"{}", b'{"type":"taken"}', msgspec.json.encode(taken("a", 5))):
        assert decode_entry(body) is None
    assert decode_entry(msgspec.json.encode(taken("a", 5, 1))) == taken("a", 5, 1)


class Topic:
    """A journal; `before_next` slips in before what is written next."""

    def __init__(self) -> None:
        self.lines: list[Entry] = []
        self.before_next: list[Entry] = []

    async def write(self, entries: Sequence[Entry]) -> None:
        self.lines += [*self.before_next, *entries]
        self.before_next = []

    async def read(self) -> Sequence[Entry]:
        return list(self.lines)


class List:
    def __init__(self, *decisions: Decision) -> None:
        self.decisions = decisions
        self.newest = len(decisions)

    async def after(self, serial: int) -> Sequence[Decision]:
        return [d for d in self.decisions if d.serial > serial]


def of(topic: Topic, *, owner: bool = True, listed: Any = None) -> Decisions:
    async def still_owner() -> bool:
        return owner

    return Decisions("s", 0, log="t", listed=listed or List(), journal=topic, still_owner=still_owner)


async def test_an_owner_that_finds_a_late_mark_before_its_line_writes_it_again() -> None:
    topic = Topic()
    decisions = of(topic)
    await decisions.claim("a")
    topic.before_next = [mark("late")]
    await decisions.take([decision(1)], 5)
    assert [(t.owner, t.offset) for t in valid(topic.lines, "t")] == [("a", 5)]
    assert len(topic.lines) == 5


async def test_what_somebody_else_took_meanwhile_is_theirs() -> None:
    topic = Topic()
    decisions = of(topic)
    await decisions.claim("a")
    topic.lines += [mark("b"), taken("b", 3, 1), mark("a")]
    await decisions.take([decision(1), decision(2)], 5)
    assert [(t.owner, t.offset) for t in valid(topic.lines, "t")] == [("b", 3)]
    assert decisions.due(5, empty=False) == taken("b", 3, 1)


async def test_a_zombie_takes_nothing() -> None:
    topic = Topic()
    zombie = of(topic, owner=False)
    await zombie.claim("a")
    topic.before_next = [mark("b")]
    with pytest.raises(Dropped):
        await zombie.take([decision(1)], 5)
    assert valid(topic.lines, "t") == []


async def test_an_owner_that_is_given_away_between_the_question_and_its_mark_takes_nothing() -> None:
    """Its mark stood behind the next owner's then, who had read that nothing was taken, and went on without."""
    topic = Topic()
    answers = [True, False]

    async def still_owner() -> bool:
        answer = answers.pop(0)
        if answer:
            topic.lines.append(mark("b"))
        return answer

    slow = Decisions("s", 0, log="t", listed=List(), journal=topic, still_owner=still_owner)
    await slow.claim("a")
    topic.before_next = [mark("late")]
    with pytest.raises(Dropped):
        await slow.take([decision(1)], 5)
    assert valid(topic.lines, "t") == []


async def test_a_state_that_passed_over_a_decision_is_not_trusted() -> None:
    topic = Topic()
    topic.lines = [mark("a"), taken("a", 0, 1), taken("a", 50, 2)]
    decisions = of(topic)
    await decisions.claim("b")
    assert decisions.trusts(50, InForce(1, 0))
    assert not decisions.trusts(51, InForce(1, 0))
    assert decisions.trusts(51, InForce(2, 50))
    decisions.holds(InForce(1, 0))
    assert decisions.due(49, empty=False) is None
    due = decisions.due(50, empty=False)
    assert due is not None
    assert due.serial == 2


@pytest.mark.parametrize("begun", [True, False])
async def test_what_is_decided_holds_from_where_an_owner_before_may_have_published_to(begun: bool) -> None:
    """Also where that one had not come to a checkpoint yet: its alerts were said again otherwise."""
    topic = Topic()
    with small_numbers():
        world = World()
        first, second = decision(1, settings_of(world.scenario.stream)), decision(2)
        if begun:
            topic.lines = [mark("a"), Taken("s", 0, "a", 0, (first,), "t")]
        loop = world.loop(decisions=of(topic, listed=List(first, second)))
        await loop.assigned()
        now = world.standing()
        await loop.begin(now)
        await loop.idle()
    assert now.end > 0
    assert [(t.offset, t.serial) for t in valid(topic.lines, "t")] == ([(0, 1), (now.end, 2)] if begun else [(0, 2)])


def test_what_was_taken_before_there_was_a_series_is_one() -> None:
    lines = [taken("a", 0, 1), taken("a", 5, 2)]
    assert together(lines, empty=False) == lines
    (one,) = together(lines, empty=True)
    assert (one.offset, one.serial, len(one.decisions)) == (5, 2, 2)


# What each change does


def settings_of(stream: Stream) -> SettingsOf:
    return SettingsOf(decided(stream.settings), stream.model.hash, shape_of(stream))


def changed(stream: Stream, **tables: Any) -> Stream:
    """The stream with other settings; a table's fields are given as a dictionary."""
    update = {
        name: getattr(stream.settings, name).model_copy(update=value) if isinstance(value, dict) else value
        for name, value in tables.items()
    }
    return create_stream(stream.settings.model_copy(update=update), stream.model)


LOG = log_of("metric")


def firing() -> tuple[PartitionCore, int]:
    """A core with a firing alert, and the offset where it stands."""
    core = stream_of("metric").core(0)
    for at, value in enumerate(LOG):
        process(core, [value], at)
        if (core.state.arrays["alerts"]["status"] == FIRING).any():
            return core, at + 1
    raise AssertionError


def take(
    core: PartitionCore, to: Stream | What, at: int, held: InForce | None = None, by: str = "ann"
) -> tuple[PartitionCore, list[Alert], InForce]:
    what = settings_of(to) if isinstance(to, Stream) else to
    streams = Streams(core.stream)
    if isinstance(to, Stream):
        streams.add(to)
    held = held or InForce(1, 0, decided(core.stream.settings), core.stream.model.hash)
    line = Taken("frozen", 0, "a", at, (decision(held.serial + 1, what, by),), "t")
    effect = applied(core, held, line, streams)
    assert effect.refused == ""
    return effect.core, effect.alerts, effect.in_force


def rows(core: PartitionCore, *components: str) -> list[bytes]:
    return [core.state.arrays[c].tobytes() for c in components]


def ids(core: PartitionCore) -> set[str]:
    return core.life.open_ids(core.state)


KEPT = ("windows", "calibration", "alerts", "admission")


@pytest.mark.parametrize(
    "tables",
    [
        {"threshold": {"level": 1.0}},
        {"threshold": {"hysteresis": 0.2}},
        {"alerts": {"warning": 3.0, "critical": 4.0}},
        {"alerts": {"resolve_count": 1, "hold": timedelta(0)}},
        {"alerts": {"suppression": timedelta(hours=9)}},
        {"alerts": {"direction": "up", "min_deviation": 2.0}},
        {"alerts": {"silence": timedelta(hours=1)}},
        {"select": (SelectSettings(series=("s*",), direction="up", level=1.0, valid=(0, 99), labels={"team": "a"}),)},
        {"fill_gaps": 1, "future_limit": timedelta(hours=1), "idle_after": timedelta(days=1), "max_series": 50},
    ],
    ids=["level", "hysteresis", "severity", "policy", "suppression", "deviation", "silence", "selectors", "limits"],
)
def test_settings_that_judge_leave_all_that_was_learnt_and_open_alerts(tables: dict[str, Any]) -> None:
    core, at = firing()
    before, known, open_ids = rows(core, *KEPT, "threshold"), len(core.state), ids(core)
    now, alerts, in_force = take(core, changed(core.stream, **tables), at)
    assert alerts == []
    assert open_ids
    assert (rows(now, *KEPT, "threshold"), len(now.state), ids(now)) == (before, known, open_ids)
    assert (in_force.serial, in_force.offset) == (2, at)
    after = [decode_alert(a) for a in process(now, LOG[at:], at)]
    assert open_ids <= {a.id for a in after}


def test_a_lower_level_holds_from_the_next_observation_on() -> None:
    whole, at = firing()
    strict, _, _ = take(firing()[0], changed(whole.stream, threshold={"level": 0.5}), at)
    told = {decode_alert(a).threshold for a in process(strict, LOG[at:], at)}
    assert told - {None} == {0.5}
    assert {decode_alert(a).threshold for a in process(whole, LOG[at:], at)} - {None} == {2.0}


def test_selectors_hold_from_the_next_record_on_and_are_read_back_as_they_were_decided() -> None:
    core, at = firing()
    chosen = SelectSettings(series=("s*",), valid=(None, 99.5), severity={"least": "critical"}, labels={"team": "a"})  # type: ignore[arg-type]
    now, _, held = take(core, changed(core.stream, select=(chosen,)), at)
    told = [decode_alert(a) for a in process(now, LOG[at:], at)]
    assert {str(a.labels) for a in told} == {"{'team': 'a'}"}
    assert {a.severity for a in told if a.sequence == 0} == {"critical"}
    kept = msgspec.json.decode(held.packed(), type=InForce)
    again = Streams(stream_of("metric"))(msgspec.structs.replace(kept, model=core.stream.model.hash))
    assert again.settings.select == (chosen,)


def test_another_step_of_updates_holds_for_alerts_that_fire() -> None:
    core, at = firing()
    row = int(np.flatnonzero(core.state.arrays["alerts"]["status"] == FIRING)[0])
    before = int(core.state.arrays["alerts"]["next_update"][row])
    now, _, _ = take(core, changed(core.stream, alerts={"update_every": timedelta(minutes=1)}), at)
    assert int(now.state.arrays["alerts"]["next_update"][row]) < before


METHODS: dict[str, dict[str, Any]] = {
    "level": {"level": 2.0},
    "budget": {"level": None, "false_alarms": "1 per series per week"},
    "quantile": {"method": "quantile", "level": None},
    "pot": {"method": "pot", "level": None},
}


def test_another_budget_is_judged_by_at_once_and_keeps_the_usual_steps() -> None:
    stream = changed(stream_of("metric"), threshold=METHODS["budget"])
    core = stream.core(0)
    process(core, LOG[:150], 0)
    before, learnt = rows(core, *KEPT), core.state.arrays["threshold"].copy()
    assert learnt["level"].any()
    now, _, _ = take(core, changed(stream, threshold={"false_alarms": "1 per series per day"}), 150)
    assert rows(now, *KEPT) == before
    learnt["level"] = 0.0  # worked out anew, by the other budget
    assert now.state.arrays["threshold"].tobytes() == learnt.tobytes()
    learnt["trained"], learnt["interval"] = 100_000, 60_000  # enough to tell the two budgets apart
    stricter, of = core.stream.threshold, now.stream.threshold
    row, none = np.array([0]), np.array([False])
    assert of.apply(learnt, row, np.zeros(1), none) < stricter.apply(learnt, row, np.zeros(1), none)


@pytest.mark.parametrize(("before", "after"), [("quantile", "level"), ("pot", "level"), ("budget", "level")])
def test_a_level_of_ones_own_judges_at_once_and_leaves_the_rest(before: str, after: str) -> None:
    stream = changed(stream_of("metric"), threshold=METHODS[before])
    core = stream.core(0)
    process(core, LOG[:150], 0)
    kept, open_ids = rows(core, *KEPT), ids(core)
    now, alerts, _ = take(core, changed(stream_of("metric"), threshold=METHODS[after]), 150)
    assert alerts == []
    assert (now.shadow, rows(now, *KEPT), ids(now)) == (None, kept, open_ids)
    assert not now.state.arrays["threshold"].tobytes().strip(b"\0")
    again = now.stream.core(0)
    again.state.restore(now.state.snapshot())  # all pages are written anew: they are laid out otherwise
    assert again.state.snapshot(everything=True) == now.state.snapshot(everything=True)
    process(now, LOG[150:], 150)


@pytest.mark.parametrize(
    ("before", "after"), [("level", "quantile"), ("level", "budget"), ("pot", "budget"), ("quantile", "pot")]
)
def test_a_threshold_method_that_learns_does_so_beside_the_old_one(before: str, after: str) -> None:
    """From what is known: of a budget, the usual step of each series. When it takes over: tests/pipeline/partition/shadows."""
    stream = changed(stream_of("metric"), threshold=METHODS[before])
    core = stream.core(0)
    process(core, LOG[:150], 0)
    kept, open_ids = rows(core, *KEPT, "threshold"), ids(core)
    now, alerts, held = take(core, changed(stream_of("metric"), threshold=METHODS[after]), 150)
    assert alerts == []
    assert now.shadow is not None
    assert held.shadow is not None
    assert (rows(now, *KEPT, "threshold"), ids(now)) == (kept, open_ids)
    learnt = now.state.arrays["shadow.threshold"]
    if after == "budget":
        assert (learnt["interval"] == now.state.arrays["windows"]["interval"]).all()
        assert learnt["interval"].any()
    else:
        assert not learnt.tobytes().strip(b"\0")


def test_probation_holds_for_new_series_and_for_those_that_are_in_it() -> None:
    core = stream_of("metric").core(0)
    process(core, LOG[:20], 0)
    admission, ordinals = core.state.arrays["admission"].copy(), core.state.arrays["windows"]["ordinal"].copy()
    now, _, _ = take(core, changed(core.stream, probation=50), 20)
    used = now.state.rows()
    waiting = (admission["training"][used] == 0) & (ordinals[used] <= admission["probation"][used])
    assert waiting.any()
    assert not waiting.all()
    assert (now.state.arrays["admission"]["probation"][used[waiting]] == 50).all()
    assert (now.state.arrays["admission"][used[~waiting]] == admission[used[~waiting]]).all()


def other_model(stream: Stream, **changes: Any) -> Stream:
    return create_stream(stream.settings, dataclasses.replace(stream.model, hash="other", **changes))


def test_a_model_of_the_same_shape_brings_its_calibration_and_the_alert_keeps_its_id() -> None:
    core, at = firing()
    stream, open_ids = core.stream, ids(core)
    known, unknown = "s0", "s3"
    calibration = stream.model.calibrator.fit(np.linspace(0, 1, 64)).reshape(1)
    detector = ZScore(ZScoreConfig(window=4))
    detector.version = stream.model.detectors[0].version + 1  # type: ignore[misc]
    detector.fit(np.zeros((8, 4, 1), np.float32))
    newer = other_model(stream, detectors=(detector,), calibrations={known: calibration}, training_rows={known: 4})
    windows = core.state.arrays["windows"]["history"].copy()
    now, alerts, _ = take(core, newer, at)
    assert alerts == []
    assert ids(now) == open_ids
    assert (now.state.arrays["windows"]["history"] == windows).all()
    a, b = (now.state.row_of(name) for name in (known, unknown))
    assert now.state.arrays["calibration"]["members"][a].tobytes() == calibration.tobytes()
    assert not now.state.arrays["calibration"]["members"][b].tobytes().strip(b"\0")
    ordinals = now.state.arrays["windows"]["ordinal"]
    assert now.state.arrays["admission"]["probation"][b] == ordinals[b] + stream.settings.probation
    assert now.state.arrays["admission"]["probation"][a] <= ordinals[a]  # no new silence for what is known
    assert open_ids <= {decode_alert(alert).id for alert in process(now, LOG[at:], at)}


# Another window, other members, another kind: tests/pipeline/partition/shadows/test_shadow.py


# What people say of alerts


def test_a_silence_marks_records_until_its_time_and_is_lifted() -> None:
    core, at = firing()
    heard = int(core.watermark)
    now, _, held = take(core, Silence("s*", heard + 10 * 60_000), at)
    some = [decode_alert(a) for a in process(now, LOG[at:], at)]
    early = [
        a
        for a in some
        if a.as_of < "1971-11-26T" or np.datetime64(a.as_of[:-1]).astype("datetime64[ms]").astype(int) < heard + 600_000
    ]
    assert early
    assert all((a.silenced is True) == (a in early) for a in some)
    now, _, held = take(now, Lift(2), 300, held)
    assert held.silences == ()
    assert b'"silenced"' not in msgspec.json.encode([a for a in some if a not in early])


def test_what_fires_when_its_silence_is_lifted_is_told_at_once_and_other_silences_count() -> None:
    core, at = firing()
    (open_id,) = ids(core)
    heard = int(core.watermark)
    now, _, held = take(core, Silence("s*", heard + 10 * DAY), at)
    now, _, held = take(now, Silence("*", 0, calendar=calendar(["daily 00:00-24:00"], "UTC")), at, held)
    now, (acknowledged,), held = take(now, Acknowledge("*"), at, held)
    assert acknowledged.silenced is True
    now, alerts, held = take(now, Lift(2), at, held)
    assert alerts == []
    now, (told,), held = take(now, Lift(3), at, held)
    assert (told.id, told.status, told.change, told.silenced) == (open_id, "firing", "unsilenced", UNSET)
    assert take(now, Lift(3), at, held)[1] == []
    after = [a for a in map(decode_alert, process(now, LOG[at:], at)) if a.id == open_id]
    assert [a.sequence for a in after] == list(range(told.sequence + 1, told.sequence + 1 + len(after)))


def test_silences_that_ended_a_day_before_do_not_add_up() -> None:
    core, at = firing()
    heard, held = int(core.watermark), None
    for until in (heard - DAY - 1, heard - DAY + 1, heard + 1):
        core, _, held = take(core, Silence("nobody", until), at, held)
    assert held is not None
    assert [s.until - heard for s in held.silences] == [1 - DAY, 1]


def test_an_acknowledgement_is_a_record_and_stays_until_the_alert_ends() -> None:
    core, at = firing()
    (open_id,) = ids(core)
    now, (told,), held = take(core, Acknowledge("*"), at)
    assert (told.id, told.status, told.change, told.acknowledged) == (open_id, "firing", "acknowledged", "ann")
    assert held.acknowledged == {open_id: (Acknowledged(held.serial, "ann"),)}
    after = [a for a in map(decode_alert, process(now, LOG[at:], at)) if a.id == open_id]
    assert [a.sequence for a in after] == list(range(told.sequence + 1, told.sequence + 1 + len(after)))
    assert all(a.acknowledged == "ann" for a in after)
    assert after[-1].status == "resolved"
    _, _, held = take(now, Acknowledge("nobody"), len(LOG), held)
    assert held.acknowledged == {}


def test_an_acknowledgement_is_taken_back_and_the_one_before_holds_again() -> None:
    core, at = firing()
    (open_id,) = ids(core)
    now, _, held = take(core, Acknowledge("*"), at)
    first = held.serial
    now, (told,), held = take(now, Acknowledge("*"), at, held, by="bob")
    second = held.serial
    assert told.acknowledged == "bob"
    now, (again,), held = take(now, Undo(second), at, held)
    assert (again.id, again.change, again.reason, again.acknowledged) == (open_id, "unacknowledged", "update", "ann")
    assert take(now, Undo(second), at, held)[1] == []
    now, (nobody,), held = take(now, Undo(first), at, held)
    assert (nobody.status, nobody.change, nobody.acknowledged) == ("firing", "unacknowledged", UNSET)
    assert nobody.sequence == again.sequence + 1
    assert held.acknowledged == {}
    assert unpacked(held.packed()) == held
    after = [a for a in map(decode_alert, process(now, LOG[at:], at)) if a.id == open_id]
    assert [a.sequence for a in after] == list(range(nobody.sequence + 1, nobody.sequence + 1 + len(after)))
    assert {a.acknowledged for a in after} == {UNSET}


def test_of_acknowledgements_one_that_is_not_the_last_is_taken_back_without_a_record() -> None:
    core, at = firing()
    now, _, held = take(core, Acknowledge("*"), at)
    first = held.serial
    now, _, held = take(now, Acknowledge("*"), at, held, by="bob")
    now, alerts, held = take(now, Undo(first), at, held)
    assert alerts == []
    assert [[a.by for a in said] for said in held.acknowledged.values()] == [["bob"]]


def test_a_comment_changes_nothing_but_how_far_the_list_was_taken() -> None:
    core, at = firing()
    plain = process(core, LOG[at:], at)
    core, at = firing()
    (name,) = {str(core.state.names[r]) for r in np.flatnonzero(core.state.arrays["alerts"]["status"] == FIRING)}
    now, alerts, held = take(core, Comment(name, "the disk is being changed"), at)
    assert alerts == []
    assert (held.serial, held.offset, held.acknowledged, held.silences) == (2, at, {}, ())
    now, alerts, held = take(now, Undo(held.serial), at, held)
    assert alerts == []
    assert process(now, LOG[at:], at) == plain


def test_closing_ends_the_alert_with_that_reason_and_forgetting_the_series_too() -> None:
    core, at = firing()
    known, open_ids = len(core.state), ids(core)
    now, alerts, _ = take(core, Close("*", "source is gone"), at)
    assert {a.id for a in alerts} == open_ids
    assert {(a.status, a.change) for a in alerts} == {("resolved", "closed")}
    assert (ids(now), len(now.state)) == (set(), known)
    core, at = firing()
    row = int(np.flatnonzero(core.state.arrays["alerts"]["status"] == FIRING)[0])
    name = core.state.names[row]
    now, (ended,), _ = take(core, Forget(str(name)), at)
    assert (ended.change, ended.series) == ("forgotten", name)
    assert now.state.row_of(str(name)) is None
    assert len(now.state) == known - 1


# Streams of what is in force


def test_the_stream_of_what_is_in_force_is_made_once_and_missing_models_are_named() -> None:
    own = stream_of("metric")
    streams = Streams(own)
    assert streams(InForce()) is own
    assert streams(in_force_after(InForce(), decision(1, settings_of(own)), 0)) is own
    other = in_force_after(InForce(), decision(2, settings_of(changed(own, threshold={"level": 1.5}))), 0)
    assert streams(other) is streams(other) is not own
    assert streams(other).settings.threshold.level == 1.5
    assert streams(other).scorer is own.scorer
    gone = msgspec.structs.replace(other, model="abc", path="/models/gone.model")
    with pytest.raises(ModelError, match=r"put its file back at /models/gone\.model"):
        streams(gone)
    newer = msgspec.structs.replace(other, settings={**decided(own.settings), "invented_later": 1})
    with pytest.raises(SettingsError, match=r"of another version \(invented_later"):
        streams(newer)


def test_the_same_content_has_the_same_id_wherever_its_files_lie() -> None:
    own = stream_of("metric")
    moved = own.settings.model_copy(update={"model": own.settings.model / "elsewhere", "alert_topic": "other"})
    assert content_id(decided(moved), "m") == content_id(decided(own.settings), "m")
    assert content_id(decided(own.settings), "n") != content_id(decided(own.settings), "m")


def test_what_is_in_force_travels_with_the_state() -> None:
    core, at = firing()
    now, _, held = take(core, changed(core.stream, threshold={"level": 1.0}), at)
    again = now.stream.core(0)
    again.state.restore(now.state.snapshot(everything=True))
    assert again.state.in_force == held.packed()
    hold(again, InForce())
    assert "in_force" not in again.state.snapshot()
