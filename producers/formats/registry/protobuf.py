"""A reader of a Protobuf schema: `protoc` (of grpcio-tools) makes descriptors of its text, protobuf's runtime classes of those.

A registry can be asked for descriptors, but not every one gives them rightly (some not as base64, some not with references), so
it is asked for the text; where that is a descriptor all the same, as Confluent's serialisers register them, it is taken.
`protoc` runs as a process of its own, which may take a while or fail without harm.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    message,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)

from producers.errors import RegistryError
from producers.formats.base import Reason, Unusable, shown
from producers.formats.fields import MAX_FIELDS, Moment
from producers.formats.registry.schemas import Read, Schema

_PATIENCE = 60.0  # seconds; it takes some hundredths of one
_MAIN = "tidewatch_value.proto"
_WRAPPERS = {
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String")
}

Flat = Iterator[tuple[tuple[str, ...], Any]]


def schema_of(text: str, references: Mapping[str, str]) -> Schema:
    """The schema, given the files that it imports by their names. Raises Unusable, RegistryError where protoc cannot run."""
    files = _serialised(text, references) or _descriptors(text, references)
    pool = descriptor_pool.DescriptorPool()
    try:
        for file in files.file:
            pool.Add(file)  # those that are imported stand before those that import them
        main = pool.FindFileByName(files.file[-1].name)
    except (TypeError, KeyError, ValueError) as error:
        raise Unusable(Reason.UNDECODABLE, f"it is no Protobuf schema: {shown(str(error))}") from None
    return Schema("protobuf", _reader(main, files.file[-1]), min(_fields(files.file[-1]), MAX_FIELDS))


def _serialised(text: str, references: Mapping[str, str]) -> descriptor_pb2.FileDescriptorSet | None:
    """The files where each is the descriptor of one, in base64; None where one is not. Protobuf's own files are added."""
    files = descriptor_pb2.FileDescriptorSet()
    for module in (
        any_pb2,
        duration_pb2,
        struct_pb2,
        timestamp_pb2,
        wrappers_pb2,
        empty_pb2,
        field_mask_pb2,
        descriptor_pb2,
    ):
        files.file.add().ParseFromString(module.DESCRIPTOR.serialized_pb)
    for name, content in {**references, "": text}.items():
        try:
            file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(content, validate=True))
        except (ValueError, message.DecodeError):
            return None
        if not file.name and not file.message_type:
            return None
        file.name = name or file.name
        files.file.append(file)
    return files


def _descriptors(text: str, references: Mapping[str, str]) -> descriptor_pb2.FileDescriptorSet:
    with tempfile.TemporaryDirectory(prefix="tidewatch-") as folder:
        for name, content in {**references, _MAIN: text}.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise Unusable(Reason.UNDECODABLE, f"it refers to a file {shown(name)}, which is no name of one")
            file = Path(folder, *path.parts)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
        command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--include_imports", "--descriptor_set_out=out"]
        try:
            ran = subprocess.run([*command, _MAIN], capture_output=True, timeout=_PATIENCE, check=False, cwd=folder)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired) as error:
            msg = f"protoc could not be run for a schema ({type(error).__name__})"
            raise RegistryError(msg) from None
        out = Path(folder, "out")
        if ran.returncode != 0 or not out.exists():
            lines = ran.stderr.decode(errors="replace").splitlines()
            told = next((line for line in lines if ".proto:" in line), None)  # FILE:LINE:COLUMN: what is wrong
            if told is None:
                msg = f"protoc could not be run for a schema ({shown(lines[-1]) if lines else f'exit code {ran.returncode}'})"
                raise RegistryError(msg)
            raise Unusable(Reason.UNDECODABLE, f"it is no Protobuf schema: {shown(told.removeprefix(f'{_MAIN}:'))}")
        return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())


def _fields(file: descriptor_pb2.FileDescriptorProto) -> int:
    """Fields of all its messages: a record has no more of those that are written without a byte."""
    waiting, fields = list(file.message_type), 0
    while waiting:
        of = waiting.pop()
        waiting += of.nested_type
        fields += len(of.field)
    return fields


def _reader(main: Any, file: descriptor_pb2.FileDescriptorProto) -> Read:
    classes: dict[tuple[int, ...], Callable[[bytes], message.Message]] = {}

    def class_of(indexes: tuple[int, ...]) -> Callable[[bytes], message.Message]:
        if indexes not in classes:
            name, messages = "", file.message_type
            for index in indexes:
                if index >= len(messages):
                    raise Unusable(Reason.UNDECODABLE, f"its schema has no message {indexes}")
                name, messages = f"{name}.{messages[index].name}", messages[index].nested_type
            full = f"{file.package}{name}" if file.package else name[1:]
            classes[indexes] = message_factory.GetMessageClass(main.pool.FindMessageTypeByName(full)).FromString
        return classes[indexes]

    def read(content: bytes) -> Flat:
        indexes, start = _indexes(content)
        try:
            return _flat(class_of(indexes)(content[start:]), ())
        except (message.DecodeError, UnicodeDecodeError):
            raise Unusable(Reason.UNDECODABLE, "it is not of its schema") from None

    return read


def _indexes(content: bytes) -> tuple[tuple[int, ...], int]:
    """Which message of the schema it is: places, outermost first, as zigzag numbers behind how many they are; none: the first."""
    count, at = _number(content, 0)
    if not 0 <= count <= 16:
        raise Unusable(Reason.UNDECODABLE, "it does not say which message of its schema it is")
    places = []
    for _ in range(count):
        place, at = _number(content, at)
        if place < 0:
            raise Unusable(Reason.UNDECODABLE, "it does not say which message of its schema it is")
        places.append(place)
    return tuple(places) or (0,), at


def _number(content: bytes, at: int) -> tuple[int, int]:
    number = 0
    for i in range(5):
        if at + i >= len(content):
            break
        number |= (content[at + i] & 127) << 7 * i
        if content[at + i] < 128:
            return (number >> 1) ^ -(number & 1), at + i + 1
    raise Unusable(Reason.UNDECODABLE, "it ends where it says which message of its schema it is")


def _flat(of: Any, path: tuple[str, ...]) -> Flat:
    """The fields of a message; those that are not set have their default, where Protobuf cannot tell the two apart."""
    for field in of.DESCRIPTOR.fields:
        name = (*path, field.name)
        if field.has_presence and not of.HasField(field.name):
            continue
        content = getattr(of, field.name)
        if field.is_repeated:
            entry = field.message_type
            if (
                entry is not None
                and entry.GetOptions().map_entry
                and entry.fields_by_name["value"].message_type is None
            ):
                yield from (((*name, str(key)), content[key]) for key in sorted(content))
            else:
                yield name, list(content[:1])
        elif field.message_type is not None:
            yield from _of_message(content, name)
        elif field.enum_type is not None:
            known = field.enum_type.values_by_number.get(content)
            yield name, known.name if known is not None else str(content)
        else:
            yield name, content


def _of_message(content: Any, name: tuple[str, ...]) -> Flat:
    kind = content.DESCRIPTOR.full_name
    if kind == "google.protobuf.Timestamp":
        yield name, Moment(content.seconds * 1000 + content.nanos // 1_000_000)
    elif kind in _WRAPPERS:
        yield name, content.value
    else:
        yield from _flat(content, name)
