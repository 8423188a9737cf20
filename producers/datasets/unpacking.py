"""A file's bytes, unpacked, within limits: plain, gzip, xz, bzip2, Zstandard, LZ4, zip, tar, or the standard input (`-`).

How a file is packed is told by its first bytes, not by its name. What unpacks to more than `MAX_BYTES`, or to more than `MAX_RATIO`
times its size, is refused while it is unpacked: at most a block too much is ever held.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import tarfile
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
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    SystemError,
    OSError,
)
"""What reading a damaged zip, or arrays in it, raises."""
_UNFIT = {
    b"Rar!": "RAR",
    b"7z\xbc\xaf": "7-Zip",
    b"\xd0\xcf\x11\xe0": "old Excel (.xls)",
}


def contents(path: Path) -> list[tuple[str, bytes]]:
    """Names and unpacked bytes of what a file holds: one, or the members of a zip or tar file. An Excel file stays as it is.

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
        tarfile.TarError,
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
    kinds = {
        **_PACKED,
        **_UNFIT,
        b"\x93NUMPY": "NumPy",
        b"PAR1": "Parquet",
        b"ARROW1": "Feather",
        b"ORC": "ORC",
        b"\xff\xff\xff\xff": "Arrow",
    }
    kind = next((name for magic, name in kinds.items() if data.startswith(magic)), "")
    return "Excel or zip" if kind == "zip" else kind


def check_fit(path: Path, data: bytes, *, unpacked: bool = False) -> None:
    """Raise DataError where bytes are of a kind that is not read; `unpacked`: nor is a zip, which was packed once more, or is damaged."""
    if unpacked and data.startswith(b"PK\x03\x04"):
        msg = f"{path}: holds a zip that is damaged or was packed once more; unpack it, and give the file that is in it"
        raise DataError(msg)
    for magic, kind in _UNFIT.items():
        if data.startswith(magic):
            msg = f"{path}: is a file of {kind}, which is not read; save it as .csv, .xlsx or .parquet"
            raise DataError(msg)


def _unpacked(path: Path, data: bytes) -> list[tuple[str, bytes]]:
    if len(data) > MAX_BYTES:
        raise DataError(_too_large(path))
    check_fit(path, data)
    packing = next((name for magic, name in _PACKED.items() if data.startswith(magic)), None)
    if packing is None:
        return _of_tar(path, data) if data[257:262] == b"ustar" else [(path.name, data)]
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
    whole = b"".join(_bounded(path, stream, _most(len(data))))
    return _of_tar(path, whole) if whole[257:262] == b"ustar" else [(path.with_suffix("").name, whole)]


def _zipped(path: Path, data: bytes) -> list[tuple[str, bytes]]:
    check_told(path, data)
    if is_excel(data) or is_numpy_archive(data):
        return [(path.name, data)]
    return _some(path, members(path, data))


def check_told(path: Path, data: bytes) -> None:
    """Raise DataError where a zip says itself that its files unpack to too much. Raises what zipfile does where it is none."""
    with zipfile.ZipFile(cast("IO[bytes]", pa.BufferReader(data))) as archive:
        told = sum(member.file_size for member in archive.infolist())
    if told > _most(len(data)):
        raise DataError(_bomb(path, told))


def members(path: Path, data: bytes) -> list[tuple[str, bytes]]:
    """Names and bytes of the files in a zip. Raises DataError where they unpack to too much, together."""
    check_told(path, data)
    found, most = [], _most(len(data))
    with zipfile.ZipFile(cast("IO[bytes]", pa.BufferReader(data))) as archive:
        for member in archive.infolist():
            if not member.is_dir() and _is_member(member.filename):
                with archive.open(member) as stream:
                    found.append((Path(member.filename).name, b"".join(_bounded(path, stream, most))))
                most -= len(found[-1][1])
    return found


def is_numpy_archive(data: bytes) -> bool:
    """Whether bytes are a zip of nothing but arrays of NumPy (.npz); one that is damaged is none."""
    if not data.startswith(b"PK\x03\x04") or b".npy" not in data[:1024]:
        return False
    try:
        with zipfile.ZipFile(cast("IO[bytes]", pa.BufferReader(data))) as archive:
            return _of_numpy(archive)
    except DAMAGED:
        return False


def _of_numpy(archive: zipfile.ZipFile) -> bool:
    names = [member.filename for member in archive.infolist() if not member.is_dir()]
    return bool(names) and all(name.endswith(".npy") for name in names)


def _is_member(name: str) -> bool:
    """Whether a member of an archive is one of its files, none of those that systems put beside them."""
    return not (name.startswith(("__MACOSX/", "pax_global_header")) or Path(name).name.startswith("."))


def _some(path: Path, found: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The members of an archive without what is beside them to be read by people, where there are others."""
    tables = [
        (name, data) for name, data in found if not Path(name).name.lower().startswith(("readme", "license", "licence"))
    ]
    if not found:
        msg = f"{path}: there is no file in it"
        raise DataError(msg)
    return tables or found


def _of_tar(path: Path, data: bytes) -> list[tuple[str, bytes]]:
    """The files in an archive of tar, which are together no larger than it is."""
    with tarfile.open(fileobj=cast("IO[bytes]", pa.BufferReader(data)), mode="r:") as archive:
        files = [member for member in archive if member.isfile() and _is_member(member.name)]
        read = [(Path(member.name).name, archive.extractfile(member)) for member in files]
        return _some(path, [(name, stream.read()) for name, stream in read if stream is not None])


def _most(packed: int) -> int:
    """Bytes that so many packed ones may unpack to."""
    return min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * packed))


def _bounded(path: Path, stream: IO[bytes] | pa.NativeFile, most: int) -> Iterator[bytes]:
    total = 0
    while block := stream.read(_BLOCK):
        total += len(block)
        if total > most:
            raise DataError(_bomb(path, total))
        yield block


def _too_large(path: Path) -> str:
    return f"{path}: is larger than {MAX_BYTES >> 30} GiB, the most that is read at once; split it"


def _bomb(path: Path, size: int) -> str:
    return f"{path}: unpacks to more than {size >> 20:,} MiB, too much for its size; unpack it and look, before you have it read"
