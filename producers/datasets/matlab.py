"""MATLAB files as tables, as ODDS (Rayana, "Outlier Detection DataSets", Stony Brook 2016) writes them: a matrix `X`, a vector `y` of labels.

Versions 4 to 7 are read by scipy; 7.3 is HDF5 with its matrices turned, and is read by h5py. What a variable unpacks to is told by its
head, and bounded before it is unpacked.

    X (n, d)   columns X1 ... Xd
    y (n, 1)   column `label`: 0 normal, else an anomaly
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from producers.datasets.unpacking import MAX_BYTES
from producers.errors import DataError

MATRICES = ("X", "x", "data", "features")
LABELS = ("y", "Y", "label", "labels", "gt")
LABEL_COLUMN = "label"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_USER_BLOCK = 512
"""Bytes before the HDF5 file that MATLAB 7.3 writes: its text header."""


def is_matlab(data: bytes) -> bool:
    """Whether bytes are a MATLAB file of version 5 to 7.3, or HDF5. One of version 4 has no mark."""
    return data.startswith((b"MATLAB ", _HDF5))


def matlab_table(path: Path, data: bytes) -> tuple[pa.Table, str, tuple[str, ...]]:
    """The table that a file holds, its form for people, and notes.

    Raises
    ------
    DataError
        It is damaged or too large; there is no matrix, or several of which none is called X; labels of another length.
    """
    hdf5 = data.startswith(_HDF5) or data[_USER_BLOCK : _USER_BLOCK + 8] == _HDF5
    try:
        arrays = _hdf5(path, data) if hdf5 else _classic(path, data)
    except DataError:
        raise
    except Exception as error:  # damaged bytes: scipy raises whatever its parser stumbles on
        msg = f"{path}: cannot be read as MATLAB: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        raise DataError(msg) from error
    vectors = {n: a.ravel() for n, a in arrays.items() if min(a.shape) == 1 and a.size > 1}
    alike = len(vectors) == len(arrays) and len({len(v) for v in vectors.values()}) == 1
    if alike and len(set(vectors) - set(LABELS)) > 1:  # a vector for each column; X alone with its labels is a matrix
        table = pa.table({n: pa.array(np.asarray(v, np.float64)) for n, v in vectors.items()})
        return table, f"MATLAB {'7.3' if hdf5 else '5'} (vectors {', '.join(vectors)})", ()
    name, matrix = _matrix(path, arrays)
    columns = {f"{name}{i + 1}": pa.array(column) for i, column in enumerate(np.ascontiguousarray(matrix.T))}
    for label in (n for n in LABELS if n in arrays):
        y = arrays[label].ravel()
        if len(y) != len(matrix):
            msg = f"{path}: {label} has {len(y):,} labels, but {name} {len(matrix):,} rows"
            raise DataError(msg)
        columns[LABEL_COLUMN] = pa.array(y.astype(np.int64) if np.array_equal(y, np.round(y)) else y)
        break
    labels = label if LABEL_COLUMN in columns else "no labels"
    others = [f"{n} ({a.shape[0]:,} x {a.shape[1]:,})" for n, a in arrays.items() if n not in (name, labels)]
    notes = (f"left out: {', '.join(others)}",) if others else ()
    return pa.table(columns), f"MATLAB {'7.3' if hdf5 else '5'} ({name} and {labels})", notes


def _classic(path: Path, data: bytes) -> dict[str, NDArray[Any]]:
    import scipy.io

    file: Any = io.BytesIO(data)
    there = [(name, shape) for name, shape, kind in scipy.io.whosmat(file) if _numeric(kind) and len(shape) == 2]
    check_size(path, {name: int(np.prod(shape, dtype=object)) for name, shape in there})
    wanted = [name for name, _ in there]
    file.seek(0)
    found = scipy.io.loadmat(file, variable_names=wanted, mat_dtype=True)
    arrays = {name: found[name] for name in wanted}
    return {name: np.asarray(a.todense() if hasattr(a, "todense") else a) for name, a in arrays.items()}


def _numeric(kind: str) -> bool:
    return kind in {"double", "single", "logical", "sparse"} or kind.startswith(("int", "uint"))


def _hdf5(path: Path, data: bytes) -> dict[str, NDArray[Any]]:
    import h5py

    with h5py.File(io.BytesIO(data), "r") as file:
        there = {
            name: item
            for name, item in file.items()
            if isinstance(item, h5py.Dataset) and item.ndim == 2 and item.dtype.kind in "fiub"
        }
        check_size(path, {name: int(item.size) for name, item in there.items()})
        return {name: np.asarray(item[()]).T for name, item in there.items()}


def check_size(path: Path, sizes: Mapping[str, int]) -> None:
    """Raise DataError where arrays of so many numbers are more than is read at once."""
    if (values := sum(sizes.values())) * 8 > MAX_BYTES:
        msg = f"{path}: holds {values:,} numbers, more than {MAX_BYTES >> 30} GiB, the most that is read at once; split it"
        raise DataError(msg)


def _matrix(path: Path, arrays: Mapping[str, NDArray[Any]]) -> tuple[str, NDArray[np.float64]]:
    """The matrix of rows: X, or the only one that there is."""
    named = [n for n in MATRICES if n in arrays and arrays[n].size]
    others = [n for n, a in arrays.items() if n not in LABELS and min(a.shape) > 1]
    found = named[:1] or (others if len(others) == 1 else [])
    if not found:
        there = (
            ", ".join(f"{n} {a.shape[0]:,} x {a.shape[1]:,}" for n, a in list(arrays.items())[:8])
            or "no matrix of numbers"
        )
        msg = f"{path}: which matrix holds the rows is not known: it has {there}; call it X (and its labels y)"
        raise DataError(msg)
    return found[0], np.asarray(arrays[found[0]], np.float64)
