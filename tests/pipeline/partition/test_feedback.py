"""What people say of alerts, taken by a partition: alerts end, the bar of that series moves, fades, is taken back; no score ever changes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from detectors.calibration import create
from detectors.judged import with_judgement
from detectors.model import Model
from detectors.training import train_metric
from pipeline.alerts.records import Alert, Score, decode_alert, encode, rfc3339
from pipeline.alerts.selecting.feedback import COMPONENT, KEPT, MOST, Feedback, bar_of, laxest
from pipeline.alerts.selecting.feedback import STEP as STEP_UP
from pipeline.errors import TidewatchError
from pipeline.operations.looking_back.evidence import of_alert
from pipeline.partition.deciding.carrying import applied
from pipeline.partition.deciding.decisions import InForce, Taken
from pipeline.partition.deciding.what import Decision, Undo, What
from pipeline.partition.stream import create_stream
from pipeline.partition.streams import Streams, decided
from pipeline.settings import StreamSettings, ThresholdSettings
from pipeline.steps.batches.observations import Observations

STEP, DAY = 300_000, 86_400_000
T0 = 1_404_172_800_000
LEARNT = 600
WEEK = {"threshold": ThresholdSettings(false_alarms="1 per series per week")}
LEVEL = {"threshold": ThresholdSettings(level=2.5)}


@pytest.fixture(scope="module")
def model() -> Model:
    recorded = {n: (T0 + STEP * np.arange(LEARNT), noise(n)[:LEARNT, None]) for n in "ab"}
    members = train_metric(recorded, [("zscore", {"window": 12})], create("empirical"), training_rows=lambda n: n)
    return with_judgement(members, recorded)


def noise(name: str, n: int = 4_000) -> np.ndarray:
    return np.random.default_rng(ord(name)).normal(10.0, 0.1, n)


class Partition:
    """A partition that goes on step by step: records by observation, decisions in between."""

    def __init__(self, model: Model, **given: Any) -> None:
        self.core = create_stream(
            StreamSettings(name="waves", model=Path("unused"), future_limit=timedelta(days=99), **given), model
        ).core(0)
        self.held = InForce(1, 0, decided(self.core.stream.settings), model.hash)
        self.offset, self.at = 0, LEARNT
        self.alerts: list[Alert] = []
        self.scores: list[Score] = []
        self.begin()

    def begin(self) -> None:
        """What the model was fitted on comes by again."""
        times = np.repeat(T0 + STEP * np.arange(LEARNT), 2)
        values = np.stack([noise("a")[:LEARNT], noise("b")[:LEARNT]], axis=1).ravel()
        self.core.process(Observations(np.arange(2 * LEARNT), ["a", "b"] * LEARNT, times, values[:, None]))
        self.offset = 2 * LEARNT

    def go(self, n: int, **odd: float) -> list[Alert]:
        """So many more steps of both series, the last one off by what is given for a series; the records that come of it."""
        said: list[Alert] = []
        for _ in range(n):
            last = _ == n - 1
            values = [noise(s)[self.at % 4_000] + (odd.get(s, 0.0) if last else 0.0) for s in "ab"]
            time = T0 + STEP * self.at
            batch = Observations(
                np.arange(self.offset, self.offset + 2), ["a", "b"], np.array([time, time]), np.array(values)[:, None]
            )
            for _, settled in self.core.process(batch):
                said += settled.alerts
                self.scores += self.core.life.records.scores(self.core.state, settled.scored)
            self.offset, self.at = self.offset + 2, self.at + 1
        self.alerts += said
        return said

    def decide(self, what: What) -> list[Alert]:
        streams = Streams(self.core.stream)
        decision = Decision(f"d{self.held.serial + 1}", what, "ann", "", self.held.serial + 1)
        effect = applied(self.core, self.held, Taken("waves", 0, "o", self.offset, (decision,), "t"), streams)
        self.core, self.held = effect.core, effect.in_force
        self.alerts += effect.alerts
        return effect.alerts

    def restart(self) -> None:
        fields = self.core.state.snapshot(everything=True)
        self.core = self.core.stream.core(0)
        self.core.state.restore(fields)


def of(alert: Alert, said: Any, **more: Any) -> Feedback:
    since, until = (int(np.datetime64(t[:-1], "ms").astype(np.int64)) for t in (alert.starts_at, alert.last_seen))
    assert isinstance(alert.peak_strength, float)
    return Feedback(alert.series, said, since, until, strength=alert.peak_strength, alert=alert.id, **more)


def missed(score: Score, **more: Any) -> Feedback:
    strength = score.alarm if isinstance(score.alarm, float) else score.score - (score.threshold or 0)
    return Feedback(score.series, "missed", score.timestamp, score.timestamp, strength=strength, **more)


def last(partition: Partition, series: str) -> Score:
    return next(s for s in reversed(partition.scores) if s.series == series)


def moved(score: Score) -> float:
    return score.moved if isinstance(score.moved, float) else 0.0


@pytest.mark.parametrize("given", [WEEK, LEVEL], ids=["judgement", "level"])
def test_a_normal_alert_ends_with_who_said_so_and_as_strong_a_one_does_not_fire_again(
    model: Model, given: dict[str, Any]
) -> None:
    one = Partition(model, **given)
    (begun,) = one.go(40, a=0.8)
    assert (begun.status, begun.change, begun.series) == ("firing", "anomaly", "a")
    (end,) = one.decide(of(begun, "normal", why="batch job"))
    assert (end.id, end.sequence, end.status, end.reason, end.change) == (begun.id, 1, "resolved", "normal", "feedback")
    assert encode(end).count(b'"feedback":{"what":"normal","by":"ann","why":"batch job"}') == 1
    assert end.summary.endswith("Normal, says ann: batch job.")
    assert decode_alert(encode(end)) == end
    again = one.go(80, a=0.8)
    assert [a for a in again if a.series == "a"] == []
    strength = begun.peak_strength
    assert isinstance(strength, float)
    assert moved(last(one, "a")) == pytest.approx(min(max(strength + 0.3, 0.5), MOST))
    assert "moved" not in encode(last(one, "b")).decode()
    # What is much stronger fires all the same, and another series is not touched.
    assert [a.series for a in one.go(80, a=90.0, b=1.0) if a.sequence == 0] == ["a", "b"]


def test_no_score_depends_on_what_people_say(model: Model) -> None:
    for given in (WEEK, LEVEL):
        told, untold = Partition(model, **given), Partition(model, **given)
        for one in (told, untold):
            alerts = one.go(40, a=0.8)
            if one is told:
                one.decide(of(alerts[0], "noise"))
                one.decide(missed(last(one, "b")))
            one.go(60, a=0.8)
        assert [(s.score, s.raw, s.calibrated) for s in told.scores] == [
            (s.score, s.raw, s.calibrated) for s in untold.scores
        ]
        assert told.alerts != untold.alerts
        for name, array in told.core.state.arrays.items():
            if name not in ("alerts", COMPONENT):
                assert array.tobytes() == untold.core.state.arrays[name].tobytes(), name


def test_noise_raises_the_bar_step_by_step_and_never_beyond_the_most(model: Model) -> None:
    one = Partition(model, **WEEK)
    (begun,) = one.go(40, a=0.8)
    bars = []
    for _ in range(KEPT + 2):
        one.decide(of(begun, "noise"))
        one.go(1)
        bars.append(moved(last(one, "a")))
    assert bars == [0.5, 1.0, 1.5, 1.5, 1.5]
    one.decide(Feedback("a", "normal", T0, T0, strength=11.0))
    one.go(1)
    assert moved(last(one, "a")) == MOST


def test_a_missed_one_fires_the_next_time_and_no_bar_is_laxer_than_one_in_two_hundred(model: Model) -> None:
    one = Partition(model, **WEEK)
    assert one.go(40, a=0.45) == []
    seen = last(one, "a")
    assert isinstance(seen.alarm, float)
    assert -1.0 < seen.alarm < 0
    assert one.decide(missed(seen)) == []
    one.go(1)
    assert moved(last(one, "a")) == pytest.approx(seen.alarm - 0.1)
    (begun,) = [a for a in one.go(80, a=0.45) if a.series == "a" and a.sequence == 0]
    assert begun.change == "anomaly"
    one.decide(Feedback("b", "missed", T0, T0, strength=-2.9))
    one.go(1)
    assert moved(last(one, "b")) == pytest.approx(float(laxest(np.array([7 * DAY / STEP]))[0]))
    level = Partition(model, **LEVEL)
    level.go(40)
    level.decide(Feedback("b", "missed", T0, T0, strength=-2.9))
    level.go(1)
    assert last(level, "b").threshold == pytest.approx(np.log10(200))


def test_a_suppressed_series_may_alert_at_once_when_one_was_missed(model: Model) -> None:
    one = Partition(model, **WEEK)
    (begun,) = one.go(40, a=3.0)
    one.go(3, a=3.0)
    one.decide(of(begun, "noise"))
    lives = one.core.state.arrays["alerts"]
    row = one.core.state.row_of("a")
    assert lives["suppressed_until"][row] == lives["heard"][row] + 3 * STEP or lives["suppressed_until"][row] > 0
    assert [a for a in one.go(1, a=30.0) if a.series == "a"] == []
    one.decide(missed(last(one, "a")))
    assert [a.change for a in one.go(1, a=30.0) if a.series == "a"] == ["anomaly"]


def test_feedback_counts_in_full_for_two_budget_periods_and_is_gone_after_four(model: Model) -> None:
    one = Partition(model, **WEEK)
    (begun,) = one.go(40, a=0.8)
    one.decide(of(begun, "noise"))
    told = one.at
    bars = []
    for weeks in (1.99, 3.0, 4.01):
        one.at = told + int(weeks * 7 * DAY) // STEP
        one.go(1)
        bars.append(moved(last(one, "a")))
    assert bars == pytest.approx([0.5, 0.25, 0.0], abs=0.01)


def test_what_recurs_holds_at_that_time_of_day_only(model: Model) -> None:
    one = Partition(model, **WEEK)
    (begun,) = one.go(40, a=3.0)
    one.decide(of(begun, "normal", every="day"))
    onset = one.at - 1
    bars = {}
    for minutes in (-20, 20, 40, 12 * 60, 24 * 60 - 20, 24 * 60 + 35):
        one.at = onset + 7 * DAY // STEP + minutes * 60_000 // STEP
        one.go(1)
        bars[minutes] = moved(last(one, "a")) > 0
    assert bars == {-20: True, 20: True, 40: False, 12 * 60: False, 24 * 60 - 20: True, 24 * 60 + 35: False}


def test_taken_back_it_is_as_if_it_had_not_been_said(model: Model) -> None:
    one = Partition(model, **WEEK)
    (begun,) = one.go(40, a=0.8)
    one.decide(of(begun, "normal"))
    serial = one.held.serial
    one.decide(of(begun, "noise"))
    one.decide(Undo(serial))
    one.go(1)
    assert moved(last(one, "a")) == 0.5
    one.decide(Undo(serial + 1))
    assert [a.change for a in one.go(80, a=0.8) if a.series == "a"] == ["anomaly"]
    assert moved(last(one, "a")) == 0.0
    assert not one.core.state.arrays[COMPONENT]["said"]["serial"].any()


def test_an_alert_that_is_over_stays_over_and_another_that_is_open_is_not_ended(model: Model) -> None:
    one = Partition(model, **WEEK)
    (begun,) = one.go(40, a=0.8)
    one.go(40)
    assert one.alerts[-1].status == "resolved"
    assert one.alerts[-1].reopens_until is not None
    assert one.decide(of(begun, "normal")) == []
    one.go(1)
    assert moved(last(one, "a")) > 0
    fresh = [a for a in one.go(20, a=90.0) if a.series == "a"]
    assert [a.change for a in fresh] == ["anomaly"]
    assert fresh[0].id != begun.id
    assert one.decide(of(begun, "noise")) == []
    assert one.core.life.open_ids(one.core.state) == {fresh[0].id}


def test_it_travels_with_the_state_and_goes_with_its_series(model: Model) -> None:
    one, whole = Partition(model, **WEEK), Partition(model, **WEEK)
    for each in (one, whole):
        (begun,) = each.go(40, a=0.8)
        each.decide(of(begun, "normal", every="week"))
        if each is one:
            each.restart()
        each.go(30, a=0.8)
    assert one.core.state.snapshot(everything=True) == whole.core.state.snapshot(everything=True)
    assert (one.alerts, one.scores) == (whole.alerts, whole.scores)
    row = one.core.state.row_of("a")
    assert row is not None
    one.core.forget(np.array([row]))
    assert not one.core.state.arrays[COMPONENT]["said"]["serial"].any()
    assert one.decide(replace_series(of(one.alerts[0], "noise"), "nobody")) == []


def replace_series(feedback: Feedback, series: str) -> Feedback:
    return Feedback(series, feedback.said, feedback.since, feedback.until, feedback.strength, feedback.alert)


def test_cuts_change_nothing(model: Model) -> None:
    """Many observations at once, by which the bar fades, or one at a time."""
    rows = [(T0 + STEP * (LEARNT + i), s, float(noise(s)[i] + (1.0 if i % 37 == 0 else 0))) for i in range(400) for s in "ab"]  # fmt: skip
    told = []
    for cut in (1, 7, 400):
        one = Partition(model, **WEEK)
        one.go(40, a=0.8)
        one.decide(Feedback("a", "normal", T0, T0, strength=0.6))
        one.decide(Feedback("b", "missed", T0, T0, strength=-0.5, every="day"))
        later = [(t + 40 * STEP, s, v) for t, s, v in rows]
        said: list[bytes] = []
        for at in range(0, len(later), cut):
            times, names, values = zip(*later[at : at + cut], strict=True)
            batch = Observations(
                np.arange(one.offset + at, one.offset + at + len(times)),
                list(names),
                np.array(times),
                np.array(values)[:, None],
            )
            for _, settled in one.core.process(batch):
                said += [encode(a) for a in settled.alerts]
        told.append((said, one.core.state.snapshot(everything=True)))
    assert told[0] == told[1] == told[2]
    assert told[0][0]


def test_of_what_no_bar_decides_feedback_is_refused_with_the_mend(model: Model) -> None:
    one = Partition(model, **WEEK)
    (begun,) = one.go(40, a=0.8)
    assert of_alert(begun, "normal", every="day", why="backup") == of(begun, "normal", every="day", why="backup")
    older = msgspec.structs.replace(begun, peak_strength=msgspec.UNSET)
    assert bar_of(of_alert(older, "normal")) == STEP_UP
    for kind, mend in (("no data", "absent_after"), ("out of range", "`valid`")):
        with pytest.raises(TidewatchError, match=mend):
            of_alert(msgspec.structs.replace(begun, kind=kind), "noise")
    lasting = msgspec.structs.replace(begun, last_seen=rfc3339(T0 + STEP * one.at + DAY))
    assert of_alert(lasting, "noise").every == ""
    with pytest.raises(TidewatchError, match="more than 12 hours"):
        of_alert(lasting, "noise", every="day")
