"""Columns as Arrow reads them: the same as the slower ways, or none at all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from producers.datasets import dates
from producers.datasets.base import Corrections
from producers.datasets.casting import moments, numbers
from producers.datasets.columns import Cells
from producers.datasets.tables import Sheet

PLAIN = [
    ["2024-01-01 00:00:00", "2024-01-01T00:01:00", "1969-12-31 23:59:59.9995"],
    ["2024-01-01", "2024-02-29", "1600-01-01"],
    ["2024-01-01T00:00:00Z", "2024-01-01T01:00:00.25+01:00", "1969-12-31T23:59:59.0005Z"],
    ["2024-01-01 00:00", "", "2024-01-01 00:02"],
]
ODD = [
    ["2024-01-01 00:00:00", "2024-01-01 24:00:00"],
    ["2024-01-01T00:00:00Z", "2024-01-01T00:01:00"],
    ["2024-01-01 00:00:00", "soon"],
    ["01/02/2024", "02/02/2024"],
]


@pytest.mark.parametrize("cells", PLAIN)
def test_plain_times_are_what_the_slower_way_reads(cells: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = pd.Series(cells, dtype="str")
    missing = np.asarray(text == "", np.bool_)
    zoned = cells[0].endswith("Z")
    quick = moments(text, missing, zoned=zoned)
    monkeypatch.setattr(dates, "moments", lambda *_, **__: None)
    slow = dates.from_text(text, missing, "UTC", Corrections())
    assert quick is not None
    assert quick.tolist() == slow.ms.tolist()
    assert slow.wrong.tolist() == missing.tolist()
    assert slow.form == ("ISO 8601" if zoned else "ISO 8601 in UTC")


@pytest.mark.parametrize("cells", ODD)
def test_times_of_another_kind_are_left_to_others(cells: list[str]) -> None:
    text = pd.Series(cells, dtype="str")
    assert all(moments(text, np.zeros(len(cells), np.bool_), zoned=zoned) is None for zoned in (False, True))


def test_local_times_are_not_taken_for_utc() -> None:
    text = pd.Series(["2024-07-01 00:00:00"], dtype="str")
    read = dates.from_text(text, np.zeros(1, np.bool_), "Europe/Berlin", Corrections())
    assert read.ms.tolist() == [1_719_784_800_000]


def test_numbers_with_missing_ones_among_them_in_several_chunks() -> None:
    column = pa.chunked_array([["1.5", " -2e3 "], ["NA", None], [], ["7"]])
    cells = Cells(Sheet("f", pa.table({"v": column}), "CSV", ","), Corrections())
    text, missing = cells.text("v")
    assert text.tolist() == ["1.5", "-2e3", "NA", "", "7"]
    assert missing.tolist() == [False, False, True, True, False]
    found = numbers(text, missing)
    assert found is not None
    np.testing.assert_array_equal(found, [1.5, -2000.0, np.nan, np.nan, 7.0])
    assert numbers(text, np.zeros(5, np.bool_)) is None
    assert cells.different("v") == 4
    assert cells.different("v", 1) > 1
    assert cells.present("v", 2).tolist() == ["1.5", "-2e3"]
    assert cells.present("v", 3).tolist() == ["1.5", "-2e3", "7"]
