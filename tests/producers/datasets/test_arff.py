"""Files of Weka: what a head may say, what becomes of cells, and what hostile files cost."""

from __future__ import annotations

import csv
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from producers.datasets import open_file
from producers.datasets.base import Corrections
from producers.datasets.tables import sheets
from producers.errors import DataError

HEAD = "@relation load\n@attribute a numeric\n@attribute kind {x,y}\n@data\n"


def table(path: Path, text: str, **corrections: Any) -> dict[str, list[Any]]:
    file = path / "load.arff"
    file.write_bytes(text.encode())
    [sheet] = sheets(file, Corrections(**corrections))
    assert sheet.form == "ARFF"
    found: dict[str, list[Any]] = sheet.table.to_pydict()
    return found


@pytest.mark.parametrize(
    ("attributes", "rows", "found"),
    [
        ("a numeric\n@attribute b REAL", "1, +2.5\r\n?,1e3", {"a": [1, None], "b": [2.5, 1000]}),
        ('\'a b\' integer\n@Attribute "c\\"d" {0,1}', "1,0\n% no row\n \n2,?", {"a b": [1, 2], 'c"d': ["0", None]}),
        (
            "k {'x, 1', \"it's\", y}\n@attribute a numeric",
            "'x, 1',1\n\"it's\" , 2\n'it\\'s',3\n y ,4",
            {"k": ["x, 1", "it's", "it's", "y"], "a": [1, 2, 3, 4]},
        ),
        ("s string\n@attribute 'it' {5\"}", '\'say "no", please\',5"', {"s": ['say "no", please'], "it": ['5"']}),
        ("a{x,y}\n@attribute b numeric", "x\t1\ny\t?", {"a": ["x", "y"], "b": [1, None]}),
    ],
)
def test_cells_are_what_the_head_says(tmp_path: Path, attributes: str, rows: str, found: dict[str, list[Any]]) -> None:
    text = f"% of Weka\n\n@RELATION load\n\n@attribute {attributes}\n@DATA\n{rows}\n"
    assert table(tmp_path, text) == found
    assert table(tmp_path, text.replace("\r", "").replace("\n", "\r\n")) == found


@pytest.mark.parametrize(
    ("pattern", "cell"),
    [
        ("", "2026-03-01T07:30:00"),
        ("'yyyy-MM-dd HH:mm'", "'2026-03-01 07:30'"),
        ("\"yyyy-MM-dd'T'HH:mm:ss.SSS\"", '"2026-03-01T07:30:00.000"'),
        ("dd.MM.yy", "01.03.26"),
    ],
)
def test_dates_are_read_by_their_pattern(tmp_path: Path, pattern: str, cell: str) -> None:
    found = table(tmp_path, f"@relation r\n@attribute t date {pattern}\n@attribute a real\n@data\n{cell},1\n?,2\n")
    assert str(found["t"][0]) == ("2026-03-01 00:00:00" if pattern == "dd.MM.yy" else "2026-03-01 07:30:00")
    assert found["t"][1] is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + "1,z\n", "cannot be read as ARFF: 'kind' is 'z', which is none of its categories"),
        (HEAD + "one,x\n", "cannot be read as ARFF: 'a': .*'one'"),
        (HEAD + "{0 1, 1 x}\n", "cannot be read as ARFF: its rows are sparse"),
        (HEAD + "1,x\n2\n", r"cannot be read as ARFF: .*Expected 2 columns, got 1.* --read bad-rows=drop"),
        (HEAD, "there are no rows in it"),
        (HEAD.replace("kind", "a") + "1,x\n", "cannot be read as ARFF: two attributes are called 'a'"),
        (HEAD.replace("@data", "1,x"), "there is no line @data"),
        (HEAD.replace("numeric", "relational") + "1,x\n", "attribute 'a' is 'relational'"),
        (HEAD.replace("numeric", "date 'yyyy Z'") + "1,x\n", "'Z' in dates 'yyyy Z' is not read"),
        (HEAD.replace("numeric", "date") + "1,x\n", "cannot be read as ARFF: 'a': time data"),
        (HEAD.replace("numeric", "date 'yyyy yyyy'") + "1 1,x\n", "cannot be read as ARFF: 'a': "),
        (HEAD.replace("{x,y}", "{}") + "1,x\n", "which is none of its categories"),
        ("@relation r\n@data\n1\n", "it names no attributes"),
        ("@relation r\n@atribute a numeric\n@data\n1\n", "is nothing that a head has"),
        ("@relation r\n" + "".join(f"@attribute a{i} real\n" for i in range(5000)) + "@data\n1\n", "5,000 columns"),
    ],
)
def test_what_is_no_such_file_is_refused_in_a_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        table(tmp_path, text)


def test_rows_that_do_not_fit_are_left_out_where_that_is_wished(tmp_path: Path) -> None:
    assert table(tmp_path, HEAD + "1,x\n2\n3,y\n", drop_bad_rows=True) == {"a": [1, 3], "kind": ["x", "y"]}


def test_a_long_category_costs_its_length_once(tmp_path: Path) -> None:
    long = "y" * 50_000
    file = tmp_path / "load.arff"
    file.write_text(HEAD.replace("{x,y}", f"{{x,{long}}}") + "1,x\n2,?\n" * 2500 + f"3,{long}\n")
    open_file(tmp_path / "load.arff")  # brings what is read with
    tracemalloc.start()  # numpy tells it of its arrays
    data = open_file(file)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.concatenate([s.timestamps for s in data.series().values()]).size == 5001
    assert most < 20e6  # a column of 50,000 bytes a cell took 240 MB


@pytest.mark.parametrize(
    "line", [",'" * 40_000, "'" + "\\'" * 40_000, "'a'b," * 20_000, ' "' * 40_000, " " * 80_000 + "x"]
)
def test_no_line_takes_time_beyond_its_length(tmp_path: Path, line: str) -> None:
    limit = csv.field_size_limit()
    begun = time.process_time()
    for text in (HEAD + line + "\n", HEAD.replace("x,y", line) + "1,x\n", HEAD.replace("kind", line) + "1,x\n"):
        with suppress(DataError):
            table(tmp_path, text)
    assert time.process_time() - begun < 2  # 20 KB of the first took 1.7 s, 80 KB sixteen times that
    assert csv.field_size_limit() == limit
    with pytest.raises(DataError, match="longer than 1 MiB"):
        table(tmp_path, HEAD + line * 60)
