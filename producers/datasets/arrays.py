"""NumPy files as tables: `.npy`, one array, and `.npz`, arrays with names.

    .npy   (n,)       column `value`                      structured: a column for each field
           (n, C)     columns `value1` ... `valueC`
    .npz   vectors of one length: a column each           a matrix `X`: columns `X1` ...; texts of length C name them
           labels `y` of two values beside a matrix: column `label`

Nothing is unpickled (`numpy.load` with `allow_pickle=False`); what an array takes is told by its head, and bounded before it is read.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy
from numpy.typing import NDArray

from producers.datasets.matlab import LABEL_COLUMN, LABELS, check_size
from producers.datasets.unpacking import DAMAGED, is_numpy_archive, members
from producers.errors import DataError

MAX_FLAT = 1_000
"""Columns that a matrix with fewer rows may have: pixels of few images; beyond it time runs to the right."""
_MAGIC = b"\x93NUMPY"
_KINDS = "biufMmUS"
"""Kinds of elements that are read: numbers, times, texts."""


def is_numpy(data: bytes) -> bool:
    """Whether bytes are a file of NumPy."""
    return data.startswith(_MAGIC) or is_numpy_archive(data)


def numpy_table(path: Path, data: bytes) -> tuple[pa.Table, str, tuple[str, ...]]:
    """The table that a file holds, its form for people, and notes.

    Raises
    ------
    DataError
        It is damaged or too large; holds Python objects or more than two dimensions; which of several arrays holds the rows is not clear.
    """
    try:
        return _table(path, data)
    except DAMAGED as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"{path}: cannot be read as NumPy: {why}; it is damaged or locked: copy it again, or save it anew with numpy"
        raise DataError(msg) from error


def _table(path: Path, data: bytes) -> tuple[pa.Table, str, tuple[str, ...]]:
    if data.startswith(_MAGIC):
        array = _array(path, path.name, data)
        if array is None:
            raise DataError(_objects(path))
        return pa.table(_columns(path, "value", array)), f"NumPy, {_shape(array)}", ()
    there: dict[str, NDArray[Any] | None] = {}
    for name, body in members(path, data):
        if (own := name.removesuffix(".npy")) in there:
            msg = f"{path}: two arrays are called {own!r}; give them other names"
            raise DataError(msg)
        there[own] = _array(path, name, body)
    arrays = {name: a for name, a in there.items() if a is not None and a.ndim and a.size}
    left_out = [name for name in there if name not in arrays]
    if not arrays:
        msg = _objects(path) if any(a is None for a in there.values()) else f"{path}: there is no array with rows in it"
        raise DataError(msg)
    check_size(path, {name: a.size * _width(a.dtype) for name, a in arrays.items()})
    columns, taken = _together(path, arrays)
    left_out += [name for name in arrays if name not in taken]
    notes = [f"left out: {', '.join(_told(name, there[name]) for name in left_out)}"] if left_out else []
    if LABEL_COLUMN not in columns and (classes := next((n for n in taken if n in LABELS and n in columns), "")):
        notes.append(
            f"{classes} is no column of labels, which has two values: it is judged like the others (--value-columns)"
        )
    return pa.table(columns), f"NumPy, {', '.join(f'{n} {_shape(arrays[n])}' for n in taken)}", tuple(notes)


def _array(path: Path, name: str, data: bytes) -> NDArray[Any] | None:
    """One array; None where it holds Python objects. Raises DataError."""
    file = io.BytesIO(data)
    try:
        version = npy.read_magic(file)
        shape, _, kind = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
        if kind.hasobject:
            return None
        if not _width(kind):  # lists of as many texts as it says would come of no bytes
            msg = "its elements, or a field of them, are of no bytes"
            raise ValueError(msg)  # noqa: TRY301
        size = int(np.prod(shape, dtype=object)) * kind.itemsize
        if size > len(data) - file.tell():  # it would be made room for before it is read
            msg = f"its head says {size:,} bytes, but {len(data) - file.tell():,} follow"
            raise ValueError(msg)  # noqa: TRY301
        file.seek(0)
        array = cast("NDArray[Any]", np.load(file, allow_pickle=False))
    except Exception as error:  # damaged bytes: its head is parsed as Python
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"{path}: {name} cannot be read as an array of NumPy: {why}"
        raise DataError(msg) from error
    check_size(path, {name: array.size * _width(array.dtype)})
    return array


def _width(kind: np.dtype[Any]) -> int:
    """Values in an element: 1, or those of all its fields; 0 where any of them is of no bytes."""
    if kind.subdtype is not None:
        return _width(kind.subdtype[0]) * int(np.prod(kind.subdtype[1], dtype=object))
    widths = [_width(kind[field]) for field in kind.names or ()]
    return 0 if not kind.itemsize or 0 in widths else sum(widths) or 1


def _together(path: Path, arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, pa.Array], list[str]]:
    """Columns of arrays that are rows together, and which arrays these are. Raises DataError where that is not clear."""
    titles = _titles(arrays)
    of_rows = {n: a for n, a in arrays.items() if n != titles and len(a) > 1} or dict(arrays)
    lengths = {len(a) for a in of_rows.values()}
    if len(lengths) > 1:
        msg = (
            f"{path}: which arrays belong together is not known: it has {', '.join(_told(n, a) for n, a in list(arrays.items())[:8])}; "
            "save those of the same rows as a file"
        )
        raise DataError(msg)
    matrix = next((n for n, a in of_rows.items() if a.ndim > 1), "")
    columns: dict[str, pa.Array] = {}
    for name, array in of_rows.items():
        label = bool(matrix) and name in LABELS and array.size == len(array) and len(np.unique(array)) <= 2
        found = _columns(path, LABEL_COLUMN if label else name, array)
        if titles and name == matrix:
            found = dict(zip(map(str, _texts(arrays[titles])), found.values(), strict=True))
        _add(path, columns, found)
    return columns, [*of_rows, *([titles] if titles else [])]


def _add(path: Path, columns: dict[str, pa.Array], found: Mapping[str, pa.Array]) -> None:
    if twice := next((n for n in found if n in columns), ""):
        msg = f"{path}: two columns would be called {twice!r}; give the arrays or fields other names"
        raise DataError(msg)
    columns.update(found)


def _titles(arrays: Mapping[str, NDArray[Any]]) -> str:
    """The array of texts that names the columns of the only matrix; empty where there is none."""
    matrices = [a for a in arrays.values() if a.ndim == 2]
    if len(matrices) != 1 or matrices[0].shape[0] == matrices[0].shape[1]:
        return ""
    fits = (n for n, a in arrays.items() if a.dtype.kind in "US" and a.shape == matrices[0].shape[1:])
    return next((n for n in fits if len(np.unique(arrays[n])) == len(arrays[n])), "")


def _columns(path: Path, name: str, array: NDArray[Any]) -> dict[str, pa.Array]:
    """A vector as a column, a matrix as several, a structured array as its fields. Raises DataError."""
    if array.dtype.names and array.ndim == 1:
        fields: dict[str, pa.Array] = {}
        for field in array.dtype.names:
            _add(path, fields, _columns(path, field, array[field]))
        return fields
    if array.dtype.kind not in _KINDS:
        msg = f"{path}: {name} holds {array.dtype.name}; numbers, times and texts are read (of complex numbers save np.abs, np.angle)"
        raise DataError(msg)
    if array.ndim not in (1, 2):
        msg = f"{path}: {_told(name, array)} is neither a column nor rows of columns; reshape it: (rows,) or (rows, columns)"
        raise DataError(msg)
    if array.ndim == 1 or array.shape[1] == 1:
        return {name: _column(array.reshape(-1))}
    if array.shape[0] == 1 or array.shape[1] > max(array.shape[0], MAX_FLAT):
        rows, width = array.shape
        msg = f"{path}: {name} has {rows:,} row{'s' if rows > 1 else ''} of {width:,} columns; where each row is a series, save it turned: {name}.T"
        raise DataError(msg)
    return {f"{name}{i + 1}": _column(np.ascontiguousarray(array[:, i])) for i in range(array.shape[1])}


def _column(values: NDArray[Any]) -> pa.Array:
    if values.dtype.kind in "US":
        texts = pa.array(_texts(values), pa.string())
        texts.validate(full=True)  # numpy makes strings of numbers that are no signs, too
        return texts
    if values.dtype.kind == "M":
        return pa.array(
            values.astype("datetime64[ns]" if np.datetime_data(values.dtype)[0] == "ns" else "datetime64[us]")
        )
    if values.dtype.kind == "m":
        return pa.array(values.astype("timedelta64[us]").astype(np.float64) / 1e6)
    if values.dtype.kind == "f":
        return pa.array(values.astype(np.float64))
    return pa.array(values.astype(values.dtype.newbyteorder("=")))


def _texts(values: NDArray[Any]) -> list[str]:
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values.tolist()]


def _shape(array: NDArray[Any]) -> str:
    what = "fields " + ", ".join(array.dtype.names) if array.dtype.names else ""
    return what or "(" + " x ".join(f"{n:,}" for n in array.shape) + ")"


def _told(name: str, array: NDArray[Any] | None) -> str:
    return f"{name} (Python objects)" if array is None else f"{name} {_shape(array) if array.ndim else '(one value)'}"


def _objects(path: Path) -> str:
    return f"{path}: holds Python objects, which are not read, since to read them may run code; save numbers: np.save(file, array.astype(float))"
