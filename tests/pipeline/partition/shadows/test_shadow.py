"""A model or a threshold that learns beside the one that judges, and takes over when it is live."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from frozen_states import MINUTE, RECORDS
from frozen_states import log_of as frozen_log_of
from frozen_states import stream_of as frozen_stream_of
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import DetectorConfig
from detectors.baselines import Random, ZScore, ZScoreConfig
from detectors.model import Model
from detectors.scaling import SeriesScaling
from pipeline.alerts.records import Alert
from pipeline.partition.deciding.carrying import applied, hold, looked, shape_of
from pipeline.partition.deciding.decisions import InForce, Taken, unpacked
from pipeline.partition.deciding.what import Decision, Forget, SettingsOf, What
from pipeline.partition.shadows import shadow
from pipeline.partition.shadows.shadow import cut
from pipeline.partition.stream import Stream, create_stream
from pipeline.partition.streams import Streams, decided
from pipeline.steps.batches.records import RecordBatch

LEARNT = ("windows", "calibration", "threshold", "admission")


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    with patch.object(shadow, "FEWEST", 8), patch("detectors.thresholds.READY", 8):
        yield


TWO, THREE = ("user", "system"), ("idle", "user", "system")


def stream_of(kind: str) -> Stream:
    return of_channels(*TWO, window=4) if kind == "named" else frozen_stream_of(kind)


def of_channels(*names: str, window: int) -> Stream:
    """A stream whose messages name the channels of its series."""
    frozen = frozen_stream_of("metric")
    detector = ZScore(ZScoreConfig(window=window, channels=len(names)))
    detector.fit(np.random.default_rng(1).normal(size=(8, window, len(names))).astype(np.float32))
    known = {name: np.array([[10.0] * len(names), [1.0] * len(names)]) for name in ("s0", "s1", "s2")}
    scaling = SeriesScaling("standard", known, learn_rows=3)
    model = dataclasses.replace(frozen.model, detectors=(detector,), scaling=scaling, hash=" ".join(names))
    settings = frozen.settings.model_copy(update={"format": "influx", "channels": names})
    return create_stream(settings, model)


def log_of(kind: str, lacks: frozenset[str] = frozenset()) -> list[bytes]:
    """Of `named`: each message has four fields of one series; those of series `lacks` no idle."""
    if kind != "named":
        return frozen_log_of(kind)
    chance, now, out = random.Random(7), 1_000_000 * MINUTE, []
    for _ in range(RECORDS):
        now += chance.choice((0, MINUTE, MINUTE))
        series = f"s{chance.choice((0, 0, 0, 1, 1, 2, 3, 4))}"
        jump = chance.choice((8, -9)) if chance.random() < 0.12 else 0
        fields = {n: chance.gauss(10, 1) + jump for n in ("user", "system", "idle", "nice")}
        line = ",".join(f"{n}={v!r}" for n, v in fields.items() if n != "idle" or series not in lacks)
        out.append(f"{series} {line} {now * 1_000_000}".encode())
    return out


def changed(stream: Stream, **tables: Any) -> Stream:
    update = {
        name: getattr(stream.settings, name).model_copy(update=value) if isinstance(value, dict) else value
        for name, value in tables.items()
    }
    return create_stream(stream.settings.model_copy(update=update), stream.model)


def with_model(stream: Stream, name: str, *detectors: Any) -> Stream:
    model = stream.model
    known = {series: np.repeat(calibration[:1], len(detectors)) for series, calibration in model.calibrations.items()}
    return create_stream(
        stream.settings, dataclasses.replace(model, hash=name, detectors=detectors, calibrations=known)
    )


def zscore(window: int) -> ZScore:
    detector = ZScore(ZScoreConfig(window=window))
    detector.fit(np.random.default_rng(1).normal(size=(8, window, 1)).astype(np.float32))
    return detector


def unlike(kind: str, what: str) -> Stream:
    """A stream of the kind whose settings or model must learn first."""
    stream = stream_of(kind)
    if what == "three":
        return of_channels(*THREE, window=6)
    if what == "order":
        return create_stream(stream.settings.model_copy(update={"channels": TWO[::-1]}), stream.model)
    if what == "quantile":
        return changed(stream, threshold={"method": "quantile", "level": None, "probability": 0.05})
    if what == "budget":
        return changed(stream, threshold={"level": None, "false_alarms": "1 per series per 1000 rows"})
    if what == "members":
        two = [*stream.model.detectors, *(stream.model.detectors if kind == "table" else [zscore(3)])]
        if kind == "table":
            other = Random(DetectorConfig(window=1, channels=stream.model.channels, seed=5))
            other.fit(np.zeros((8, 1, stream.model.channels), np.float32))
            two[1] = other
        return with_model(stream, "two", *two)
    return with_model(stream, what, zscore(int(what)))


def said(alerts: list[Alert]) -> list[bytes | None]:
    return [a.message("alerts").value for a in alerts]


def settings_of(stream: Stream) -> SettingsOf:
    return SettingsOf(decided(stream.settings), stream.model.hash, shape_of(stream))


class Ran:
    """A partition as it goes through a log, with what was decided about it; it may be cut and started anew anywhere."""

    def __init__(self, of: Stream, *others: Stream) -> None:
        self._of, self._others = of, others
        self.log = log_of({"otlp": "otlp", "influx": "named"}.get(of.settings.format, of.model.kind))
        self.core, self.streams = of.core(0), self._streams()
        hold(self.core, InForce(1, 0, decided(of.settings), of.model.hash))
        self.alerts: list[Alert] = []
        self.position = 0
        self.over: int | None = None
        self.levels: dict[int, float] = {}

    def _streams(self) -> Streams:
        models: Mapping[str, Model] = {s.model.hash: s.model for s in (self._of, *self._others)}
        return Streams(self._of, find_model=lambda name, _: models.get(name))

    def decide(self, what: Stream | What, serial: int = 2) -> str:
        what = settings_of(what) if isinstance(what, Stream) else what
        line = Taken("frozen", 0, "a", self.position, (Decision(f"d{serial}", what, "ann", "", serial),), "t")
        effect = applied(self.core, self.held, line, self.streams)
        self.core = effect.core
        self.alerts += effect.alerts
        return effect.refused

    @property
    def held(self) -> InForce:
        return unpacked(self.core.state.in_force)

    def to(self, offset: int) -> Ran:
        n = offset - self.position
        values = self.log[self.position : offset]
        at = np.arange(self.position, offset)
        for piece in cut(RecordBatch("in", 0, at, offset, [None] * n, values, np.zeros(n, np.int64)), self._look):
            observations, _ = self.core.decode(piece)
            for _, settled in self.core.process(observations):
                self.alerts += settled.alerts
                self.levels.update(zip(settled.scored.offsets.tolist(), settled.scored.level.tolist(), strict=True))
        self.position = offset
        return self

    def _look(self, offset: int) -> int | None:
        if (effect := looked(self.core, self.held, offset, self.streams)) is not None:
            self.core, self.over = effect.core, offset
            self.alerts += effect.alerts
        return None if self.core.shadow is None else self.core.shadow.next_look(self.core.state)

    def restart(self) -> Ran:
        fields, self.streams = self.core.state.snapshot(everything=True), self._streams()
        self.core = self.streams.core(unpacked(fields["in_force"]), 0)
        self.core.state.restore(fields)
        hold(self.core, unpacked(fields["in_force"]))
        return self

    def fields(self) -> dict[str, bytes]:
        return self.core.state.snapshot(everything=True)

    def learnt(self, *names: str) -> list[bytes]:
        return [self.core.state.arrays[n].tobytes() for n in names or (*LEARNT, "alerts", "clock")]


CASES = [
    ("metric", "quantile"),
    ("metric", "budget"),
    ("metric", "3"),
    ("metric", "7"),
    ("metric", "members"),
    ("otlp", "6"),
    ("table", "members"),
    ("table", "quantile"),
    ("named", "three"),
    ("named", "order"),
    ("named", "quantile"),
]


@pytest.mark.parametrize(("kind", "what"), CASES)
def test_the_old_one_judges_as_if_nothing_had_been_decided_until_the_new_one_is_live(kind: str, what: str) -> None:
    other = unlike(kind, what)
    ran, alone = Ran(stream_of(kind), other).to(60), Ran(stream_of(kind)).to(60)
    assert ran.decide(other) == ""
    assert ran.core.shadow is not None
    assert ran.held.shadow is not None
    assert (ran.held.shadow.serial, ran.held.shadow.offset) == (2, 60)
    while ran.over is None and ran.position < 239:
        ran.to(ran.position + 1)
    assert ran.over is not None
    assert 60 < ran.over < 220
    alone.to(ran.over)
    assert said([a for a in ran.alerts if a.evidence.offset < ran.over]) == said(alone.alerts)
    assert ran.held.shadow is None
    assert (ran.held.settings, ran.held.model) == (decided(other.settings), other.model.hash)
    assert ran.core.stream.model.hash == other.model.hash
    assert not any(name.startswith("shadow") for name in (*ran.core.state.components, *ran.core.state.scalars))


@pytest.mark.parametrize(("kind", "what"), CASES)
def test_what_takes_over_has_learnt_what_it_would_have_learnt_alone(kind: str, what: str) -> None:
    """From the observations since it began; nothing of it is of the old one's levels and scores."""
    other = unlike(kind, what)
    ran = Ran(stream_of(kind), other).to(60)
    ran.decide(other)
    begun = ran.core.state.under(shadow.PREFIX)
    seen = {n: begun.arrays[n].copy() for n in ran.core.stream.core(0).state.components if n in LEARNT}
    ran.to(200)
    assert ran.over is not None
    live = ran.core.learning.live(ran.core.state)
    assert np.count_nonzero(live) >= 4
    threshold = ran.core.state.arrays["threshold"]
    if other.threshold.learns:
        assert (threshold["seen"][: len(live)][live] >= 8).all(), threshold["seen"]
    if what in ("3", "6", "7", "members") and kind != "table":
        assert (ran.core.state.arrays["windows"]["ordinal"] >= seen["windows"]["ordinal"]).all()
        assert ran.core.state.arrays["windows"]["history"].shape[1] == other.model.window - 1
    whole = Ran(other).to(200)  # that judged from the first record on: windows are the same by then
    for name in ("history", "last", "ordinal"):
        if name in (whole.core.state.arrays["windows"].dtype.names or ()):
            assert (ran.core.state.arrays["windows"][name] == whole.core.state.arrays["windows"][name]).all(), name


@pytest.mark.parametrize(("kind", "what"), CASES)
def test_alerts_that_fire_go_on_with_their_life(kind: str, what: str) -> None:
    """Whatever the offset at which it takes over: same id, next sequence number, and none begins that is open already."""
    other = unlike(kind, what)
    carried = 0
    for at in range(50, 80, 10):
        ran = Ran(stream_of(kind), other).to(at)
        ran.decide(other)
        while ran.over is None and ran.position < 239:
            open_before = ran.core.life.open_ids(ran.core.state)
            ran.to(ran.position + 1)
        if ran.over is None:
            continue
        told = len(ran.alerts)
        carried += len(open_before)
        assert open_before - ran.core.life.open_ids(ran.core.state) <= {
            a.id for a in ran.alerts if a.evidence.offset >= ran.over - 1
        }
        ran.to(240)
        sequences: dict[str, list[int]] = {}
        for alert in ran.alerts:
            sequences.setdefault(alert.id, []).append(alert.sequence)
        assert all(numbers == list(range(len(numbers))) for numbers in sequences.values())
        assert told <= len(ran.alerts)
    assert carried or kind == "table"


@settings(max_examples=15, deadline=None)
@given(
    case=st.sampled_from(CASES),
    at=st.integers(30, 90),
    cuts=st.lists(st.integers(1, 239), max_size=8, unique=True),
    restarts=st.booleans(),
)
def test_it_is_the_same_for_every_cut_and_restart(
    case: tuple[str, str], at: int, cuts: list[int], restarts: bool
) -> None:
    other = unlike(*case)
    with patch.object(shadow, "FEWEST", 8), patch("detectors.thresholds.READY", 8):
        whole, pieces = (Ran(stream_of(case[0]), other).to(at) for _ in range(2))
        whole.decide(other)
        pieces.decide(other)
        for place in sorted(c for c in cuts if c > at):
            pieces.to(place)
            if restarts:
                pieces.restart()
        whole.to(240)
        pieces.to(240)
    assert whole.over is not None
    assert said(pieces.alerts) == said(whole.alerts)
    assert pieces.fields() == whole.fields()


def test_what_else_the_settings_say_holds_at_once() -> None:
    stream = stream_of("metric")
    other = changed(unlike("metric", "7"), alerts={"hold": timedelta(minutes=9)}, threshold={"level": 3.0})
    ran = Ran(stream, other).to(60)
    ran.decide(other)
    judge = ran.core.stream.settings
    assert (judge.alerts.hold, judge.threshold.level) == (timedelta(minutes=9), 2.0)
    ran.to(200)
    assert ran.core.stream.settings.threshold.level == 3.0
    assert {ran.levels[at] for at in ran.levels if 60 <= at < (ran.over or 0)} == {2.0}
    assert {ran.levels[at] for at in ran.levels if at >= (ran.over or 0)} == {3.0}


def test_a_newer_decision_takes_the_place_of_a_shadow_and_there_is_one_at_most() -> None:
    stream, seven, three = stream_of("metric"), unlike("metric", "7"), unlike("metric", "3")
    ran = Ran(stream, seven, three).to(60)
    ran.decide(seven)
    cost = ran.core.state.bytes_per_series
    ran.to(64).decide(three, 3)
    assert ran.core.shadow is not None
    assert ran.core.shadow.stream.model.hash == "3"
    assert ran.core.state.bytes_per_series < cost < 2 * stream.core(0).state.bytes_per_series
    windows = ran.core.state.arrays["shadow.windows"]
    assert not windows["size"].any()  # nothing of the other one's
    ran.decide(changed(stream, alerts={"hold": timedelta(0)}), 4)
    assert ran.core.shadow is ran.held.shadow is None
    assert ran.core.state.components.keys() == stream.core(0).state.components.keys()
    assert ran.core.stream.settings.alerts.hold == timedelta(0)


def test_settings_that_need_no_shadow_leave_the_one_there_is() -> None:
    stream, seven = stream_of("metric"), unlike("metric", "7")
    softer = changed(seven, alerts={"hold": timedelta(minutes=9)})
    ran, whole = (Ran(stream, seven).to(60) for _ in range(2))
    ran.decide(seven)
    whole.decide(seven)
    whole.to(240)
    ran.to(70).decide(softer, 3)
    assert ran.core.stream.settings.alerts.hold == timedelta(minutes=9)
    ran.to(240)
    assert ran.over == whole.over is not None
    assert ran.learnt("windows", "calibration") == whole.learnt("windows", "calibration")


def test_going_back_ends_it_and_leaves_the_old_one_as_if_nothing_had_been_decided() -> None:
    stream, seven = stream_of("metric"), unlike("metric", "7")
    ran, alone = Ran(stream, seven).to(60), Ran(stream).to(240)
    ran.decide(seven)
    ran.to(66).decide(stream, 3)
    ran.to(240)
    assert ran.over is None
    assert said(ran.alerts) == said(alone.alerts)
    assert ran.learnt() == alone.learnt()


def test_it_takes_over_at_the_latest_when_so_many_observations_went_by() -> None:
    """Where one series reports and the others say nothing, which are live under the old one."""
    stream, seven = stream_of("metric"), unlike("metric", "7")
    ran = Ran(stream, seven).to(120)
    ran.log = ran.log[:120] + [v for v in ran.log[120:] * 24 if b'"s0"' in v]
    ran.decide(seven)
    assert ran.core.shadow is not None
    most = ran.core.shadow.standing(ran.core.state, ran.core.learning).most
    assert most == 8 * ran.core.shadow.need * len(ran.core.state)
    while ran.over is None and ran.position < len(ran.log):
        ran.to(ran.position + 1)
    assert ran.over is not None
    assert most <= ran.over - 120 <= most + 8


def test_a_forgotten_series_is_forgotten_in_both() -> None:
    stream, seven = stream_of("metric"), unlike("metric", "7")
    ran = Ran(stream, seven).to(60)
    ran.decide(seven)
    ran.to(66)
    row = ran.core.state.row_of("s0")
    assert row is not None
    assert ran.core.state.arrays["shadow.windows"]["size"][row]
    ran.decide(Forget("s0"), 3)
    assert not ran.core.state.arrays["shadow.windows"][row].tobytes().strip(b"\0")
    assert ran.core.shadow is not None
    ran.to(240)
    assert ran.over is not None


@pytest.mark.parametrize("what", ["members", "level"])
def test_what_need_not_learn_takes_over_at_once(what: str) -> None:
    stream = stream_of("metric")
    to = changed(unlike("metric", "quantile"), threshold={"method": "fixed", "level": 2.5})
    before = unlike("metric", "quantile") if what == "level" else stream
    if what == "members":
        to = create_stream(stream.settings, dataclasses.replace(stream.model, hash="newer"))
    ran = Ran(before, to).to(60)
    ran.decide(to)
    assert ran.core.shadow is None
    assert ran.core.stream.model.hash == to.model.hash


def test_channels_that_no_message_has_never_take_over_and_the_old_ones_judge_on() -> None:
    """However many observations go by; where some series have them, it takes over, and the others are refused from there on."""
    stream, three = stream_of("named"), unlike("named", "three")
    with patch.object(shadow, "LONGEST", 1):
        for lacking, takes_over in ((frozenset({"s0", "s1", "s2", "s3", "s4"}), False), (frozenset({"s1"}), True)):
            ran, alone = Ran(stream, three), Ran(stream)
            ran.log = alone.log = log_of("named", lacking)
            ran.to(60).decide(three)
            ran.to(240)
            alone.to(240)
            assert (ran.over is not None) == takes_over
            if not takes_over:
                assert said(ran.alerts) == said(alone.alerts)


def test_channels_are_refused_in_words_while_observations_wait_for_older_ones() -> None:
    stream, three = stream_of("named"), unlike("named", "three")
    late = changed(three, lateness=timedelta(minutes=5))
    ran = Ran(stream, three, late).to(60)
    assert "the channels idle, user, system, and the state is of user, system; set lateness to 0" in ran.decide(late)
    assert ran.core.shadow is None
    assert ran.decide(three, 3) == ""
    assert "set lateness to 0" in ran.decide(late, 4)  # the shadow that learns is the older decision's
    assert ran.core.shadow is not None
    ran.to(240)
    assert ran.over is not None
    assert ran.decide(late, 5) == ""


@pytest.mark.parametrize("to", ["table", "channels"])
def test_another_kind_and_other_channels_are_refused_in_words(to: str) -> None:
    stream = stream_of("metric")
    other = stream_of("table")
    if to == "channels":
        detector = ZScore(ZScoreConfig(window=4, channels=2))
        detector.fit(np.zeros((8, 4, 2), np.float32))
        model = dataclasses.replace(
            stream.model,
            hash="wide",
            detectors=(detector,),
            scaling=dataclasses.replace(stream.model.scaling, known={}),
        )
        other = create_stream(stream.settings, model)
    ran = Ran(stream).to(60)
    ran.streams.add(other)
    before = ran.fields()
    effect = applied(
        ran.core,
        ran.held,
        Taken("frozen", 0, "a", 60, (Decision("d2", settings_of(other), "ann", "", 2),), "t"),
        lambda _: other,
    )
    assert effect.refused in ("a model of kind table, and the state is of metric", "channels: 2, and the state is of 1")
    fields = effect.core.state.snapshot(everything=True)
    assert {n: f for n, f in fields.items() if n != "in_force"} == {n: f for n, f in before.items() if n != "in_force"}
