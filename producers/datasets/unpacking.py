"""A file's bytes, unpacked, within limits: plain, gzip, xz, bzip2, Zstandard, LZ4, zip, or the standard input (`-`).

How a file is packed is told by its first bytes, not by its name. What unpacks to more than `MAX_BYTES`, or to more than `MAX_RATIO`
times its size, is refused while it is unpacked: at most a block too much is ever held.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from producers.errors import DataError

STDIN = "-"
MAX_BYTES = 4 << 30
"""Of a file, unpacked: it is held in memory."""
MAX_RATIO, FREE_BYTES = 250, 64 << 20
"""How many times its size a packed file may unpack to, beyond so many bytes; numbers pack to a tenth, the same line again to a hundredth."""
_BLOCK = 1 << 20
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}
_UNFIT = {b"Rar!": "RAR", b"7z\xbc\xaf": "7-Zip", b"\xd0\xcf\x11\xe0": "old Excel (.xls)"}


def contents(path: Path) -> list[tuple[str, bytes]]:
    """Names and unpacked bytes of what a file holds: one, or the members of a zip file. An Excel file stays as it is.

    Raises
    ------
    DataError
        There is no such file; it is damaged or packed in an unknown way; it is larger than the limits.
    """
    try:
        if str(path) == STDIN:
            return _unpacked(path, sys.stdin.buffer.read(MAX_BYTES + 1))
        if path.stat().st_size > MAX_BYTES:
            raise DataError(_too_large(path))
        return _unpacked(path, path.read_bytes())
    except FileNotFoundError as error:
        msg = f"{path}: there is no such file"
        raise DataError(msg) from error
    except (
        OSError,
        EOFError,
        lzma.LZMAError,
        zlib.error,
        zipfile.BadZipFile,
        RuntimeError,
        pa.ArrowException,
    ) as error:
        msg = f"{path}: cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        raise DataError(msg) from error


def is_excel(data: bytes) -> bool:
    """Whether bytes are an Excel workbook (.xlsx, .xlsm)."""
    return data.startswith(b"PK\x03\x04") and b"xl/" in data[-65536:] and b"[Content_Types].xml" in data


def kind_of(data: bytes) -> str:
    """How a file is packed, or of what kind that is no text, told by its first bytes; "": neither."""
    kinds = {**_PACKED, **_UNFIT, b"PAR1": "Parquet", b"ARROW1": "Feather"}
    kind = next((name for magic, name in kinds.items() if data.startswith(magic)), "")
    return "Excel or zip" if kind == "zip" else kind


def _unpacked(path: Path, data: bytes) -> list[tuple[str, bytes]]:
    if len(data) > MAX_BYTES:
        raise DataError(_too_large(path))
    for magic, kind in _UNFIT.items():
        if data.startswith(magic):
            msg = f"{path}: is a file of {kind}, which is not read; save it as .csv, .xlsx or .parquet"
            raise DataError(msg)
    packing = next((name for magic, name in _PACKED.items() if data.startswith(magic)), None)
    if packing is None:
        return [(path.name, data)]
    if packing == "zip":
        return _zipped(path, data)
    source = pa.BufferReader(data)
    stream: IO[bytes] | pa.NativeFile
    match packing:
        case "gzip":
            stream = cast("IO[bytes]", gzip.GzipFile(fileobj=source))
        case "xz":
            stream = lzma.LZMAFile(source)  # noqa: SIM115  # it holds nothing but bytes
        case "bzip2":
            stream = bz2.BZ2File(source)
        case _:
            stream = pa.CompressedInputStream(source, packing)
    return [(path.with_suffix("").name, b"".join(_bounded(path, stream, len(data))))]


def _zipped(path: Path, data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(cast("IO[bytes]", pa.BufferReader(data))) as archive:
        told = sum(member.file_size for member in archive.infolist())
        if told > min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * len(data))):
            raise DataError(_bomb(path, told))
        if is_excel(data):
            return [(path.name, data)]
        found, left = [], len(data)
        for member in archive.infolist():
            hidden = member.filename.startswith("__MACOSX/") or Path(member.filename).name.startswith(".")
            if not member.is_dir() and not hidden:
                with archive.open(member) as stream:
                    found.append((Path(member.filename).name, b"".join(_bounded(path, stream, left))))
    if not found:
        msg = f"{path}: there is no file in it"
        raise DataError(msg)
    return found


def _bounded(path: Path, stream: IO[bytes] | pa.NativeFile, packed: int) -> Iterator[bytes]:
    total, most = 0, min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * packed))
    while block := stream.read(_BLOCK):
        total += len(block)
        if total > most:
            raise DataError(_bomb(path, total))
        yield block


def _too_large(path: Path) -> str:
    return f"{path}: is larger than {MAX_BYTES >> 30} GiB, the most that is read at once; split it"


def _bomb(path: Path, size: int) -> str:
    return f"{path}: unpacks to more than {size >> 20:,} MiB, too much for its size; unpack it and look, before you have it read"
