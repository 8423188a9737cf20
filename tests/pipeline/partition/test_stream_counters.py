"""Counters are judged by their rates: what restarts is no anomaly, what bursts is one, and what becomes a counter begins anew."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from frozen_states import MINUTE, stream_of
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.baselines import ZScore, ZScoreConfig
from detectors.scaling import SeriesScaling
from pipeline.alerts.records import Alert
from pipeline.errors import SettingsError
from pipeline.partition.core import PartitionCore
from pipeline.partition.stream import Stream, create_stream
from pipeline.steps.batches.records import RecordBatch
from producers.records import Observation, encode

T0 = 1_000_000 * MINUTE
TOTAL = 'http_requests_total{job="api"}'


def stream(format: str = "native", kind: str = "metric", **changed: Any) -> Stream:  # noqa: A002
    frozen = stream_of(kind)
    model = frozen.model
    if kind == "metric":
        detector = ZScore(ZScoreConfig(window=24))
        detector.fit(np.random.default_rng(0).normal(size=(64, 24, 1)).astype(np.float32))
        model = replace(model, detectors=(detector,), scaling=SeriesScaling("standard", {}, learn_rows=48))
    level = frozen.settings.threshold.model_copy(update={"level": 9.0})
    return create_stream(
        frozen.settings.model_copy(update={"format": format, "probation": 64, "threshold": level, **changed}),
        model,
    )


def run(core: PartitionCore, values: Sequence[bytes], first: int = 0) -> list[Alert]:
    n = len(values)
    records = RecordBatch("in", 0, np.arange(first, first + n), first + n, [None] * n, values, np.zeros(n, np.int64))
    observations, rejected = core.stream.decoder.decode(records)
    assert not rejected
    return [a for _, settled in core.process(observations) for a in settled.alerts]


def sample(i: int, value: float, name: str = "http_requests_total") -> bytes:
    time = str(np.datetime64(T0 + i * MINUTE, "ms")) + "Z"
    return json.dumps({"timestamp": time, "value": repr(value), "name": name, "labels": {"job": "api"}}).encode()


def counter(n: int = 400, restart: int | None = None, burst: range = range(0)) -> list[bytes]:
    chance, total, out = random.Random(4), 1e6, []
    for i in range(n):
        if i == restart:
            total = 0.0
        total += chance.gauss(600, 20) * (5 if i in burst else 1) * (0.3 if i == restart else 1)
        out.append(sample(i, total))
    return out


def test_a_restart_of_a_steady_counter_is_no_anomaly() -> None:
    core = stream("prometheus").core(0)
    assert run(core, counter(restart=300)) == []
    row = core.state.row_of(TOTAL)
    assert core.state.arrays["windows"]["kind"][row] == 1
    assert core.state.arrays["windows"]["history"][row] == pytest.approx(10.0, rel=0.2)  # a second, of 600 a minute


def test_a_burst_of_its_rate_is_one_however_large_the_total_is() -> None:
    alerts = run(stream("prometheus").core(0), counter(burst=range(350, 360)))
    assert alerts[0].status in ("pending", "firing")
    assert alerts[0].starts_at == str(np.datetime64(T0 + 350 * MINUTE, "ms")) + "Z"
    assert alerts[0].observed == pytest.approx([50.0], rel=0.2)


def test_the_settings_say_of_any_format_what_is_a_counter_and_what_is_none() -> None:
    values = [encode(Observation(s, T0 + i * MINUTE, 60.0 * i)) for i in range(30) for s in ('net{if="a"}', "disk")]
    core = stream(counter=("net",)).core(0)
    run(core, values)
    history = {
        n: core.state.arrays["windows"]["history"][core.state.row_of(n)][:, 0].tolist() for n in ('net{if="a"}', "disk")
    }
    assert history == {'net{if="a"}': [1.0] * 23, "disk": [60.0 * i for i in range(7, 30)]}
    core = stream("prometheus", gauge=("http_*",)).core(0)
    run(core, counter(30))
    assert core.state.arrays["windows"]["history"][core.state.row_of(TOTAL), 0, 0] > 1e6


@pytest.mark.parametrize(("kind", "says"), [("table", "sets counter, which is for metrics with one channel")])
def test_counters_of_a_table_are_a_settings_error(kind: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        stream(kind=kind, counter=("a*",))


def test_a_gauge_of_before_that_is_a_counter_now_begins_anew_without_an_alert() -> None:
    before = stream("prometheus", gauge=("*",)).core(0)
    values = counter(600)
    run(before, values[:300])
    core = stream("prometheus").core(0)
    core.state.restore(before.state.snapshot(everything=True))
    assert run(core, values[300:], 300) == []
    row = core.state.row_of(TOTAL)
    assert core.state.arrays["windows"]["ordinal"][row] == 299
    assert core.state.arrays["admission"]["probation"][row] == 64
    whole = stream("prometheus").core(0)
    run(whole, values[300:], 300)
    for name in ("windows", "calibration", "threshold"):
        assert core.state.arrays[name][row].tobytes() == whole.state.arrays[name][row].tobytes()


def point(i: int, value: float, how: str) -> bytes:
    data = {"dataPoints": [{"asDouble": value, "timeUnixNano": str((T0 + i * MINUTE) * 10**6)}]}
    if how != "gauge":
        data["dataPoints"][0]["startTimeUnixNano"] = str((T0 + (i - 1) * MINUTE) * 10**6 if how == "delta" else 1)
    content = {"gauge": data} if how == "gauge" else {
        "sum": {**data, "isMonotonic": True, "aggregationTemporality": 1 if how == "delta" else 2}
    }  # fmt: skip
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", **content}]}]}]}).encode()


@settings(max_examples=60, deadline=None)
@given(
    hows=st.lists(st.tuples(st.sampled_from(["gauge", "counter", "delta"]), st.integers(1, 9)), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 50), max_size=5),
)
def test_a_series_that_changes_its_kind_has_one_state_however_the_stream_is_cut(
    hows: list[tuple[str, int]], cuts: list[int]
) -> None:
    of = [how for how, times in hows for _ in range(times)]
    values = [point(i, 600.0 * i if how == "counter" else 600.0, how) for i, how in enumerate(of)]
    whole, cut = stream("otlp").core(0), stream("otlp").core(0)
    told = run(whole, values)
    edges = [0, *sorted(c for c in cuts if c < len(values)), len(values)]
    parts = [a for start, stop in pairwise(edges) for a in run(cut, values[start:stop], start)]
    assert parts == told
    assert cut.state.snapshot(everything=True) == whole.state.snapshot(everything=True)
    last = {"gauge": 600.0, "counter": 10.0, "delta": 10.0}[of[-1]]
    if of[-2:] == of[-1:] * 2:
        assert cut.state.arrays["windows"]["history"][0, -1, 0] == last


def test_a_row_that_was_used_before_is_of_the_series_that_has_it_now() -> None:
    core = stream(counter=("net*",)).core(0)
    run(core, [encode(Observation("net", T0 + i * MINUTE, 60.0 * i)) for i in range(9)])
    core.forget(np.array([0]))
    _, (row,) = core.state.rows_of(["disk"])  # as an open alert of it that is taken up
    core._kinds.admit(core.state, [row])
    run(core, [encode(Observation("disk", T0 + i * MINUTE, 60.0 * i)) for i in range(9)], 9)
    assert core.state.arrays["windows"]["history"][0, -1, 0] == 480.0
    run(core, [encode(Observation("net", T0 + i * MINUTE, 60.0 * i)) for i in range(9)], 18)
    assert core.state.arrays["windows"]["history"][core.state.row_of("net"), -1, 0] == 1.0
