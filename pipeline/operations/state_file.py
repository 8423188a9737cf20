"""A stream's state as one file: all partitions' checkpoints, to be kept or carried to another store.

    magic     16 bytes, `tidewatch-state` and a line end
    frames    8 bytes length (big-endian), then so many bytes of msgpack: a Header, then a Part for each partition, rising
    end       a length of 0, then the SHA-256 of all bytes before it

Read with typed decoders, so a file can only be data; nothing of it is believed before its checksum was. The same state makes
the same bytes. What the fields mean is `pipeline.steps.state`'s business, and of the version that `Identity.format` tells.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from pipeline.errors import StoreError
from pipeline.partition.stores.base import Checkpoint, parse_identity

MAGIC = b"tidewatch-state\n"
VERSION = 1
_LENGTH = 8
_CHUNK = 1 << 20


class Header(msgspec.Struct, frozen=True):
    """What the file is."""

    version: int
    stream: str
    partitions: list[int]


class _Version(msgspec.Struct, frozen=True):
    """What every version's head begins with."""

    version: int


class Part(msgspec.Struct, frozen=True):
    """One partition's checkpoint; `identity` is its JSON."""

    partition: int
    offset: int
    sequence: int
    identity: str
    fields: dict[str, bytes]


class StateFileWriter:
    """Writes a state file: beside its place first, moved there when it is complete; a context manager.

    Raises
    ------
    StoreError
        The file cannot be written.
    """

    def __init__(self, path: Path, stream: str, partitions: list[int]) -> None:
        self._path = path
        self._beside = path.with_name(f".{path.name}.{os.getpid()}")
        self._header = Header(VERSION, stream, sorted(partitions))
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        try:
            self._file = self._beside.open("xb")
            self._write(MAGIC)
            self._frame(msgspec.msgpack.encode(self._header))
        except OSError as error:
            raise _cannot_write(self._path, error) from error
        return self

    def add(self, partition: int, checkpoint: Checkpoint) -> None:
        """Append a partition's checkpoint."""
        fields = dict(sorted(checkpoint.fields.items()))
        identity = checkpoint.identity.model_dump_json()
        part = Part(partition, checkpoint.offset, checkpoint.sequence, identity, fields)
        try:
            self._frame(msgspec.msgpack.encode(part))
        except OSError as error:
            raise _cannot_write(self._path, error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._file as file:
                if kind is None:
                    self._write(bytes(_LENGTH))
                    file.write(self._hash.digest())
                    file.flush()
                    os.fsync(file.fileno())
            if kind is None:
                self._beside.replace(self._path)
        except OSError as failed:
            raise _cannot_write(self._path, failed) from failed
        finally:
            with suppress(OSError):
                self._beside.unlink(missing_ok=True)

    def _frame(self, body: bytes) -> None:
        self._write(len(body).to_bytes(_LENGTH, "big"))
        self._write(body)

    def _write(self, some: bytes) -> None:
        self._hash.update(some)
        self._file.write(some)


class StateFile:
    """A state file, checked from end to end; iterating gives each partition and its checkpoint.

    Raises
    ------
    StoreError
        It cannot be read, is damaged, or was written by a later version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                self._check(file)
                self.header = self._header(self._head(file))
        except OSError as error:
            msg = f"state file {path} cannot be read: {error.strerror or error}"
            raise StoreError(msg) from error

    def __iter__(self) -> Iterator[tuple[int, Checkpoint]]:
        with self._path.open("rb") as file:
            self._head(file)
            for partition in self.header.partitions:
                part = self._part(self._frame(file))
                if part.partition != partition:
                    raise self._damaged("its parts are not those that its head names")
                where = f"partition {partition} in state file {self._path}"
                identity = parse_identity(part.identity.encode(), where)
                yield partition, Checkpoint(part.offset, part.sequence, identity, part.fields)

    def _check(self, file: BinaryIO) -> None:
        """Magic, lengths and checksum."""
        if file.read(len(MAGIC)) != MAGIC:
            msg = f"{self._path} is no state file; `tidewatch state export` writes one"
            raise StoreError(msg)
        computed, size = hashlib.sha256(MAGIC), self._path.stat().st_size
        while True:
            length = file.read(_LENGTH)
            computed.update(length)
            left = int.from_bytes(length, "big")
            if len(length) < _LENGTH or left > size - file.tell():
                raise self._damaged("it ends too early")
            if not left:
                break
            while left:
                some = file.read(min(left, _CHUNK))
                computed.update(some)
                left -= len(some)
        if file.read() != computed.digest():
            raise self._damaged("its checksum is wrong")

    def _head(self, file: BinaryIO) -> bytes:
        file.seek(len(MAGIC))
        return self._frame(file)

    def _frame(self, file: BinaryIO) -> bytes:
        return file.read(int.from_bytes(file.read(_LENGTH), "big"))

    def _header(self, body: bytes) -> Header:
        try:
            version = msgspec.msgpack.decode(body, type=_Version).version
            if version != VERSION:
                msg = (
                    f"state file {self._path} is of version {version}, this one reads {VERSION}: "
                    "import it with the version that wrote it"
                )
                raise StoreError(msg)
            return msgspec.msgpack.decode(body, type=Header)
        except msgspec.MsgspecError as error:
            raise self._damaged(f"its head is none ({error})") from error

    def _part(self, body: bytes) -> Part:
        try:
            return msgspec.msgpack.decode(body, type=Part)
        except msgspec.MsgspecError as error:
            raise self._damaged(f"a part is none ({error})") from error

    def _damaged(self, why: str) -> StoreError:
        return StoreError(f"state file {self._path} is damaged, {why}: export it again")


def _cannot_write(path: Path, error: OSError) -> StoreError:
    return StoreError(f"state file {path} cannot be written: {error.strerror or error}")
