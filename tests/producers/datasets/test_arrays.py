"""Files of NumPy: what becomes of arrays, what is told of those that are left out, what is refused."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from producers.datasets import arrays as of_numpy
from producers.datasets import matlab, open_file, unpacking
from producers.errors import DataError

N = 300
TIMES = np.datetime64("2026-03-01") + np.arange(N) * np.timedelta64(5, "m")
LOAD = np.round(40 + np.sin(np.arange(N) / 9), 3)
MARKS = np.isin(np.arange(N), (150, 151, 152))
ROWS = np.random.default_rng(0).normal(size=(N, 3))


def archive(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def nested(*fields: Any) -> Any:
    return np.zeros(N, list(fields))


@pytest.mark.parametrize(
    "arrays",
    [
        {"timestamp": TIMES, "value": LOAD, "label": MARKS},
        {"time": TIMES.astype("datetime64[ns]"), "load": LOAD[:, None], "is_anomaly": MARKS.astype(np.uint8)},
        {"t": TIMES.astype("datetime64[ms]").astype(np.int64), "cpu": LOAD.astype(">f8"), "anomaly": MARKS},
        {"ts": TIMES.astype("datetime64[s]").astype(float), "y_label": MARKS, "cpu": LOAD},
        {"time": TIMES.astype(str), "cpu": LOAD, "label": np.where(MARKS, b"1", b"0")},
    ],
)
def test_vectors_are_columns_of_their_names(tmp_path: Path, arrays: dict[str, Any]) -> None:
    data = open_file(archive(tmp_path / "host.npz", **arrays))
    assert (data.name, data.kind, len(data.channels)) == ("host", "metric", 1)
    [series] = data.series().values()
    assert series.timestamps.tolist() == TIMES.astype("datetime64[ms]").astype(np.int64).tolist()
    assert series.values[:, 0].tolist() == LOAD.tolist()
    assert data.labels()["host"].anomalous.tolist() == MARKS.tolist()
    assert "NumPy" in data.reading[0]


def test_a_matrix_with_labels_is_a_table(tmp_path: Path) -> None:
    data = open_file(archive(tmp_path / "wine.npz", X=ROWS, y=MARKS[:, None].astype(np.uint8)))
    assert (data.kind, data.channels) == ("table", ("X1", "X2", "X3"))
    [series], [labels] = data.series().values(), data.labels().values()
    assert series.values.tolist() == ROWS.tolist()
    assert labels.anomalous.tolist() == MARKS.tolist()
    several = open_file(archive(tmp_path / "digits.npz", X=ROWS, y=np.arange(N) % 10))
    assert several.channels == ("X1", "X2", "X3", "y")
    assert any("y is no column of labels" in line for line in several.reading)


def test_texts_name_the_columns_and_what_is_left_out_is_told(tmp_path: Path) -> None:
    file = archive(
        tmp_path / "a.npz", values=ROWS, columns=np.array(["cpu", "mem", "disk"]), time=TIMES,
        meta=np.array({"host": "a"}, object), version=np.array(3),
    )  # fmt: skip
    data = open_file(file)
    assert (data.kind, data.channels) == ("metric", ("cpu", "mem", "disk"))
    assert "note: left out: meta (Python objects), version (one value)" in data.reading


def test_one_array_is_a_column_or_several(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", LOAD)
    np.save(tmp_path / "rows.npy", np.asfortranarray(ROWS))
    fields = np.zeros(N, [("time", "M8[s]"), ("load", "f4"), ("host", "S3")])
    fields["time"], fields["load"], fields["host"] = TIMES, LOAD, np.where(np.arange(N) % 2, b"a", b"b")
    np.save(tmp_path / "records.npy", fields)
    assert open_file(tmp_path / "one.npy").channels == ("value",)
    [rows] = open_file(tmp_path / "rows.npy").series().values()
    assert rows.values.tolist() == ROWS.tolist()
    records = open_file(tmp_path / "records.npy")
    assert (sorted(records.series()), records.channels) == (["a", "b"], ("load",))


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        (
            {"X_train": ROWS, "X_test": ROWS[:99]},
            r"which arrays belong together is not known: it has X_train \(300 x 3\), X_test",
        ),
        ({"windows": np.zeros((5, 4, 3))}, r"windows \(5 x 4 x 3\) is neither a column nor rows"),
        ({"value": ROWS.T.repeat(9, 1)}, r"value has 3 rows of 2,700 columns; .* save it turned: value\.T"),
        ({"value": LOAD * 1j}, "value holds complex128"),
        ({"value": np.array([1, "a", None], object)}, "holds Python objects, which are not read"),
        ({"value": np.zeros(0)}, "no array with rows"),
        ({"a": ROWS, "a1": LOAD}, "two columns would be called 'a1'"),
        ({"a": nested(("x", "f8"), ("y", [("x", "f8")]))}, "two columns would be called 'x'"),
        ({"a": nested(("x", "f8", 2), ("x2", "f8"))}, "two columns would be called 'x2'"),
    ],
)
def test_what_is_not_clear_is_refused(arrays: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        open_file(archive(tmp_path / "a.npz", **arrays))


def test_what_is_damaged_or_lies_is_refused_before_it_takes_room(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    np.save(file, LOAD)
    whole = file.read_bytes()
    for data, says in (
        (whole[:900], "its head says 2,400 bytes, but 772 follow"),
        (whole.replace(b"(300,), }" + b" " * 12, b"(3000000000000,), }  "), "its head says 24,000,000,000,000 bytes"),
        (whole.replace(b"(300,)", b"(300.("), "cannot be read as an array of NumPy"),
        (whole[:20], "cannot be read as an array of NumPy"),
    ):
        file.write_bytes(data)
        with pytest.raises(DataError, match=says):
            open_file(file)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.npy", whole[:128] + bytes(300 << 20))
    with pytest.raises(DataError, match="too much for its size"):
        open_file(tmp_path / "bomb.npz")


def headed(kind: str, shape: str) -> bytes:
    """A file whose head is all that there is of it."""
    head = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode()


@pytest.mark.parametrize("kind", ["'|S0'", "'<U0'", "[('a', '|S0')]", "[('a', 'i1', (0,))]", "[('a', [('b', '|V0')])]"])
def test_elements_of_no_bytes_are_refused(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "a.npy"
    file.write_bytes(headed(kind, "(100000,)"))
    with pytest.raises(DataError, match="of no bytes"):
        open_file(file)
    file.write_bytes(headed(f"[('x', 'i1'), ('y', [('z', {kind})])]", "(3,)") + b"abc")
    with pytest.raises(DataError, match="of no bytes"):
        open_file(file)


def test_the_fields_of_rows_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matlab, "MAX_BYTES", 8 * 3 * N)
    np.save(tmp_path / "a.npy", nested(("a", "i1"), ("b", "i1", 2)))
    assert len(of_numpy.numpy_table(tmp_path / "a.npy", (tmp_path / "a.npy").read_bytes())[0]) == N
    np.save(tmp_path / "a.npy", nested(("a", "i1"), ("b", [("c", "i1"), ("d", "i1", 2)])))
    with pytest.raises(DataError, match=f"holds {4 * N:,} numbers"):
        open_file(tmp_path / "a.npy")


def damaged() -> dict[str, bytes]:
    file = io.BytesIO()
    np.savez(file, a=LOAD)
    whole = file.getvalue()
    middle = len(whole) // 2
    locked, packed = bytearray(whole), bytearray(whole)
    told = whole.index(b"PK\x01\x02")
    locked[6] |= 1
    locked[told + 8] |= 1
    packed[told + 10] = 99
    text = headed("'<U1'", "(3,)")
    return {
        "flipped.npz": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "locked.npz": bytes(locked),
        "cut.npz.gz": gzip.compress(whole[:-40]),
        "packed.npz": bytes(packed),
        "codes.npy": text + b"\xff\xff\xff\x7f" * 3,
        "signs.npy": headed("'<U2'", "(3,)") + b"\x00\x00\x30\x00\x01\x00\x00\x00" * 3,
        "half.npy": text + b"\x00\xd8\x00\x00" * 3,
    }


@pytest.mark.parametrize("name", damaged())
def test_damaged_bytes_are_refused_in_a_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(damaged()[name])
    with pytest.raises(DataError, match=rf"{name}: .*; .*(again|anew|unpack)"):
        open_file(tmp_path / name)


def test_times_that_no_calendar_has_are_refused(tmp_path: Path) -> None:
    rows = nested(("time", "M8[s]"), ("load", "f8"))
    rows["time"], rows["time"][7] = TIMES, np.datetime64("30000-01-01")
    np.save(tmp_path / "a.npy", rows)
    with pytest.raises(DataError, match=r"a\.npy, column 'time': holds times outside the years 1 to 9999"):
        open_file(tmp_path / "a.npy")


def test_a_workbook_in_another_packing_is_bounded_and_may_be_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book, file = io.BytesIO(), tmp_path / "a.xlsx.gz"
    pd.DataFrame({"time": TIMES, "load": LOAD}).to_excel(book, index=False)
    whole = bytearray(book.getvalue())
    file.write_bytes(gzip.compress(whole))
    assert open_file(file).channels == ("load",)
    with monkeypatch.context() as tight:
        tight.setattr(unpacking, "FREE_BYTES", 1 << 12)
        tight.setattr(unpacking, "MAX_RATIO", 1)
        with pytest.raises(DataError, match="too much for its size"):
            open_file(file)
    whole[whole.index(b"xl/worksheets/sheet1.xml") + 60] ^= 255
    file.write_bytes(gzip.compress(whole))
    with pytest.raises(DataError, match="cannot be read as Excel"):
        open_file(file)


@pytest.mark.parametrize("name", ["a.npz", "a.npz.gz"])
def test_what_the_members_take_together_is_bounded(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "FREE_BYTES", 1 << 20)
    file = io.BytesIO()
    np.savez_compressed(file, **{f"a{i}": np.zeros(100_000) for i in range(20)})
    whole = file.getvalue()
    (tmp_path / name).write_bytes(gzip.compress(whole) if name.endswith("gz") else whole)
    with pytest.raises(DataError, match="too much for its size"):
        open_file(tmp_path / name)


def test_members_that_say_less_than_they_hold_are_summed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, **{f"a{i}": np.zeros(100_000) for i in range(20)})
    monkeypatch.setattr(unpacking, "FREE_BYTES", 1 << 20)
    monkeypatch.setattr(unpacking, "check_told", lambda path, data: None)
    with pytest.raises(DataError, match="too much for its size"):
        unpacking.members(tmp_path, file.getvalue())


def test_two_arrays_of_one_name_in_two_folders_are_told(tmp_path: Path) -> None:
    path = tmp_path / "twice.npz"
    np.savez(path, **{"a/value": np.arange(50.0), "b/value": np.arange(50.0)})
    with pytest.raises(DataError, match="two arrays are called 'value'"):
        open_file(path)
