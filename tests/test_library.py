"""The doors for people who use Tidewatch as a library: the page's blocks run, importing is light, wrong input is told in our words."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from detectors import METRIC, DetectorError, Model, ModelFileError, load, save
from pipeline import Alert, AlertSubscriber, ScoredRows, TidewatchError, plot, score_dataset, train
from pipeline.errors import ModelError, SettingsError
from producers import DataError, Dataset, Series, open_file

PROJECT = Path(__file__).parents[1]
DOORS = ("producers", "detectors", "pipeline")
BLOCKS = re.findall(r"^```python\n(.*?)^```", (PROJECT / "docs/library.md").read_text(), re.MULTILINE | re.DOTALL)
N = 600
TIMES = 1_767_225_600_000 + np.arange(N) * 300_000
VALUES = np.random.default_rng(0).normal(size=N)


def dataset(*columns: Any, kind: Any = "metric", n: int = N) -> Dataset:
    parts = tuple(np.asarray(c)[:n] for c in columns or (VALUES,))
    names = tuple("pqrs"[: len(parts)])
    return Dataset("mine", kind, names, "made up", {"a": Series("a", TIMES[:n], parts, 300_000)})


def test_the_blocks_of_the_page_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) == 8
    names: dict[str, Any] = {"__name__": "page"}
    for k, block in enumerate(BLOCKS):
        exec(compile(block, f"docs/library.md, block {k}", "exec"), names)  # our own page
    assert names["scored"].alerts == 1
    assert names["data"].kind == "metric"
    assert (tmp_path / "load.png").stat().st_size > 10_000
    own = score_dataset(names["mine"], detector="zscore")
    # The file has two digits after the point.
    np.testing.assert_allclose(own.calibrated_score, names["scored"].calibrated_score, atol=0.5)


def test_the_page_asks_of_alerts_and_subscribers_what_they_have() -> None:
    tree = ast.parse(next(b for b in BLOCKS if "AlertSubscriber(" in b))
    asked = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and getattr(n.value, "id", "") == "alert"}
    assert asked == {"series", "starts_at", "score"}
    assert asked <= {f.name for f in msgspec.structs.fields(Alert)}
    [call] = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "AlertSubscriber"]
    assert {k.arg for k in call.keywords} <= inspect.signature(AlertSubscriber).parameters.keys()


@pytest.mark.parametrize("door", DOORS)
def test_importing_a_door_is_light(door: str) -> None:
    heavy = ["numpy", "pandas", "torch", "sklearn", "scipy", "matplotlib", "pyarrow", "pydantic", "faust", "aiokafka"]
    code = f"import sys, {door}; dir({door}); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("door", DOORS)
def test_a_door_offers_what_it_lists_and_nothing_else(door: str) -> None:
    module = importlib.import_module(door)
    assert dir(module) == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is getattr(importlib.import_module(module._HOME[name]), name)
    tree = ast.parse(Path(str(module.__file__)).read_text())
    typed = {
        alias.name: node.module
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == module._HOME, "what type checkers see is not what is brought"
    with pytest.raises(AttributeError, match=f"'{door}' has no attribute 'nothing'"):
        _ = module.nothing


def test_the_strict_mode_of_mkl_is_set_whichever_name_is_asked_for_first() -> None:
    code = "import pipeline, sys; assert 'torch' not in sys.modules; pipeline.train; import torch; from detectors import numerics; print(numerics._torch_came_first)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture(scope="module")
def metric() -> Model:
    return train(dataset(), detector="zscore")


@pytest.fixture(scope="module")
def table() -> Model:
    return train(dataset(VALUES, VALUES**2, kind="table"), detector="kmeans")


def test_a_model_of_other_data_is_refused(metric: Model, table: Model) -> None:
    two = (VALUES, VALUES**2)
    wrong = [
        (dataset(*two), metric, "1 channels, and mine has 2"),
        (dataset(*two), table, "of a table, and mine is a metric"),
        (dataset(*two, kind="table"), metric, "of a metric, and mine is a table"),
        (dataset(*two, VALUES, kind="table"), table, "columns p, q, and mine has p, q, r"),
    ]
    for data, model, match in wrong:
        with pytest.raises(ModelError, match=match):
            score_dataset(data, model=model)
    assert score_dataset(dataset(*two, kind="table"), model=table).model is table


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: score_dataset(dataset(), train_rows=-5, detector="zscore"), DetectorError, "train_rows=-5"),
        (lambda: score_dataset(dataset(), train_rows=10.5, detector="zscore"), DetectorError, "train_rows=10.5"),  # type: ignore[arg-type]
        (lambda: train(dataset(), train_rows=0), DetectorError, "train_rows=0"),
        (lambda: score_dataset(dataset(), detector="nope"), DetectorError, "no detector 'nope'"),
        (lambda: score_dataset(dataset(n=0), detector="zscore"), DataError, "no rows"),
        (lambda: score_dataset(replace(dataset(), all_series={})), DataError, "no rows"),
        (lambda: dataset(VALUES, VALUES[:10]), DataError, "600 times, but columns of 600, 10"),
        (
            lambda: score_dataset(dataset(), recipe=replace(METRIC.of("zscore"), settings={"threshold": {"level": "x"}})),
            SettingsError,
            r"threshold\.level",
        ),
        (lambda: METRIC.train_metric({"a": (TIMES[:5], VALUES)}), DetectorError, r"times \(5,\) and values \(600, 1\)"),
        (lambda: METRIC.train_metric({"a": (TIMES, ["x"] * N)}), DetectorError, "'a': values are not numbers"),
        (lambda: METRIC.train_metric({"a": (TIMES / 1.0, VALUES)}), DetectorError, "times are float64"),
        (
            lambda: METRIC.train_metric({"a": (np.full(N, "NaT", "M8[ms]"), VALUES)}),
            DetectorError,
            "without gaps",
        ),
        (lambda: load("nowhere"), ModelFileError, "cannot read model file nowhere"),
        (lambda: load("a\0b"), ModelFileError, "null byte"),
        (lambda: open_file(""), DataError, "no name of a file"),
        (lambda: open_file("a\0b"), DataError, "no name of a file"),
    ],
)  # fmt: skip
def test_wrong_input_is_told_in_our_own_errors(call: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match) as told:
        call()
    assert isinstance(told.value, (DataError, DetectorError, TidewatchError))
    assert "\n" not in str(told.value)


def test_what_is_no_json_is_not_saved(metric: Model, tmp_path: Path) -> None:
    for facts in ({"a": object()}, {"a": "\ud800"}):
        with pytest.raises(ModelFileError, match="cannot be written"):
            save(replace(metric, facts=facts), str(tmp_path / "m"))
    with pytest.raises(ModelFileError, match="null byte"):
        save(metric, "a\0b")
    assert list(tmp_path.iterdir()) == []


def test_arrays_of_a_notebook_train_the_same_model() -> None:
    recipe = METRIC.of("zscore")
    usual = recipe.train_metric({"a": (TIMES, VALUES[:, None])})
    for times, values in [(TIMES, VALUES), (TIMES.astype("M8[ms]").astype("M8[ns]"), VALUES), (TIMES.tolist(), VALUES.tolist())]:  # fmt: skip
        again = recipe.train_metric({"a": (times, values)})
        assert again.calibrations["a"].tobytes() == usual.calibrations["a"].tobytes()
        assert again.interval_ms == {"a": 300_000}


@pytest.fixture(scope="module")
def spiked() -> tuple[Dataset, ScoredRows]:
    values = VALUES.copy()
    values[400:420] += 30
    data = dataset(values, VALUES)
    return data, score_dataset(data, detector="lstm", train_rows=200)


def test_the_picture_shows_what_was_observed_expected_and_told(spiked: tuple[Dataset, ScoredRows]) -> None:
    data, scored = spiked
    above, below = plot(data, scored).axes
    drawn = {str(line.get_label()): np.asarray(line.get_ydata(), float) for line in above.lines}
    assert drawn.keys() == {"p", "p, expected", "q", "q, expected"}
    np.testing.assert_array_equal(drawn["p"], data.all_series["a"].columns[0])
    assert scored.expected is not None
    assert scored.expected.shape == (N, 2)
    np.testing.assert_array_equal(drawn["q, expected"], scored.expected[:, 1])
    assert np.isfinite(drawn["q, expected"][300:]).all()
    assert abs(np.nanmedian(drawn["p, expected"])) < 1  # in the file's unit
    np.testing.assert_array_equal(np.asarray(below.lines[0].get_ydata(), float), scored.calibrated_score)
    stretches = sum(bool(a) and a != b for a, b in zip(scored.alert_ids, ["", *scored.alert_ids], strict=False))
    assert len(below.patches) == stretches >= 1


def test_a_picture_of_other_data_or_an_unknown_series_is_refused(spiked: tuple[Dataset, ScoredRows]) -> None:
    data, scored = spiked
    with pytest.raises(DataError, match="no series 'b' to plot"):
        plot(data, scored, "b")
    later = Series("a", TIMES + 1, (VALUES, VALUES))
    with pytest.raises(DataError, match="not of series 'a'"):
        plot(replace(data, all_series={"a": later}), scored)


def test_a_table_is_drawn_by_its_rows(table: Model) -> None:
    data = dataset(VALUES, VALUES**2, kind="table")
    above, below = plot(data, score_dataset(data, model=table)).axes
    assert below.get_xlabel() == "row"
    assert [line.get_label() for line in above.lines] == ["p", "q"]


@pytest.mark.parametrize("merged", [False, True])
def test_each_row_of_several_series_is_scored_also_where_some_were_chosen(merged: bool) -> None:
    """By themselves series are numbered from 0 each; in a file their rows stand between each other."""
    series = {}
    for k, name in enumerate("ab"):
        rows = np.arange(k, 2 * N, 2) if merged else np.arange(N)
        series[name] = Series(name, TIMES, (VALUES + 40 * k,), positions=rows)
    both = Dataset("several", "metric", ("value",), "made up", series)
    scored = score_dataset(both, detector="zscore").frame()
    assert scored.series.tolist() == ["a", "b"] * N
    alone = score_dataset(both.select("b"), detector="zscore").frame()
    assert alone.series.tolist() == ["b"] * N
    np.testing.assert_array_equal(alone.score, scored.score[1::2])


def test_a_data_frame_is_scored_compared_trained_on_and_plotted_as_the_data_set_that_it_is() -> None:
    import pandas as pd

    from pipeline import compare
    from producers import open_frame

    times = pd.date_range("2026-03-01", periods=400, freq="5min")
    load = np.random.default_rng(0).normal(size=400)
    load[300:305] += 12
    frame = pd.DataFrame({"load": load, "label": (np.arange(400) // 5 == 60).astype(int)}, times)
    opened = open_frame(frame)
    scored = score_dataset(frame, detector="zscore")
    assert scored.frame().equals(score_dataset(opened, detector="zscore").frame())
    assert train(frame, detector="zscore").training_rows == train(opened, detector="zscore").training_rows
    assert plot(frame, scored) is not None
    one = compare(frame, "zscore", "1 per series per day")
    assert one.candidate.tolist() == ["zscore, 1 per series per day"]
    with pytest.raises(DataError, match="a DataFrame or Series is opened, not str"):
        score_dataset("load.csv", detector="zscore")
