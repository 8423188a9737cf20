"""`tidewatch score` on files as people have them: a row for each row, in order, or one line that says what to mend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from detectors.base import DetectorError
from detectors.evaluation.ranking import roc_auc
from detectors.judged import LEAST
from pipeline.cli import create_cli, one_line
from pipeline.errors import SettingsError, TidewatchError
from producers.errors import DataError, ProducerError

COLUMNS = ["timestamp", "series", "score", "calibrated_score", "anomalous", "alert_id"]
JUDGED = ["alarm", "expected", "lower", "upper"]
"""Besides, of metrics by the default, where they have one column."""
N = 600


def _values(n: int = N) -> np.ndarray:
    rng = np.random.default_rng(3)
    values = 50 + 10 * np.sin(np.arange(n) / 8) + rng.normal(0, 1, n)
    values[int(0.8 * n) : int(0.8 * n) + 3] += 60
    return values


def _frame(n: int = N) -> pd.DataFrame:
    return pd.DataFrame({"timestamp": pd.date_range("2024-01-01", periods=n, freq="5min"), "value": _values(n)})


def _file(folder: Path, frame: pd.DataFrame, name: str = "load.csv", **how: object) -> Path:
    path = folder / name
    frame.to_csv(path, index=False, **how)  # type: ignore[call-overload]
    return path


def _score(file: Path, *options: str, detector: str = "zscore") -> tuple[pd.DataFrame, str]:
    """The table that is written, and what is said; the cheap detector unless a test is about the mix."""
    out = file.parent / "scores.csv"
    chosen = ("--detector", detector) if detector else ()
    done = CliRunner().invoke(create_cli(), ["score", str(file), "--out", str(out), *chosen, *options])
    if done.exception is not None:
        raise done.exception
    frame = pd.read_csv(out)
    alone = detector not in ("", "default")
    assert list(frame)[: len(COLUMNS)] == COLUMNS
    if alone:  # of a table its alarm decides, whatever the detector
        assert list(frame)[len(COLUMNS) :] in ([], ["alarm"])
    return frame, done.output


def _refused(file: Path, *options: str, detector: str = "zscore") -> str:
    with pytest.raises((TidewatchError, ProducerError, DetectorError)) as caught:
        _score(file, *options, detector=detector)
    line = one_line(caught.value)
    assert "\n" not in line
    return line


def _spike_is_highest(scores: pd.DataFrame, n: int = N) -> bool:
    return scores["calibrated_score"].idxmax() in range(int(0.8 * n), int(0.8 * n) + 3)


@pytest.mark.parametrize("n", [40, 80, 150, 300])
def test_short_files_are_scored_behind_their_first_rows(tmp_path: Path, n: int) -> None:
    scores, _ = _score(_file(tmp_path, _frame(n)), detector="")
    assert len(scores) == n
    first = n // 2 if n // 2 >= LEAST else 16  # what is too short to learn from is judged as a new series is
    assert scores["score"][:first].isna().all()
    assert scores["score"][first:].notna().all()
    assert scores["score"].idxmax() in range(int(0.8 * n), int(0.8 * n) + 4)
    assert scores["anomalous"][int(0.8 * n) : int(0.8 * n) + 4].any()


@pytest.mark.parametrize("n", [12, 24, 31])
def test_files_of_a_few_months_are_scored_and_what_that_is_worth_is_said(tmp_path: Path, n: int) -> None:
    frame = _frame(n).assign(timestamp=pd.date_range("2022-01-01", periods=n, freq="MS"))
    scores, said = _score(_file(tmp_path, frame), detector="")
    assert scores["score"][n // 2 :].notna().all()
    assert "fewer than 32 rows: among so few hardly anything" in said
    assert "fewer than 32 rows" not in _score(_file(tmp_path, frame), "--set", "threshold.level=1.0", detector="")[1]


@pytest.mark.parametrize("n", [1, 2, 9])
def test_too_few_rows_say_how_many_are_needed(tmp_path: Path, n: int) -> None:
    assert "takes 10 rows" in _refused(_file(tmp_path, _frame(n)), detector="")
    assert "34 rows in the file" in _refused(_file(tmp_path, _frame(n)[["value"]]), detector="")


def test_few_rows_can_be_scored_with_more_of_them_to_learn_from(tmp_path: Path) -> None:
    scores, _ = _score(_file(tmp_path, _frame(20)), "--train-rows", "10", detector="")
    assert scores["score"].notna().sum() == 10


def test_a_file_without_rows_is_one_line(tmp_path: Path) -> None:
    assert "there are no rows" in _refused(_file(tmp_path, _frame(0)))


def test_a_file_of_which_no_row_could_be_scored_is_an_error_with_the_reason(tmp_path: Path) -> None:
    assert "600 of its 600 rows are learnt from" in _refused(_file(tmp_path, _frame()), "--train-rows", "100000")
    assert "of its 600 rows are learnt from" in _refused(
        _file(tmp_path, _frame()[["value"]]), "--train-rows", "100000", detector="pca"
    )


@pytest.mark.parametrize("value", [0.0, 5.0, -3e9])
def test_a_constant_series_is_normal(tmp_path: Path, value: float) -> None:
    scores, _ = _score(_file(tmp_path, _frame().assign(value=value)))
    assert len(scores) == N
    assert not scores["anomalous"].any()


@pytest.mark.parametrize(("scale", "offset"), [(1e-9, 0.0), (1e-9, 1e-3), (0.1, 1e12), (1e300, 0.0)])
def test_no_unit_is_too_large_or_too_small(tmp_path: Path, scale: float, offset: float) -> None:
    scores, _ = _score(_file(tmp_path, _frame().assign(value=_values() * scale + offset)))
    assert _spike_is_highest(scores)


def test_missing_and_infinite_values_repeat_the_last_score(tmp_path: Path) -> None:
    frame = _frame()
    frame["value"] = frame["value"].astype(object)
    frame.loc[frame.index % 9 == 4, "value"] = None
    frame.loc[300, "value"], frame.loc[301, "value"] = "inf", "-inf"
    scores, _ = _score(_file(tmp_path, frame))
    assert len(scores) == N
    assert (scores["score"][300:302] == scores["score"][299]).all()
    assert _spike_is_highest(scores)


def test_text_among_the_numbers_is_named_with_its_row(tmp_path: Path) -> None:
    frame = _frame().astype({"value": object})
    frame.loc[400, "value"] = "broken"
    assert "row 401, column 'value': 'broken' is not a number" in _refused(_file(tmp_path, frame))


def test_a_few_late_and_repeated_rows_repeat_the_last_score_and_are_told(tmp_path: Path) -> None:
    frame = _frame()
    frame = pd.concat([frame[:300], frame[297:300], frame[300:]])
    scores, said = _score(_file(tmp_path, frame))
    assert len(scores) == N + 3
    assert (scores["score"][300:303] == scores["score"][299]).all()
    assert "2 rows are older than the row before them" in said
    assert "1 rows have the time stamp of another row" in said


@pytest.mark.parametrize("order", ["newest first", "shuffled"])
def test_a_file_in_another_order_is_read_in_the_order_of_time(tmp_path: Path, order: str) -> None:
    in_order, _ = _score(_file(tmp_path, _frame()))
    at = np.arange(N)[::-1] if order == "newest first" else np.random.default_rng(0).permutation(N)
    scores, said = _score(_file(tmp_path, _frame().iloc[at]))
    assert "they were read in that order" in said
    np.testing.assert_array_equal(scores["score"], in_order["score"].to_numpy()[at])


def test_gaps_and_irregular_steps_are_scored(tmp_path: Path) -> None:
    frame = _frame()
    gaps, _ = _score(_file(tmp_path, frame[(frame.index % 50) < 40]), detector="")
    assert len(gaps) == 480
    assert gaps["score"].notna().sum() == 240
    rng = np.random.default_rng(1)
    moved = frame.assign(timestamp=frame["timestamp"] + pd.to_timedelta(rng.exponential(200, N).cumsum(), unit="s"))
    irregular, _ = _score(_file(tmp_path, moved))
    assert _spike_is_highest(irregular)


@pytest.mark.parametrize(
    "spelling",
    ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S+02:00", "%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M"],
)
def test_times_are_read_as_they_are_written(tmp_path: Path, spelling: str) -> None:
    frame = _frame()
    frame["timestamp"] = frame["timestamp"].dt.strftime(spelling)
    scores, _ = _score(_file(tmp_path, frame))
    shift = pd.Timedelta(hours=2 if "+" in spelling else 0)
    assert pd.Timestamp(scores["timestamp"].iloc[-1]) == pd.Timestamp("2024-01-03T01:55:00Z") - shift
    assert _spike_is_highest(scores)


@pytest.mark.parametrize("factor", [1, 1000])
def test_times_may_be_numbers_since_1970_or_count_from_one(tmp_path: Path, factor: int) -> None:
    since = (1_704_067_200 + 300 * np.arange(N)) * factor
    scores, _ = _score(_file(tmp_path, _frame().assign(timestamp=since)))
    assert scores["timestamp"][1] == "2024-01-01T00:05:00.000Z"
    counted, _ = _score(_file(tmp_path, _frame().assign(timestamp=np.arange(1, N + 1))))
    assert _spike_is_highest(counted)


@pytest.mark.parametrize(("sign", "name"), [(";", "a.csv"), ("\t", "a.csv"), ("\t", "a.tsv"), (",", "a.csv.gz")])
def test_delimiters_quotes_and_marks_at_the_start_are_understood(tmp_path: Path, sign: str, name: str) -> None:
    plain, _ = _score(_file(tmp_path, _frame()))
    other, _ = _score(_file(tmp_path, _frame(), name, sep=sign, quoting=1, encoding="utf-8-sig"))
    np.testing.assert_array_equal(other["score"], plain["score"])


def test_parquet_in_and_out(tmp_path: Path) -> None:
    plain, _ = _score(_file(tmp_path, _frame()))
    for zone in (None, "UTC"):
        frame = _frame()
        frame["timestamp"] = frame["timestamp"].dt.tz_localize(zone)
        frame.to_parquet(tmp_path / "load.parquet")
        arguments = [
            "score",
            str(tmp_path / "load.parquet"),
            "--out",
            str(tmp_path / "s.parquet"),
            "--detector",
            "zscore",
        ]
        assert CliRunner().invoke(create_cli(), arguments).exit_code == 0
        found = pd.read_parquet(tmp_path / "s.parquet")
        assert list(found) == COLUMNS
        np.testing.assert_array_equal(found["score"], plain["score"])


def test_the_time_column_is_found_by_its_dates_and_a_feature_called_time_is_none(tmp_path: Path) -> None:
    _, said = _score(_file(tmp_path, _frame().rename(columns={"timestamp": "read at"})))
    assert "metric in the time of 'read at'" in said
    rng = np.random.default_rng(0)
    payments = pd.DataFrame({"Time": np.sort(rng.integers(0, 400, N)), "amount": rng.exponential(20, N)})
    _, said = _score(_file(tmp_path, payments), detector="pca")
    assert "table, the rows in their order" in said
    assert "judged by Time, amount" in said


def test_interleaved_series_of_different_lengths_keep_their_rows(tmp_path: Path) -> None:
    frame = pd.concat([_frame().assign(host="a"), _frame(200).assign(host="b"), _frame(30).assign(host="c")])
    frame = frame.sort_values("timestamp", kind="stable")
    scores, _ = _score(_file(tmp_path, frame), "--series-column", "host")
    assert scores["series"].tolist() == frame["host"].tolist()
    alone, _ = _score(_file(tmp_path, _frame()))
    np.testing.assert_array_equal(scores["score"][scores["series"] == "a"], alone["score"])


def test_missing_cells_among_several_columns_are_filled_in_and_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    frame = _frame().assign(other=rng.normal(0, 1, N))
    frame.loc[rng.random(N) < 0.3, "other"] = np.nan
    scores, said = _score(_file(tmp_path, frame))
    assert "cells are missing; the column's last value stands for each" in said
    assert scores["score"].nunique() > 0.9 * scores["score"].notna().sum()
    table, said = _score(_file(tmp_path, frame.drop(columns="timestamp")), detector="pca")
    assert "the column's median stands for each" in said
    assert table["score"].notna().sum() == N - 90


def _table() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(rng.normal(size=(N, 3)), columns=list("abc"))
    frame["kind"] = rng.choice(["x", "y"], N)
    frame["id"] = [f"row {i}" for i in range(N)]
    frame["label"] = (rng.random(N) < 0.02).astype(int)
    return frame


def test_labels_and_identifiers_are_not_judged_and_that_is_said(tmp_path: Path) -> None:
    scores, said = _score(_file(tmp_path, _table()), detector="pca")
    assert "judged by a, b, c, kind; left out: id (different in most rows), label (labels)" in said
    other, _ = _score(
        _file(tmp_path, _table().assign(label=0, id="same")), "--value-columns", "a,b,c,kind", detector="pca"
    )
    np.testing.assert_array_equal(scores["score"], other["score"])
    _, said = _score(_file(tmp_path, _table()), "--value-columns", "a,label", detector="pca")
    assert "judged by a, label (--value-columns)" in said


def test_the_odd_row_of_a_small_table_ranks_first(tmp_path: Path) -> None:
    frame = _table()[:100]
    frame.loc[90, "a"] = 50.0
    scores, _ = _score(_file(tmp_path, frame), detector="")
    assert scores["score"].notna().sum() == 85
    assert scores["score"].idxmax() == 90


def test_fraud_among_the_rows_that_are_learnt_from_does_not_hide_the_fraud_behind_them(tmp_path: Path) -> None:
    """Columns that go together, wild values now and then, and one row in twenty that breaks the habit from the first row on."""
    rng = np.random.default_rng(4)
    hidden = rng.normal(size=(3000, 2))
    values = hidden @ rng.normal(size=(2, 8)) + rng.normal(0.0, 0.2, (3000, 8))
    values[rng.random(values.shape) < 0.002] *= 30.0
    odd = np.arange(3000) % 20 == 7
    values[odd] = rng.permuted(values[odd], axis=0)
    scores, _ = _score(_file(tmp_path, pd.DataFrame(values, columns=list("abcdefgh"))), detector="")
    learnt_from = 450
    score = scores["score"].to_numpy()[learnt_from:]
    assert len(np.unique(score)) == len(score)
    assert roc_auc(odd[learnt_from:].astype(np.int8), score) > 0.95


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--detector", "lstmm"), "lstm"),
        (("--value-columns", "load"), "it has timestamp, value"),
        (("--timestamp-column", "when"), "it has timestamp, value"),
        (("--series-column", "host"), "it has timestamp, value"),
        (("--detector", "rbm", "--table", "--value-columns", "timestamp"), ""),
        (("--table", "--timestamp-column", "timestamp"), "exclude each other"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    file = _file(tmp_path, _frame())
    if said:
        assert said in _refused(file, *options, detector="")


def test_an_output_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    file = _file(tmp_path, _frame())
    (tmp_path / "plain").write_text("")
    for out in (tmp_path, tmp_path / "plain" / "scores.csv"):
        done = CliRunner().invoke(create_cli(), ["score", str(file), "--out", str(out)])
        assert isinstance(done.exception, SettingsError)
        assert "cannot be written" in str(done.exception)


def test_columns_that_share_a_name_and_other_encodings_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "twice.csv"
    file.write_text("timestamp,value,value\n2024-01-01,1,2\n")
    assert "two columns are called 'value'" in _refused(file)
    file.write_bytes("timestamp,value\n2024-01-01,3 \xe9\n".encode("latin1"))
    with pytest.raises(DataError, match="value: text"):
        _score(file)


def test_a_channel_that_leaves_the_others_company_is_seen(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    shared = np.convolve(rng.normal(size=N + 20), np.ones(21), "valid")
    frame = _frame().drop(columns="value")
    for name, weight in (("a", 1.0), ("b", -2.0), ("c", 0.5)):
        frame[name] = weight * shared + rng.normal(0, 0.1, N)
    frame.loc[480:500, "b"] *= -1  # within its range, but against the others
    scores, _ = _score(_file(tmp_path, frame), detector="")
    assert scores["score"].idxmax() in range(480, 510)


def test_alerts_and_report_are_written_and_told(tmp_path: Path) -> None:
    alerts, report = tmp_path / "new/alerts.csv", tmp_path / "new/report.html"
    _, said = _score(_file(tmp_path, _frame()), "--alerts", str(alerts), "--report", str(report))
    [first, *_] = pd.read_csv(alerts).to_dict("records")
    assert first["series"] == "load"
    assert first["summary"] in said
    assert "Content-Security-Policy" in report.read_text()


def test_settings_of_stream_and_detector_reach_the_scores(tmp_path: Path) -> None:
    usual, _ = _score(_file(tmp_path, _frame()))
    none, _ = _score(_file(tmp_path, _frame()), "--set", "threshold.level=12")
    other, _ = _score(_file(tmp_path, _frame()), "--window", "8", "--set", "floor=0.5")
    assert usual["anomalous"].any()
    assert not none["anomalous"].any()
    assert (usual["score"] == none["score"])[usual["score"].notna()].all()
    assert (usual["score"] != other["score"]).any()


def test_a_model_file_scores_a_file_without_learning(tmp_path: Path) -> None:
    file, model = _file(tmp_path, _frame()), tmp_path / "load.tidewatch"
    done = CliRunner().invoke(create_cli(), ["train", "zscore", "--data", str(file), "--out", str(model)])
    assert done.exit_code == 0, done.output
    scores, said = _score(file, "--model", str(model), detector="")
    assert _spike_is_highest(scores)
    assert "learnt from" not in said


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--set", "threshold.levl=3"), "threshold.levl"),
        (("--set", "hiden=3"), "no such setting of zscore"),
        (("--window", "500"), "--train-rows of at least"),
        (("--model", "nowhere.tidewatch"), "exclude each other"),
        (("--alerts", "a.xlsx"), "must end with"),
        (("--report", "a.pdf"), "must end with"),
    ],
)
def test_wrong_choices_are_one_line(tmp_path: Path, options: tuple[str, ...], told: str) -> None:
    assert told in _refused(_file(tmp_path, _frame()), *options)


def test_metrics_have_both_outputs_and_the_band_of_the_alarm(tmp_path: Path) -> None:
    scores, said = _score(_file(tmp_path, _frame()), "--set", "training.epochs=2", detector="")
    assert list(scores) == [*COLUMNS, *JUDGED]
    judged = scores[N // 2 :]
    assert judged[["score", *JUDGED]].notna().all().all()
    assert scores[: N // 2][["score", *JUDGED]].isna().all().all()
    assert ((judged["alarm"] >= 0) == judged["anomalous"]).all()
    assert (judged["lower"] <= judged["expected"]).all()
    assert (judged["expected"] <= judged["upper"]).all()
    assert judged["alarm"].idxmax() in range(480, 483)
    assert "note: less than 32 hours in the history: times of day are not known (load)" in said


def test_rows_that_a_note_calls_learnt_from_are_those_that_are(tmp_path: Path) -> None:
    n = 24 * 8
    daily = 50 + 10 * np.sin(np.arange(n) / 24 * 2 * np.pi) + np.random.default_rng(3).normal(0, 0.5, n)
    hourly = pd.DataFrame({"timestamp": pd.date_range("2024-01-01", periods=n, freq="h"), "value": daily})
    file = _file(tmp_path, hourly)
    assert "less than two seasons of 1 d" in _score(file)[1]
    assert "less than two seasons" not in _score(file, "--set", "training.epochs=1", detector="default")[1]


def test_the_default_may_be_named(tmp_path: Path) -> None:
    file = _file(tmp_path, _frame(80))
    assert _score(file, detector="default")[0].equals(_score(file, detector="")[0])


def test_a_small_file_is_judged_with_what_it_allows(tmp_path: Path) -> None:
    frame = _frame(40).assign(value=np.random.default_rng(1).normal(50, 2, 40))
    frame.loc[36, "value"] = 75.0
    scores, _ = _score(_file(tmp_path, frame), detector="default")
    assert np.flatnonzero(scores["anomalous"]).tolist() == [36]
    assert scores["score"].idxmax() == 36


def test_several_columns_have_a_band_each(tmp_path: Path) -> None:
    file = _file(tmp_path, _frame(90).assign(other=np.random.default_rng(1).normal(0, 1, 90)))
    words = ["score", str(file), "--out", str(tmp_path / "s.csv")]
    done = CliRunner().invoke(create_cli(), words)
    assert done.exit_code == 0, done.output
    found = list(pd.read_csv(tmp_path / "s.csv"))
    assert found[len(COLUMNS) :] == ["alarm", *(f"{w}:{c}" for w in JUDGED[1:] for c in ("value", "other"))]


def test_holidays_are_those_of_a_country_by_an_option_also_where_the_model_is_there(tmp_path: Path) -> None:
    from detectors.model_file import load, save
    from detectors.recipes import METRIC
    from pipeline.offline.scoring.ready import train
    from producers.datasets import open_file

    n = 21 * 24
    values = np.random.default_rng(0).normal(10, 1, n) + 60 * (np.arange(n) // 24 % 7 < 5)
    values[14 * 24 : 15 * 24] -= 60  # Monday, 2024-01-15: Martin Luther King Jr. Day
    frame = pd.DataFrame({"timestamp": pd.date_range("2024-01-01", periods=n, freq="h"), "value": values})
    file = _file(tmp_path, frame)
    save(train(open_file(file), recipe=replace(METRIC, detectors=(("pca", {"window": 4}),))), tmp_path / "m")
    plain, _ = _score(file, "--model", str(tmp_path / "m"), detector="")
    told, _ = _score(file, "--model", str(tmp_path / "m"), "--country", "US", detector="")
    assert load(tmp_path / "m").calendar.holidays.by_year() == {}
    monday = slice(14 * 24, 15 * 24)
    assert plain["anomalous"][monday].any()
    assert not told["anomalous"][monday].any()


def test_a_country_that_there_is_not_is_one_line(tmp_path: Path) -> None:
    assert "--country us: no holidays are known of a country 'us'; is US meant?" in _refused(
        _file(tmp_path, _frame()), "--country", "us"
    )
