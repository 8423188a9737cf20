"""What differs between two trials: incidents, not the minutes at which they begin."""

from pipeline.operations.looking_back.trying import Begun, Trial


def alert(series: str, since: int, until: int | None) -> Begun:
    at = "2026-01-01T{:02}:00:00.000Z".format
    return Begun(series, at(since), None if until is None else at(until), "info", "spike", "")


def test_an_alert_that_would_begin_sooner_or_end_later_neither_goes_nor_is_new() -> None:
    stays, goes, open_ = alert("a", 3, 5), alert("b", 3, 5), alert("c", 8, None)
    longer, comes, later = alert("a", 2, 3), alert("b", 6, 8), alert("c", 10, 12)
    trial = Trial([stays, goes, open_], [longer, comes, later], "", "", 0, {})
    assert trial.gone == [goes]
    assert trial.new == [comes]
