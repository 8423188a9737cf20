"""Alerts against labels, drawn: one letter is ten minutes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from pipeline.alerts.records import Alert, DetectorRef, Evidence, rfc3339
from pipeline.demo.judge import Span, judge, judge_rows, last_words
from producers.datasets import Labels, Window

MINUTE = 60_000


def alert(
    first: int, last: int, *, series: str = "s", sequence: int = 0, status: str = "firing", name: str = ""
) -> Alert:
    return Alert(
        id=name or f"{series}-{first}",
        fingerprint=series,
        sequence=sequence,
        status=status,
        reason="anomaly",
        severity="warning",
        stream="demo",
        series=series,
        as_of=rfc3339(last),
        starts_at=rfc3339(first),
        last_seen=rfc3339(last),
        ends_at=None,
        observed=[1.0],
        expected=[0.0],
        band=None,
        score=5.0,
        peak_score=5.0,
        threshold=4.0,
        detector=DetectorRef("d", "1", "hash"),
        evidence=Evidence("t", 0, 0),
    )


def stretches(drawing: str) -> list[tuple[int, int]]:
    """Begin and end of each run of marks."""
    marked = np.array([c != "─" for c in f"─{drawing}─"], np.int8)
    edges = np.flatnonzero(np.diff(marked))
    return [(int(a) * 10 * MINUTE, int(b - 1) * 10 * MINUTE) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def labels(drawing: str) -> Mapping[str, Labels]:
    return {"s": Labels(tuple(Window(a, b) for a, b in stretches(drawing)), np.zeros(len(drawing), np.bool_))}


@pytest.mark.parametrize(
    ("windows", "alerts", "found", "false", "delays"),
    [
        ("───▓▓▓▓───", "────█─────", 1, 0, [10]),
        ("───▓▓▓▓───", "───█─█─█──", 1, 1, [0]),  # two in the window are one find, the third is beside it
        ("───▓▓▓▓───", "─███──────", 1, 0, [0]),  # there before the window: no delay, and not false
        ("───▓▓▓▓───", "──────███─", 1, 0, [30]),
        ("───▓▓▓▓───", "──█────█──", 0, 2, [None]),
        ("─▓▓──▓▓──", "──████───", 2, 0, [10, 0]),  # one alert over two windows finds both
        ("──────────", "──█───────", 0, 1, []),
        ("──▓▓──────", "──────────", 0, 0, [None]),
    ],
)
def test_found_false_and_late(windows: str, alerts: str, found: int, false: int, delays: list[int | None]) -> None:
    spans = last_words([alert(a, b) for a, b in stretches(alerts)])
    verdict = judge(spans, labels(windows), {})
    assert (verdict.found, len(verdict.false)) == (found, false)
    assert [None if f.delay_ms is None else f.delay_ms // MINUTE for f in verdict.findings] == delays


def test_an_alert_of_another_series_finds_nothing() -> None:
    verdict = judge(last_words([alert(0, 10 * MINUTE, series="other")]), labels("▓▓▓"), {})
    assert (verdict.found, len(verdict.false)) == (0, 1)


def test_a_window_in_the_training_part_counts_nowhere() -> None:
    verdict = judge([], labels("▓▓──▓▓"), {"s": 20 * MINUTE})
    assert [f.trained for f in verdict.findings] == [True, False]
    assert len(verdict.judged) == 1


def test_an_alert_is_as_long_as_its_last_record_says_and_pending_ones_do_not_count() -> None:
    records = [
        alert(0, 0, name="a", status="firing"),
        alert(0, 30 * MINUTE, name="a", sequence=1, status="resolved"),
        alert(0, 10 * MINUTE, name="a", sequence=0, status="firing"),  # what a crash repeats
        alert(0, 0, name="b", status="pending"),
    ]
    assert [(s.first, s.last) for s in last_words(records)] == [(0, 30 * MINUTE)]


def test_rows_are_counted_one_by_one() -> None:
    rows = judge_rows(np.array([1, 1, 0, 0, 1], np.bool_), np.array([1, 0, 1, 0, 1], np.bool_))
    assert (rows.recall, rows.precision) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_spans_know_what_they_meet() -> None:
    span = Span(alert(10, 20), alert(10, 20), 10, 20)
    assert span.meets(Window(20, 30))
    assert not span.meets(Window(21, 30))
