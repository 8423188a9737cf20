r"""Dead letters as lines of JSON that a person or a program mends.

    {"dead_letter": [0, 17], "reason": "undecodable", "detail": "...", "record": ["taxi.observations", 2, 4711], "attempt": 1,
     "key": "nyc_taxi", "value": "{\"timestamp\": ..."}

`key` and `value` are what is sent; the rest says which letter it is. A value may be written as JSON itself instead of as text
that holds JSON. Bytes that are no UTF-8 stand in `key_base64` and `value_base64`. A line that is taken out is not sent.
"""

from __future__ import annotations

import base64
import binascii
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import TidewatchError
from pipeline.operations.dead_letters.letters import Letter

Mend = Callable[[Sequence[Letter]], list[Letter]]
"""Letters with their keys and values mended; those left out are not sent."""


class Line(msgspec.Struct, omit_defaults=True):
    """One letter."""

    dead_letter: tuple[int, int]
    reason: str
    detail: str = ""
    record: tuple[str, int, int] | None = None
    attempt: int = 1
    key: str | None = None
    value: Any = None
    key_base64: str | None = None
    value_base64: str | None = None

    @classmethod
    def of(cls, letter: Letter) -> Line:
        """The line of a letter as it is."""
        line = cls((letter.partition, letter.offset), letter.reason, letter.detail, letter.source, letter.attempt)
        line.key, line.key_base64 = _text(letter.key)
        line.value, line.value_base64 = _text(letter.value)
        return line

    def mended(self, letter: Letter) -> Letter:
        """The letter with this line's key and value. Raises TidewatchError."""
        try:
            key = self.key.encode() if self.key is not None else _bytes(self.key_base64)
            value = self.value if isinstance(self.value, str) else None
            body = value.encode() if value is not None else _bytes(self.value_base64)
        except (binascii.Error, ValueError) as error:
            msg = f"the line of dead letter {self.dead_letter[0]}:{self.dead_letter[1]} is not base64: {error}"
            raise TidewatchError(msg) from error
        if self.value is not None and value is None:
            body = msgspec.json.encode(self.value)
        return replace(letter, key=key, value=body)


def lines_of(letters: Iterable[Letter]) -> bytes:
    """Letters as lines of JSON."""
    return b"".join(msgspec.json.encode(Line.of(letter)) + b"\n" for letter in letters)


def read_lines(text: bytes, where: str) -> dict[tuple[int, int], Line]:
    """Lines by the place of their letters. Raises TidewatchError that names the line."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            read = msgspec.json.decode(line, type=Line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            msg = f"{where}, line {number} is no dead letter as --export writes it: {error}"
            raise TidewatchError(msg) from error
        found[read.dead_letter] = read
    return found


def read_file(path: Path) -> dict[tuple[int, int], Line]:
    """Lines of a file. Raises TidewatchError."""
    try:
        return read_lines(path.read_bytes(), str(path))
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}"
        raise TidewatchError(msg) from error


def apply(lines: Mapping[tuple[int, int], Line], letters: Iterable[Letter]) -> list[Letter]:
    """The letters that have a line, mended, in their own order."""
    return [
        lines[letter.partition, letter.offset].mended(letter)
        for letter in letters
        if (letter.partition, letter.offset) in lines
    ]


def edited(command: Sequence[str], letters: Sequence[Letter]) -> list[Letter]:
    """Letters as a program mends them: it reads their lines and writes lines.

    Raises
    ------
    TidewatchError
        It cannot be started, ends with an error, or writes something else.
    """
    name = command[0]
    try:
        done = subprocess.run(list(command), input=lines_of(letters), stdout=subprocess.PIPE, check=False)  # noqa: S603
    except OSError as error:
        msg = f"{name} cannot be started: {error.strerror or error}"
        raise TidewatchError(msg) from error
    if done.returncode:
        msg = f"{name} ended with exit code {done.returncode}; none of the letters that it was given was sent"
        raise TidewatchError(msg)
    lines = read_lines(done.stdout, f"what {name} wrote")
    given = {(letter.partition, letter.offset) for letter in letters}
    if foreign := lines.keys() - given:
        partition, offset = min(foreign)
        msg = f"{name} wrote a line of dead letter {partition}:{offset}, which it was not given; it must keep `dead_letter` as it is"
        raise TidewatchError(msg)
    return apply(lines, letters)


def _text(some: bytes | None) -> tuple[str | None, str | None]:
    """Bytes as text, else as base64."""
    if some is None:
        return None, None
    try:
        return some.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(some).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)
