import numpy as np
import pytest

from detectors.budget import LEAST_ROWS, UNTIMED_ROWS, Budget, budget_rows, parse

DAY = 86_400_000


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("1 per series per month", Budget(1, 30 * DAY)),
        ("2 per week", Budget(2, 7 * DAY, shared=True)),
        ("1 per stream per year", Budget(1, 365 * DAY, shared=True)),
        ("0.5 per series per day", Budget(0.5, DAY)),
        ("1 per series per 3 months", Budget(1, 90 * DAY)),
        (" 1  per series per   month", Budget(1, 30 * DAY)),
        ("1 per 10000 rows", Budget(1, rows=10_000)),
        ("3 per series per 10000 rows", Budget(3, rows=10_000)),
    ],
)
def test_a_budget_is_read_as_people_write_it(text: str, budget: Budget) -> None:
    assert parse(text) == budget


@pytest.mark.parametrize(
    "text",
    ["", "1", "one per week", "0 per week", "0.0 per series per day", "-1 per day", "1e3 per day", "1 per fortnight", "1 per month per series",
     "1 per rows", "1 per 0 weeks", "1 per series per month!", "1 per\nseries", "nan per day", "1 per " + "9" * 40 + " days"],
)  # fmt: skip
def test_what_states_none_is_refused_in_one_line_with_how_it_is_written(text: str) -> None:
    with pytest.raises(ValueError, match="write it as") as told:
        parse(text)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300


def test_rows_follow_from_the_usual_step() -> None:
    month = parse("1 per series per month")
    np.testing.assert_allclose(budget_rows(month, [300_000, 60_000, 15_000]), [8640, 43_200, 172_800])
    assert budget_rows(month, 300_000, series=50) == 8640  # of each series: others do not matter
    assert budget_rows(month, 0) == UNTIMED_ROWS
    assert budget_rows(parse("2 per series per month"), 300_000) == 4320


def test_a_budget_of_the_stream_is_shared() -> None:
    week = parse("1 per week")
    np.testing.assert_allclose(budget_rows(week, 60_000, series=[1, 50]), [10_080, 504_000])
    # Series of different steps have the same share of alerts, not of rows.
    np.testing.assert_allclose(budget_rows(week, [60_000, 600_000], series=2), [20_160, 2016])


def test_no_budget_is_laxer_than_one_in_200_rows() -> None:
    assert budget_rows(parse("1 per series per month"), 30 * DAY) == LEAST_ROWS  # monthly values
    assert budget_rows(parse("1 per 10 rows"), 0) == LEAST_ROWS
