"""The demo's line about an alert is one sentence, whatever stands in names."""

from __future__ import annotations

from rich.text import Text

from pipeline.alerts.records import Alert, DetectorRef, Evidence, Feature, Moment
from pipeline.demo.live import alert_line

AT = "2026-01-01T00:00:00.000Z"


def plain(series: str, summary: str, features: list[Feature] | None = None, peak: Moment | None = None) -> str:
    alert = Alert(
        "0" * 32, "1" * 32, 0, "firing", "anomaly", "warning", "s", series, AT, AT, AT, None, None, None, None, None, 5.0, None,
        DetectorRef("d", "1", ""), Evidence("in", 0, 0, features=features), peak=peak, summary=summary,
    )  # fmt: skip
    return Text.from_markup(alert_line(alert)).plain.partition("warning  ")[2]


def test_what_a_row_was_anomalous_for_ends_its_sentence() -> None:
    features = [Feature("duration[s]", 182.0, 2.0), Feature("flag", "SF", 1.0), Feature("bytes", 1.0, 0.5)]
    told = plain("kdd/all", "kdd/all is anomalous, since 1998-07-01 00:32:43.800 UTC.", features)
    assert told == (
        "s  all is anomalous, since 1998-07-01 00:32:43.800 UTC, because of duration[s] = 182.0, flag = SF."
    )


def test_a_metric_says_its_own_sentence() -> None:
    summary = "a/b disk KiB/s jumped to 3, 2 above the expected 1, at 2026-01-01 00:00 UTC."
    assert plain("a/b", summary, peak=Moment(AT, 3.0, 1.0, "disk KiB/s")) == f"s  {summary[2:]}"


def test_no_column_is_no_cause() -> None:
    assert plain("a", "a is anomalous, at noon.") == "s  a is anomalous, at noon."
