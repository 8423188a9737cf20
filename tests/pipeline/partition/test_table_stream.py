"""A stream of rows of a table, judged by all members together: the score ranks and does not move, the alarm decides; cut in any way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.calibration import create
from detectors.isolation_forest import IsolationForest
from detectors.model import Model
from detectors.training import all_rows, train_table
from pipeline.alerts.looks import Looks
from pipeline.partition.core import PartitionCore
from pipeline.partition.deciding.carrying import carried, differing, learns_first, shape_of
from pipeline.partition.stream import create_stream
from pipeline.settings import AlertSettings, StreamSettings, ThresholdSettings
from pipeline.steps import scoring
from pipeline.steps.batches.observations import Observations

LEARNT, N = 1500, 2200
NAMES = ("bytes", "errors", "service")
ATTACKS = {1600: 120, 1900: 40, 2100: 1}
"""Row -> how many of them follow each other."""
Rows = list[list[float | str]]


def table() -> Rows:
    rng = np.random.default_rng(5)
    rows: Rows = [
        [float(b), float(e), "http" if h else "smtp"]
        for b, e, h in zip(rng.normal(200, 20, N), rng.poisson(1.0, N), rng.random(N) < 0.8, strict=True)
    ]
    for first, count in ATTACKS.items():
        for i in range(first, first + count):
            rows[i] = [9000.0 + i % 7, 40.0, "http"]
    return rows


ROWS = table()


@pytest.fixture(scope="module")
def model() -> Model:
    members = [("kmeans", {"clusters": 4}), ("isolation-forest", {"trees": 20}), "mahalanobis"]
    learnt = {"web": ROWS[:LEARNT]}
    return train_table(
        learnt, NAMES, ["service"], members, create("empirical"), training_rows=all_rows, aggregation="rms"
    )


def run(
    model: Model, cuts: tuple[int, ...] = (), restart: bool = False, **given: Any
) -> tuple[PartitionCore, list[Any], list[Any]]:
    """Everything a partition says of the rows, cut there: its alerts and score records."""
    stream = create_stream(StreamSettings(name="rows", model=Path("unused"), **given), model)
    core = stream.core(0)
    assert model.features is not None
    values, _ = model.features.encode(ROWS)
    alerts: list[Any] = []
    scores: list[Any] = []
    for a, b in zip([0, *cuts], [*cuts, N], strict=True):
        if a == b:
            continue
        part = Observations(np.arange(a, b), ["web"] * (b - a), np.arange(a, b) * 100, values[a:b], ROWS[a:b])
        for _, settled in core.process(part):
            alerts += settled.alerts
            scores += core.life.records.scores(core.state, settled.scored)
        if restart:
            fields = core.state.snapshot(everything=True)
            core = stream.core(0)
            core.state.restore(fields)
    return core, alerts, scores


def spans(alerts: list[Any]) -> list[tuple[int, int]]:
    """Onset and last anomalous row of each alert that resolved."""
    found = [a for a in alerts if a.status == "resolved"]
    return [(_row(a.starts_at), _row(a.last_seen)) for a in found]


def _row(time: str) -> int:
    return int(np.datetime64(time.removesuffix("Z"), "ms").astype(np.int64)) // 100


def test_each_attack_is_one_alert_and_the_second_is_found_like_the_first(model: Model) -> None:
    _, alerts, scores = run(model)
    assert spans(alerts) == [(first, first + count - 1) for first, count in ATTACKS.items()]
    assert {c.name for a in alerts for c in a.channels[:2]} == {"bytes", "errors"}
    assert all(a.members for a in alerts)
    of = {s.offset: s for s in scores}
    assert of[1600].score == of[1939].score == of[2100].score  # as far out as columns are told apart
    assert of[1600].threshold is None
    assert min(of[i].alarm for i in (1600, 1719, 1900, 1939, 2100)) >= 0 > max(of[i].alarm for i in (1599, 1800, 2099))


def test_an_alert_names_its_columns_with_what_they_hold_and_what_is_usual_also_when_it_is_over(model: Model) -> None:
    _, alerts, _ = run(model)
    for alert in alerts[:2]:
        seen = {c.name: c for c in alert.channels}
        assert alert.channels[0].name == "bytes"
        assert 9000 <= seen["bytes"].observed <= 9006
        assert (seen["errors"].observed, seen["errors"].usual) == (40.0, 1.0)
        assert seen["bytes"].usual == pytest.approx(200, abs=3)
        assert "bytes 9,00" in alert.summary
        assert "usually 1:" in alert.summary


def test_an_isolation_forest_alone_names_columns_too() -> None:
    learnt = {"web": ROWS[:LEARNT]}
    forest = train_table(learnt, NAMES, ["service"], ["isolation-forest"], create("empirical"), training_rows=all_rows)
    _, alerts, _ = run(forest, threshold=ThresholdSettings(level=3.0, hysteresis=0.2))
    of = {a.channels[0].name for a in alerts if _row(a.starts_at) in ATTACKS}
    assert of
    assert of <= {"bytes", "errors"}


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, N - 1), max_size=6, unique=True), restart=st.booleans())
def test_cuts_and_restarts_change_no_bit(model: Model, cuts: list[int], restart: bool) -> None:
    whole, alerts, scores = run(model)
    core, *said = run(model, tuple(sorted(cuts)), restart)
    assert said == [alerts, scores]
    assert core.state.snapshot(everything=True) == whole.state.snapshot(everything=True)


def test_a_level_of_one_s_own_is_one_of_how_rare_the_score_is(model: Model) -> None:
    _, alerts, scores = run(model, threshold=ThresholdSettings(level=3.5), alerts=AlertSettings(resolve_count=5))
    assert spans(alerts) == [(first, first + count - 1) for first, count in ATTACKS.items()]
    assert {s.threshold for s in scores} == {3.5}
    assert all(0 <= s.score <= 12 for s in scores)


def test_another_model_measures_by_what_it_learnt_and_one_without_a_ranking_learns_first(model: Model) -> None:
    core, _, _ = run(model)
    given = StreamSettings(name="rows", model=Path("unused"))
    other = create_stream(given, replace(model, hash="other"))
    assert not differing(shape_of(core.stream), shape_of(other))
    state = carried(core, other).state.arrays["outlying"]
    assert model.outlying is not None
    assert state["tail"][0].tobytes() == model.outlying.series["web"].tail.tobytes()
    without = create_stream(given, replace(model, outlying=None))
    assert not differing(shape_of(core.stream), shape_of(without))
    assert learns_first(core.stream, without)
    assert not learns_first(core.stream, other)


@pytest.mark.parametrize("alerts", [AlertSettings(), AlertSettings(min_deviation=0.5), AlertSettings(direction="up")])
def test_what_is_told_of_few_rows_is_what_would_be_told_of_all(
    model: Model, alerts: AlertSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    told = IsolationForest._shares

    def shares(self: IsolationForest, rows: Any, raw: Any) -> Any:
        asked.append(len(rows))
        return told(self, rows, raw)

    monkeypatch.setattr(IsolationForest, "_shares", shares)
    cuts = (1200, 1650, 1651, 2000)
    _, *few = run(model, cuts, alerts=alerts)
    of_few = sum(asked)
    monkeypatch.setattr(scoring, "_defers", lambda _: False)
    _, *all_ = run(model, cuts, alerts=alerts)
    assert few == all_
    assert few[0]
    assert sum(asked) - of_few > N > 4 * of_few


def test_a_long_attack_is_looked_at_where_it_is_worse_than_before(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []
    at = Looks.at

    def counted(self: Looks, b: int, *more: Any) -> Any:
        looked_at.append(b)
        return at(self, b, *more)

    monkeypatch.setattr(Looks, "at", counted)
    _, alerts, _ = run(model)
    assert sum(a.observations for a in alerts if a.status == "resolved") == sum(ATTACKS.values())
    assert len(ATTACKS) <= len(looked_at) < 20
