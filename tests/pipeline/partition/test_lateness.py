"""Observations that come out of order wait for older ones, and all is as if they had come in order; through the real steps, cut in any way."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from frozen_states import MINUTE, frozen, process, stream_of
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipeline.alerts.records import Alert, decode_alert
from pipeline.errors import SettingsError
from pipeline.offline.run import run as run_offline
from pipeline.partition.core import PartitionCore
from pipeline.partition.deciding.carrying import applied
from pipeline.partition.deciding.decisions import InForce, Taken
from pipeline.partition.deciding.what import Decision, SettingsOf
from pipeline.partition.stream import Stream, create_stream
from pipeline.steps.batches.observations import Observations
from pipeline.steps.clock import waiting
from pipeline.steps.clock.waiting import OFTEN, ROOM
from producers.formats.base import COUNTER

T0 = 1_000_000 * MINUTE
NAMES = ("s0", "s1", "s2", "s3", "s4", "odd")
Row = tuple[str, int, float]


def stream(lateness: float = 5, **changed: Any) -> Stream:
    """`lateness` in minutes; of "odd" it is known that it has no usual step, of s4 nothing is known."""
    made = stream_of("metric")
    model = replace(made.model, interval_ms={**dict.fromkeys(NAMES[:4], MINUTE), "odd": 0})
    update = {"lateness": timedelta(minutes=lateness), "max_series": 1000, **changed}
    return create_stream(made.settings.model_copy(update=update), model)


def in_order(minutes: int, seed: int = 0, names: tuple[str, ...] = NAMES) -> list[Row]:
    """Each series a minute each, far out now and then; "odd" at odd times."""
    chance = random.Random(f"values {seed}")
    rows = []
    for minute in range(minutes):
        for k, name in enumerate(names):
            out = chance.choice((9, -9)) if chance.random() < 0.03 else 0
            more = chance.randrange(40_000) if name == "odd" else k
            rows.append((name, T0 + minute * MINUTE + more, chance.gauss(10, 1) + out))
    return rows


def late_by(rows: list[Row], most: float, share: float = 1.0, seed: int = 0) -> list[Row]:
    """The same rows, some of which come up to so many minutes later than they should."""
    chance = random.Random(f"delays {seed}")
    came = [r[1] + (chance.random() * most * MINUTE if chance.random() < share else 0) for r in rows]
    return [rows[i] for i in sorted(range(len(rows)), key=lambda i: came[i])]


def observations(rows: list[Row], first: int = 0) -> Observations:
    names, times, values = ([r[i] for r in rows] for i in range(3))
    return Observations(np.arange(len(rows)) + first, names, np.array(times, np.int64), np.array(values).reshape(-1, 1))


class Ran:
    """What came of rows: alerts, counts, and what went on, in order."""

    def __init__(
        self,
        of: Stream | PartitionCore,
        rows: list[Row],
        cuts: tuple[int, ...] = (),
        first: int = 0,
        restarts: bool = False,
    ) -> None:
        core = of if isinstance(of, PartitionCore) else of.core(0)
        self.alerts: list[Alert] = []
        self.counts: Counter[str] = Counter()
        self.went_on: list[tuple[str, int, int]] = []
        self.rejected = 0
        for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            for step, settled in core.process(observations(rows[a:b], first + a)):
                self._note(step, settled)
            if restarts:
                stored, core = core.state.snapshot(everything=True), core.stream.core(0)
                core.state.restore(stored)
        self.core = core

    def _note(self, step: Any, settled: Any) -> None:
        of = step.observations
        self.went_on += zip(of.series, of.timestamps.tolist(), of.came.tolist(), strict=True)
        self.rejected += len(step.rejected)
        self.alerts += settled.alerts
        self.counts.update(settled.counts)

    def end(self) -> Ran:
        for step, settled in self.core.wait_no_longer():
            self._note(step, settled)
        return self

    @property
    def fates(self) -> list[tuple[object, ...]]:
        """The alerts of each series, without where in the log they were told."""
        return sorted((a.series, a.sequence, a.id, a.status, a.change, a.as_of, a.score) for a in self.alerts)

    def waiting(self) -> int:
        return int(self.core.state.arrays["waiting"]["count"].sum())


@pytest.mark.parametrize("most", [2, 5])
def test_what_comes_out_of_order_within_lateness_gives_the_alerts_of_the_ordered_log(most: float) -> None:
    rows = in_order(300)
    expected = Ran(stream(0), rows)
    ran = Ran(stream(5), late_by(rows, most)).end()
    assert ran.counts["late"] == ran.counts["duplicate"] == 0
    for name in NAMES:
        assert [t for s, t, _ in ran.went_on if s == name] == [t for s, t, _ in rows if s == name]
    assert ran.counts["scored"] == expected.counts["scored"]
    assert {a.id for a in ran.alerts} == {a.id for a in expected.alerts} != set()
    # without it, most of what comes late is lost
    assert Ran(stream(0), late_by(rows, most)).counts["late"] > 100


def test_order_costs_no_delay_where_there_is_a_usual_step() -> None:
    rows = in_order(400, names=NAMES[:4])
    expected, ran = Ran(stream(0), rows), Ran(stream(5), rows)
    begun = OFTEN + 4 * ROOM  # until the first look has found the usual steps, and who waits since then is followed
    assert ran.went_on[begun:] == expected.went_on[begun:]
    assert ran.waiting() == 0
    told = [
        [(a.id, a.sequence, a.as_of, a.evidence) for a in r.alerts if a.evidence.offset > begun]
        for r in (ran, expected)
    ]
    assert told[0] == told[1] != []


def test_later_than_lateness_is_late_and_counted() -> None:
    rows = in_order(100, names=("s0", "s1"))
    held_back = rows.pop(2 * 50)  # s0 at minute 50
    for minutes, late in ((4.9, 0), (7, 1)):
        come = sorted([*rows, held_back], key=lambda r: r[1] if r is not held_back else r[1] + minutes * MINUTE)
        assert Ran(stream(5), come).end().counts["late"] == late


def test_no_more_than_a_few_wait() -> None:
    rows = in_order(100, names=("s0", "s1"))
    held_back = rows.pop(2 * 50)
    ran = Ran(stream(60), rows[: 2 * (50 + ROOM)])
    assert (ran.waiting(), ran.core.state.arrays["waiting"]["count"].max()) == (ROOM, ROOM)
    assert Ran(stream(60), [*rows[: 2 * (50 + ROOM)], held_back, *rows[2 * (50 + ROOM) :]]).end().counts["late"] == 0
    after = 2 * (50 + ROOM + 1)
    assert Ran(stream(60), [*rows[:after], held_back, *rows[after:]]).end().counts["late"] == 1


def test_a_series_that_says_nothing_more_lets_nobody_wait() -> None:
    rows = [r for r in in_order(300) if r[0] != "odd" or r[1] < T0 + 100 * MINUTE]
    ran = Ran(stream(5), rows)
    assert [t for s, t, _ in ran.went_on if s == "odd"] == [t for s, t, _ in rows if s == "odd"]
    # and soon: before event time went on by much more than a few rounds of all series
    last = max(i for i, (s, _, _) in enumerate(ran.went_on) if s == "odd")
    assert ran.went_on[last + 1][1] < T0 + (100 + 5 + 4 * OFTEN // 5) * MINUTE


def test_a_clock_that_is_hours_ahead_neither_waits_nor_lets_others() -> None:
    rows = late_by(in_order(200), 2)
    at = next(i for i, r in enumerate(rows) if r[0] == "s0" and r[1] > T0 + 100 * MINUTE)
    wrong = [*rows[:at], ("s0", T0 + 100_000 * MINUTE, 10.0), *rows[at:]]
    ran = Ran(stream(5), wrong).end()
    assert ran.counts["dropped_future"] == 1
    assert ran.counts["late"] <= 3  # those that were on their way when it came
    # as the very first of its series
    ran = Ran(stream(5), [("s0", T0 + 100_000 * MINUTE, 10.0), *rows]).end()
    assert (ran.counts["dropped_future"], ran.counts["late"] <= 3) == (1, True)


def test_a_jump_that_the_next_one_confirms_is_one() -> None:
    rows = in_order(50, names=("s0", "s1")) + [
        (s, t + 1000 * MINUTE, v) for s, t, v in late_by(in_order(50, 1, names=("s0", "s1")), 2)
    ]
    ran = Ran(stream(5), rows).end()
    assert ran.counts["confirmed"] == 2
    assert ran.counts["late"] <= 4


ODD_STEPS = (0, -1, -3, -30, 0.4, 2, 3, 7, 20, 200)


def rough(seed: int, n: int) -> list[Row]:
    """Rows with gaps, jumps, repetitions, disorder, new series on the way, and clocks that are apart."""
    chance = random.Random(seed)
    odds = chance.choice((0.02, 0.1, 0.4))
    clock = {name: T0 + chance.choice((0, 0, 0, 400)) * MINUTE for name in (*NAMES, *"xyz")}
    rows = []
    for i in range(n):
        name = chance.choice(list(clock)[: 3 + 8 * i // n])
        at = clock[name] + round(chance.choice(ODD_STEPS) * MINUTE) if chance.random() < odds else clock[name]
        clock[name] = max(clock[name], at if chance.random() < 0.5 else 0) + MINUTE
        rows.append((name, at, chance.gauss(10, 1) + (9 if chance.random() < 0.1 else 0)))
    return rows


@settings(deadline=None, max_examples=12, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 10**6), edges=st.sets(st.integers(1, 249), max_size=12), shared=st.booleans())
def test_no_cut_and_no_restart_shows(seed: int, edges: set[int], shared: bool) -> None:
    policy = stream().settings.alerts.model_copy(update={"absent_after": timedelta(minutes=2 + seed % 5)})
    of = stream(3, idle_after=timedelta(minutes=100), max_series=8, alerts=policy)
    if shared:
        threshold = of.settings.threshold.model_copy(update={"level": None, "false_alarms": "2 per week"})
        of = create_stream(of.settings.model_copy(update={"threshold": threshold}), of.model)
    rows = rough(seed, 250)
    with patch("pipeline.partition.core.EVICT_EVERY", 64), patch("pipeline.steps.clock.waiting.OFTEN", 16):
        whole = Ran(of, rows)
        cut = Ran(of, rows, tuple(sorted(edges)), restarts=True)
        one = Ran(of, rows, tuple(range(1, len(rows))))
    for other in (cut, one):
        assert other.went_on == whole.went_on
        assert other.counts == whole.counts
        assert other.alerts == whole.alerts
        assert other.core.state.snapshot(everything=True) == whole.core.state.snapshot(everything=True)
    assert len(whole.went_on) + whole.rejected + whole.waiting() == len(rows)


def test_where_nothing_waits_nothing_of_it_is_kept() -> None:
    ran = Ran(stream(0), late_by(in_order(50), 2))
    assert "waiting" not in ran.core.state.components
    assert not {waiting.NEXT_LOOK} & set(ran.core.state.scalars)


def test_what_waits_goes_on_where_lateness_is_turned_off_and_windows_go_on_where_it_is_turned_on() -> None:
    rows = late_by(in_order(200), 4)
    with_it, without = stream(5), stream(0)

    def decided(of: Stream, at: int, serial: int, core: PartitionCore) -> tuple[PartitionCore, list[Alert]]:
        decision = Decision(str(serial), SettingsOf("", "", ""), "", "", serial)
        effect = applied(core, InForce(), Taken("frozen", 0, "me", at, (decision,)), lambda _: of)
        assert effect.refused == ""
        return effect.core, effect.alerts

    ran = Ran(with_it, rows[:601])
    waited = ran.waiting()
    assert waited > 0
    accepted = ran.core.state.arrays["windows"]["ordinal"].sum()
    core, _ = decided(without, 601, 1, ran.core)
    assert core.state.arrays["windows"]["ordinal"].sum() == accepted + waited
    core, _ = decided(with_it, 601, 2, core)
    more = Ran(core, rows[601:], first=601).end()
    assert more.counts["warming"] == 0  # every series has its window and is not taken for a new one


def test_counts_that_come_out_of_order_are_rates_in_order() -> None:
    rows, total = [], 0.0
    for minute in range(200):
        total += 60 * (10 + random.Random(minute).random())
        rows.append(("s4", T0 + minute * MINUTE, total))
    come = late_by(rows, 4)

    def counted(of: Stream, rows: list[Row]) -> Counter[str]:
        core, counts = of.core(0), Counter[str]()
        for i in range(0, len(rows), 7):
            taken = observations(rows[i : i + 7], i)
            taken.kinds = np.full(len(taken), COUNTER, np.uint8)
            for _, settled in core.process(taken):
                counts.update(settled.counts)
        for _, settled in core.wait_no_longer():
            counts.update(settled.counts)
        return counts

    expected, counts = counted(stream(0), rows), counted(stream(5), come)
    assert counts["late"] == 0
    assert counts["first_total"] == expected["first_total"] == 1
    assert counts["scored"] == expected["scored"]
    assert counted(stream(0), come)["late"] > 50


def test_a_file_is_judged_to_its_end_each_row_at_its_place() -> None:
    rows = late_by(in_order(100), 4)
    verdicts = run_offline(stream(5), observations(rows))
    expected = run_offline(stream(0), observations(sorted(rows, key=lambda r: r[1])))
    place = {r[:2]: i for i, r in enumerate(sorted(rows, key=lambda r: r[1]))}
    assert np.array_equal(verdicts.score, expected.score[[place[r[:2]] for r in rows]], equal_nan=True)
    assert verdicts.counts["late"] == 0


def test_rows_of_a_table_have_no_lateness() -> None:
    made = stream_of("table")
    with pytest.raises(SettingsError, match="stream frozen sets lateness, which is for metrics"):
        create_stream(made.settings.model_copy(update={"lateness": timedelta(minutes=1)}), made.model)


def test_who_waits_is_heard_of() -> None:
    """One lost sample lets eight others wait for it: that is no reason to say that there is no data."""
    rows = [r for r in in_order(300, names=NAMES[:5]) if r[:2] != ("s0", T0 + 200 * MINUTE)]
    rows = [r for r in rows if r[0] != "s1" or r[1] < T0 + 250 * MINUTE]
    policy = stream().settings.alerts.model_copy(update={"absent_after": timedelta(minutes=4)})
    told = [(a.series, a.status) for a in Ran(stream(8, alerts=policy), rows).alerts if a.kind == "no data"]
    assert told == [("s1", "firing")]


@pytest.mark.parametrize("number", range(1, 4))  # from 4 on what waits is among the components
def test_a_state_of_an_older_format_goes_on_where_observations_wait(number: int) -> None:
    _, offset, log, fields = frozen(Path(__file__).parents[2] / f"data/state_format_{number}.json", "metric")
    of = stream_of("metric")
    of = create_stream(of.settings.model_copy(update={"lateness": timedelta(minutes=3)}), of.model)
    plain, waits = stream_of("metric").core(0), of.core(0)
    for core in (plain, waits):
        core.state.restore(fields, written=number)
    newest = waits.state.arrays["waiting"]["newest"]
    assert np.array_equal(newest, waits.state.arrays["windows"]["last"])
    assert newest.any()
    told, expected = (process(core, log[offset:], offset) for core in (waits, plain))
    told += [a.message("alerts").value or b"" for _, s in waits.wait_no_longer() for a in s.alerts]
    assert [decode_alert(a).id for a in told] == [decode_alert(a).id for a in expected] != []


def test_where_nothing_comes_any_more_a_tick_lets_all_go_on() -> None:
    rows = in_order(100)
    core = Ran(stream(5), rows).core
    waited = int(core.state.arrays["waiting"]["count"][core.state.row_of("odd")])
    assert waited > 0
    assert core.next_change() <= core.watermark + 5 * MINUTE
    assert core.tick(core.watermark + 4 * MINUTE, len(rows) - 1)[1] == []
    _, settled = core.tick(core.watermark + 1 * MINUTE, len(rows) - 1)
    assert sum(s.counts["scored"] for s in settled) == waited
    assert not core.state.arrays["waiting"]["count"].any()


def test_what_waited_does_not_end_the_alert_that_there_is_no_data_since() -> None:
    """Its last observations wait for one that never comes; they go on when everybody knows already that the series is silent."""
    rows = [r for r in in_order(400, names=NAMES[:5]) if r[0] != "s0" or r[1] < T0 + 150 * MINUTE]
    rows = [r for r in rows if r[:2] != ("s0", T0 + 147 * MINUTE)]
    policy = stream().settings.alerts.model_copy(update={"absent_after": timedelta(minutes=4)})
    ran = Ran(stream(8, alerts=policy), rows)
    assert [t for s, t, _ in ran.went_on if s == "s0"][-1] == T0 + 149 * MINUTE
    assert [(a.series, a.status) for a in ran.alerts if a.kind == "no data"] == [("s0", "firing")]


@pytest.mark.parametrize("lateness", [0, 2])
def test_a_device_that_brings_a_day_at_once_loses_nothing(lateness: float) -> None:
    day, rows = 1440, list[Row]()
    policy = stream().settings.alerts.model_copy(update={"absent_after": "off"})
    for start in (0, day):
        rows += [(n, t + start * MINUTE, 10.0) for n, t, _ in in_order(day, names=NAMES[:3])]
        rows += [("s3", t + start * MINUTE, 10.0) for _, t, _ in in_order(day, names=("s3",))]
    ran = Ran(stream(lateness, alerts=policy), rows).end()
    assert [t for s, t, _ in ran.went_on if s == "s3"] == [t for s, t, _ in rows if s == "s3"]
    assert ran.counts["late"] == ran.counts["restarted"] == ran.counts["dropped_future"] == 0
    assert ran.alerts == []
