"""MATLAB files as ODDS writes them: the rows, their labels, both kinds of file, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from producers.datasets import open_dataset, open_file
from producers.errors import DataError

X = np.arange(12.0).reshape(6, 2) / 4
Y = np.array([[0], [0], [1], [0], [0], [1]], np.uint8)


def classic(path: Path, **arrays: object) -> Path:
    scipy.io.savemat(path, arrays, do_compression=True)
    return path


def newer(path: Path, **arrays: np.ndarray) -> Path:
    """As MATLAB 7.3 does it: a header of 512 bytes before the HDF5 file, and matrices turned."""
    inner = io.BytesIO()
    with h5py.File(inner, "w", userblock_size=512) as file:
        for name, a in arrays.items():
            file[name] = a.T
    data = bytearray(inner.getvalue())
    data[:19] = b"MATLAB 7.3 MAT-file"
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize("write", [classic, newer])
def test_the_matrix_becomes_columns_and_the_vector_labels(write: object, tmp_path: Path) -> None:
    data = open_file(write(tmp_path / "thyroid.mat", X=X, y=Y))  # type: ignore[operator]
    assert (data.name, data.kind, data.channels) == ("thyroid", "table", ("X1", "X2"))
    [series] = data.series().values()
    assert series.values.tolist() == X.tolist()
    [labels] = data.labels().values()
    assert labels.anomalous.tolist() == [False, False, True, False, False, True]
    assert "MATLAB" in data.reading[0]


def test_the_only_matrix_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    data = open_file(classic(tmp_path / "a.mat", measured=X, note="text"))
    assert data.channels == ("measured1", "measured2")
    assert not data.labels()
    assert "note: left out: theta (2 x 3)" in open_file(classic(tmp_path / "b.mat", X=X, theta=np.ones((2, 3)))).reading


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"a": X, "b": X}, "which matrix holds the rows is not known: it has a 6 x 2, b 6 x 2"),
        ({"X": X, "y": Y[:3]}, "y has 3 labels, but X 6 rows"),
        ({"text": "only"}, "no matrix of numbers"),
    ],
)
def test_what_is_not_clear_is_refused(arrays: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        open_file(classic(tmp_path / "a.mat", **arrays))


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    file = classic(tmp_path / "a.mat", X=X, y=Y)
    file.write_bytes(file.read_bytes()[:160])
    with pytest.raises(DataError, match=r"a\.mat: cannot be read as MATLAB"):
        open_file(file)
    file.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40))
    with pytest.raises(DataError, match=r"a\.mat: cannot be read as MATLAB"):
        open_file(file)


def test_what_is_too_large_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "a.mat"
    with h5py.File(file, "w") as inner:  # nothing is stored: the file is small
        inner.create_dataset("X", (100_000, 100_000), dtype="f8", chunks=(1000, 1000), compression="gzip")
    assert file.stat().st_size < 1 << 16
    with pytest.raises(DataError, match="more than 4 GiB"):
        open_file(file)


def test_a_file_of_odds_is_found_among_the_data_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEWATCH_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(
        DataError, match=r"odds-glass: .*odds/glass\.mat .* are not there; take glass\.mat from https://"
    ):
        open_dataset("odds-glass")
    (tmp_path / "odds").mkdir()
    classic(tmp_path / "odds" / "glass.mat", X=X, y=Y)
    data = open_dataset("odds-glass")
    assert (data.name, data.kind, len(data)) == ("odds-glass", "table", 6)
