"""Selectors: which series they mean, what holds for these, and what that does to alerts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alert_logs import Log, Row, metric_model
from frozen_states import MINUTE, log_of, process, stream_of
from numpy_budget import rows_of_budgets
from pydantic import ValidationError

from detectors.budget import parse
from detectors.budget_threshold import BudgetThreshold
from pipeline.alerts.records import Alert, decode_alert
from pipeline.alerts.selecting.matching import labels_of, matches
from pipeline.alerts.selecting.selectors import Selectors
from pipeline.alerts.sinks.alertmanager import AlertStates
from pipeline.alerts.sinks.presentation import annotations_of
from pipeline.alerts.sinks.presentation import labels_of as sent_labels
from pipeline.errors import SettingsError
from pipeline.operations.doctor.states import idle_selectors
from pipeline.partition.stream import create_stream
from pipeline.settings import AlertSettings, SelectSettings, StreamSettings, ThresholdSettings
from producers.records import Observation, encode


def select(**says: Any) -> SelectSettings:
    return SelectSettings.model_validate({"series": "a*"} | says)


def settings(*selectors: SelectSettings, **more: Any) -> StreamSettings:
    return StreamSettings(name="taxi", model=Path("none"), select=selectors, **more)


@pytest.mark.parametrize(
    ("selector", "series", "is_meant"),
    [
        ({"series": "cpu"}, 'cpu{host="a"}', True),
        ({"series": "cpu*a*"}, 'cpu{host="a"}', True),
        ({"series": ["disk", "cpu"]}, "cpu", True),
        ({"series": "cpu"}, "cpu2", False),
        ({"where": {"service": "api-*"}}, 'up{job="x",service="api-1"}', True),
        ({"where": {"service": "api-*"}}, 'up{my_service="api-1"}', False),
        ({"where": {"service": "api-*"}}, "up", False),
        ({"where": {"path": 'C:\\a",b'}}, r'up{path="C:\\a\",b"}', True),
        ({"where": {"a": "1", "b": "2"}}, 'up{a="1",b="3"}', False),
        ({"series": "up", "where": {"a": "1"}}, 'down{a="1"}', False),
    ],
)
def test_whom_a_selector_means(selector: dict[str, Any], series: str, is_meant: bool) -> None:
    assert matches(SelectSettings(**selector, hold=timedelta(0)), series) is is_meant


def test_labels_are_read_as_they_are_written() -> None:
    from producers.formats.base import series_name

    labels = {"a": 'x",b="y', "b": "back\\slash", "c": "line\nbreak", "d": ""}
    assert labels_of(series_name("up", labels)) == labels


def test_later_selectors_override_earlier_ones_setting_by_setting() -> None:
    of = Selectors(
        settings(
            select(hold="5m", direction="up", labels={"team": "a", "tier": "1"}, severity="warning"),
            select(series="ab*", direction="down", deviation="10 %", labels={"team": "b", "tier": ""}),
            select(series="*", valid=[0, float("inf")]),
            alerts=AlertSettings(min_deviation=3.0),
        )
    )
    both = of.policy("abc")
    assert both.selectors == (0, 1, 2)
    assert (both.alerts.direction, both.alerts.hold) == ("down", timedelta(minutes=5))
    assert (both.alerts.min_deviation, both.alerts.min_relative_deviation) == (0.0, 0.1)
    assert (both.valid, both.labels, both.least, both.most) == ((0.0, np.inf), {"team": "b"}, 1, 1)
    other = of.policy("b")
    assert (other.alerts, other.labels, other.valid) == (AlertSettings(min_deviation=3.0), {}, (0.0, np.inf))


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ({"series": ()}, "it selects no series"),
        ({}, "it says nothing of the series it selects"),
        ({"deviation": "10"}, "is no deviation"),
        ({"deviation": -1}, "is no deviation"),
        ({"valid": [5, 1]}, "the lower one first"),
        ({"valid": [float("nan"), 1]}, "lower one first"),
        ({"valid": [float("inf"), 1]}, "lower one first"),
        ({"valid": [1]}, "lower one first"),
        ({"false_alarms": "2 per week"}, "of the whole stream"),
        ({"false_alarms": "1 per series per week", "level": 3}, "leave one of them out"),
        ({"labels": {"severity": "x"}}, "set severity"),
        ({"labels": {"run-book": "x"}}, "no name for a label"),
        ({"severity": {"least": "critical", "most": "info"}}, "swap them"),
    ],
)
def test_what_a_selector_cannot_say(says: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        select(**says)


@pytest.mark.parametrize(
    ("says", "threshold", "told"),
    [
        ({"false_alarms": "1 per series per week"}, ThresholdSettings(level=2.0), r"selector 1 .*\(a\*\).* set level"),
        ({"false_alarms": "1 per series per week"}, ThresholdSettings(method="pot"), "method pot: set level"),
    ],
)
def test_what_does_not_fit_the_stream_names_the_selector_and_the_mend(says: Any, threshold: Any, told: str) -> None:
    frozen = stream_of("metric")
    wrong = frozen.settings.model_copy(update={"select": (select(**says),), "threshold": threshold})
    with pytest.raises(SettingsError, match=told):
        create_stream(wrong, frozen.model)


def test_without_expected_values_there_is_no_direction() -> None:
    table = stream_of("table")
    for says in ({"direction": "up"}, {"deviation": 1}, {"valid": [0, 1]}, {"absent_after": "1h"}):
        wrong = table.settings.model_copy(update={"select": (select(**says),)})
        with pytest.raises(SettingsError, match="which is for metrics"):
            create_stream(wrong, table.model)
    bare, model = settings(select(direction="up")), metric_model()
    model.detectors[0].fit(np.zeros((8, 3, 1), np.float32))
    with pytest.raises(SettingsError, match=r"needs an expected value, and .* expects none"):
        create_stream(bare, model)


# What it does to alerts


def run(selectors: tuple[SelectSettings, ...], *rows: Row, **alerts: Any) -> list[Alert]:
    given = settings(*selectors, alerts=AlertSettings(resolve_count=2, quiet=timedelta(0), **alerts))
    whole = Log(given).run(list(rows))
    for cut in range(1, len(rows)):
        assert Log(given).run(list(rows), (cut,)) == whole
    return whole


def seen(series: str, minute: float, observed: float, score: float = 0.0, **more: Any) -> Row:
    return Row(series, minute, score, observed=(observed,), expected=(10.0,), **more)


def test_direction_and_deviation_hold_for_the_series_that_are_meant() -> None:
    up, far = select(direction="up"), select(series="b", deviation="50 %")
    rows = [seen("a", 0, 5, 9), seen("b", 0, 14, 9), seen("c", 0, 5, 9), seen("a", 1, 12, 9), seen("b", 1, 16, 9)]
    assert [(a.series, a.as_of[14:16]) for a in run((up, far), *rows)] == [("c", "00"), ("a", "01"), ("b", "01")]


def test_out_of_range_is_an_alert_at_once_whatever_score_probation_direction_and_hold_say() -> None:
    chosen = select(valid=[0, 11], direction="down")
    rows = [
        seen("a", 0, 12, live=False),
        seen("b", 0, 12, live=False),
        seen("a", 1, 9, live=False),
        seen("a", 2, 9, live=False),
    ]
    alerts = run((chosen,), *rows, hold=timedelta(minutes=30))
    assert [(a.series, a.status, a.kind, a.change) for a in alerts] == [
        ("a", "firing", "out of range", "anomaly"),
        ("a", "resolved", "out of range", "normal"),
    ]


def test_a_pending_alert_that_goes_out_of_range_fires() -> None:
    rows = [seen("a", 0, 11, 9), seen("a", 1, 30, 9)]
    alerts = run((select(valid=[float("-inf"), 20]),), *rows, hold=timedelta(minutes=30))
    assert [(a.status, a.kind) for a in alerts] == [("pending", "spike"), ("firing", "out of range")]


def test_hold_severity_and_labels_of_some_series() -> None:
    chosen = select(hold="2m", severity={"most": "warning"}, labels={"team": "db", "runbook_url": "https://x/r"})
    rows = [seen(s, m, 30, 12.0) for m in range(3) for s in ("a", "b")]
    alerts = run((chosen,), *rows)
    of = {s: [a for a in alerts if a.series == s] for s in "ab"}
    assert [(a.status, a.severity) for a in of["a"]] == [("pending", "warning"), ("firing", "warning")]
    assert (of["b"][0].status, of["b"][0].severity) == ("firing", "critical")
    assert {str(a.labels) for a in of["b"]} == {"UNSET"}
    told = of["a"][-1]
    assert told.labels == {"runbook_url": "https://x/r", "team": "db"}
    assert sent_labels(told)["team"] == "db"
    assert "runbook_url" not in sent_labels(told)
    assert annotations_of(told)["runbook_url"] == "https://x/r"


def test_alertmanager_is_told_that_an_alert_of_other_labels_is_over() -> None:
    rows = [seen("a", m, 30, 12.0) for m in range(2)]
    before, after = (run((select(labels={"team": team}),), *rows)[0] for team in "xy")
    states = AlertStates()
    states.take(before)
    states.take(after)
    ends = {a["labels"]["team"]: a["endsAt"] for a in states.to_tell(timedelta(hours=1))}
    assert ends["x"] < ends["y"]


# In a partition


def test_a_valid_range_needs_no_full_window() -> None:
    frozen = stream_of("metric")
    stream = create_stream(
        frozen.settings.model_copy(update={"select": (select(series="new", valid=[0, 20]),)}), frozen.model
    )
    values = [
        encode(Observation(series="new", timestamp=10**12 + i * MINUTE, value=v)) for i, v in enumerate([99.0, 9.0])
    ]
    together = [decode_alert(a) for a in process(stream.core(0), values, 0)]
    core = stream.core(0)
    apart = [decode_alert(a) for i, v in enumerate(values) for a in process(core, [v], i)]
    assert [(a.kind, a.status, a.evidence.offset) for a in together] == [("out of range", "firing", 0)]
    assert apart == together


def test_a_level_of_some_series_is_the_one_they_are_judged_by() -> None:
    frozen = stream_of("metric")
    stream = create_stream(
        frozen.settings.model_copy(update={"select": (select(series="s0", level=0.5),)}), frozen.model
    )
    told = [decode_alert(a) for a in process(stream.core(0), log_of("metric"), 0)]
    assert {(a.series == "s0", a.threshold) for a in told} - {(True, None), (False, None)} == {
        (True, 0.5),
        (False, 2.0),
    }


def test_a_row_that_is_used_again_has_the_policy_of_its_new_series() -> None:
    from pipeline.steps.state import PartitionState

    of, state = Selectors(settings(select(level=2))), PartitionState({"x": np.dtype("u1")}, max_series=9)
    rows, new = state.rows_of(["a", "b"])
    of.admit(state, new)
    assert of.of(state, rows).tolist() == [1, 0]
    state.drop([0])
    rows, new = state.rows_of(["c", "a1"])
    of.admit(state, new)
    assert of.of(state, rows).tolist() == [0, 1]
    assert of.levels(state, rows, np.array([4.0, 4.0])).tolist() == [4.0, 2.0]


def test_each_series_has_its_own_budget() -> None:
    month, week = parse("1 per series per month"), parse("1 per series per week")
    step, which = np.full(2, 60_000), np.array([0, 1])
    assert rows_of_budgets((month, week), which, step).tolist() == [43_200, 10_080]
    threshold = BudgetThreshold(month, others=(week,))
    state = np.zeros(2, threshold.dtype)
    state["interval"], state["trained"] = 60_000, 10**6
    level = threshold.apply(state, np.array([0, 1]), np.zeros(2), np.zeros(2, np.bool_), which=which)
    assert level[0] > level[1]


def test_the_doctor_names_selectors_that_match_nobody() -> None:
    found = list(idle_selectors(settings(select(hold="1m"), select(series="disk-*", hold="1m")), ["a1", "b"]))
    assert [f.state for f in found] == ["warning"]
    assert "selector 2 (disk-*) matches none of 2 series" in found[0].detail
    assert not list(idle_selectors(settings(select(series="disk-*", hold="1m")), []))
