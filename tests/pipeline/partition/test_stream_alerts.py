"""Alerts and scores of the real steps together: forecaster, calibration, threshold, life; cut in any way."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.calibration import create
from detectors.training import train_metric
from pipeline.alerts.records import encode
from pipeline.partition.stream import create_stream
from pipeline.settings import AlertSettings, StreamSettings, ThresholdSettings
from pipeline.steps.batches.observations import Observations

MINUTE = 60_000
T0 = 1_404_172_800_000
SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"
SERIES = {"a": 1.0, "b": 50.0, "c": 0.02}


def values(name, n=450):
    rng = np.random.default_rng(len(name) + ord(name[0]))
    wave = np.sin(np.arange(n) / 6.0) + rng.normal(0, 0.1, n)
    wave[350:356] += 8.0
    if name == "c":
        wave[400:] += 8.0  # a shift, and then silence
        wave = wave[:402]
    return (wave * SERIES[name] + 10 * SERIES[name])[:, None]


@pytest.fixture(scope="module")
def model():
    recorded = {n: (T0 + MINUTE * np.arange(len(values(n))), values(n)) for n in SERIES}
    tcn = {"window": 12, "hidden": 4, "blocks": 2, "training": {"epochs": 6}}
    return train_metric(
        recorded, [("tcn", tcn), ("zscore", {"window": 12})], create("empirical"), training_rows=lambda n: 250
    )


@pytest.fixture(scope="module")
def whole(model):
    return run(model)


APART = {"a": -700, "b": 0, "c": 90}
"""Minutes by which the series' clocks differ, much more than a silence."""


def log(shift):
    """All series in one partition, a minute after the other; their clocks differ by `shift`."""
    rows = [(MINUTE * i + k, n, v) for k, n in enumerate(SERIES) for i, v in enumerate(values(n).tolist())]
    rows.sort()
    return Observations(
        np.arange(len(rows)) + 7,
        [n for _, n, _ in rows],
        np.array([T0 + t + shift.get(n, 0) * MINUTE for t, n, _ in rows]),
        np.array([v for _, _, v in rows]),
    )


def cut(o, a, b):
    return Observations(o.offsets[a:b], o.series[a:b], o.timestamps[a:b], o.values[a:b])


@pytest.fixture(scope="module")
def whole_apart(model):
    return run(model, shift=APART, hold="1m")


def run(model, cuts=(), method="fixed", shift=MappingProxyType({}), hold="0s"):
    policy = StreamSettings(
        name="waves",
        model=Path("unused"),
        threshold=ThresholdSettings(false_alarms=method)
        if " per " in method
        else ThresholdSettings(method=method, level=3.0, probability=1e-3),
        alerts=AlertSettings(hold=hold, silence="20m", update_every="5m", resolve_count=2, quiet="0s"),
    )
    core = create_stream(policy, model).core(3)
    whole, alerts, scores = log(shift), [], []
    for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        for _, settled in core.process(cut(whole, a, b)):
            alerts += settled.alerts
            scores += core.life.records.scores(core.state, settled.scored)
    return [encode(a) for a in alerts], [encode(s) for s in scores], core.state.snapshot(everything=True)


@pytest.mark.parametrize("method", ["fixed", "quantile", "pot", "3 per day"])
def test_bytes_of_alerts_scores_and_state_are_the_same_for_every_cut(model, method):
    whole = run(model, method=method)
    assert len(whole[0]) > 5
    for cuts in ([1, 2, 3, 800, 1049, 1050, 1070], range(37, 1300, 37)):
        assert run(model, cuts, method) == whole


@settings(deadline=None, max_examples=8)
@given(st.lists(st.integers(0, 1302), max_size=12).map(sorted))
def test_any_cut(model, whole, cuts):
    assert run(model, cuts) == whole


@settings(deadline=None, max_examples=8)
@given(st.lists(st.integers(1045, 1075), min_size=1, max_size=12).map(sorted))
def test_any_cut_of_anomalies_where_series_are_far_behind_and_far_ahead_of_the_others(model, whole_apart, cuts):
    assert run(model, cuts, shift=APART, hold="1m") == whole_apart


def test_series_far_apart_have_the_alerts_that_they_have_together(model, whole_apart):
    apart, together = stories(whole_apart[0], APART), stories(run(model, hold="1m")[0], {})
    assert apart == together
    assert all(("firing", "held", 1) in [step[:3] for step in told] for told in apart.values())


def stories(alerts, shift):
    """Of each series: status, reason, sequence and minute in its own time of its records."""
    told = {n: [] for n in SERIES}
    for a in map(json.loads, alerts):
        at = np.datetime64(a["as_of"].removesuffix("Z"), "ms").astype(np.int64)
        minute = (at - T0) / MINUTE - shift.get(a["series"], 0)
        told[a["series"]].append((a["status"], a["reason"], a["sequence"], minute))
    return told


def test_every_record_fits_its_schema_and_the_band_says_what_the_threshold_says(whole):
    alerts, scores, _ = whole
    for name, records in (("alert.v1.json", alerts), ("score.v1.json", scores)):
        validator = jsonschema.Draft202012Validator(json.loads((SCHEMAS / name).read_text()))
        for record in records[:: max(1, len(records) // 200)]:
            validator.validate(json.loads(record))
    decoded = [json.loads(s) for s in scores]
    banded = [s for s in decoded if s["band"] is not None]
    assert len(banded) > 0.9 * len(decoded)
    # The forecaster is the first member: alone, it reaches the threshold exactly outside of the band.
    outside = [not s["band"]["lower"][0] <= s["observed"][0] <= s["band"]["upper"][0] for s in banded]
    reached = [s["calibrated"][0] >= s["threshold"] for s in banded]
    assert sum(o != r for o, r in zip(outside, reached, strict=True)) <= 1  # float32 at the very edge
    assert 5 < sum(outside) < 100


def test_the_planted_anomalies_fire_and_the_silent_series_has_no_data(whole):
    alerts = [json.loads(a) for a in whole[0]]
    planted = T0 + 350 * MINUTE
    started = {a["series"] for a in alerts if a["status"] == "firing" and near(a["starts_at"], planted)}
    assert started == set(SERIES)
    assert {a["detector"]["name"] for a in alerts} == {"tcn+zscore"}
    ended, last = [a for a in alerts if a["series"] == "c"][-2:]
    assert (ended["status"], ended["change"], ended["next_id"]) == ("resolved", "changed", last["id"])
    assert near(ended["starts_at"], T0 + 400 * MINUTE)
    assert (last["status"], last["kind"]) == ("firing", "no data")


def near(text, ms):
    at = np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64)
    return abs(at - ms) <= 3 * MINUTE
