"""The whole lines of a file as it grows, by its name: what is there, then what is appended, also where the file is truncated, rotated or replaced.

A line counts when its end is there. What changed is asked each time that is looked, never remembered as a time: so nothing hangs on how often that is.
"""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from producers.datasets.dialect import MAX_LINE
from producers.datasets.unpacking import STDIN
from producers.errors import DataError

BLOCK = 1 << 20
"""Bytes that are read at a time."""
REMEMBERED = 4096
"""Bytes at a file's beginning, and before the place that it is read up to, by which it is known again."""


class Tail:
    """A file that is read as it grows; of a pipe, what comes.

    Parameters
    ----------
    say
        Told, a line each, what became of the file.

    Attributes
    ----------
    anew : bool
        What was given last is the beginning of another file, or of the same one written anew.
    regular : bool
        It is a file, no pipe.
    ended : bool
        It is a pipe, and nobody writes into it any more.

    Raises
    ------
    DataError
        There is no such file; it cannot be read.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self.anew = self.ended = False
        self._rest = b""
        self._gone = self._other = self._turn = False
        self._newline = b"\n"
        self._open()

    def _open(self) -> None:
        try:
            self._fd = sys.stdin.fileno() if str(self._path) == STDIN else os.open(self._path, os.O_RDONLY)
        except OSError as error:
            none = isinstance(error, FileNotFoundError)
            msg = f"{self._path}: {'there is no such file' if none else f'cannot be read: {error.strerror}'}"
            raise DataError(msg) from error
        found = os.fstat(self._fd)
        if stat.S_ISDIR(found.st_mode):
            msg = f"{self._path}: is a folder; name the file in it that is to be followed"
            raise DataError(msg)
        self.regular = stat.S_ISREG(found.st_mode)
        self._begin()

    def _begin(self) -> None:
        self._at, self._first, self._last = 0, b"", b""

    def head(self) -> bytes:
        """A file's first bytes, of whole lines or not; of a pipe none."""
        return os.pread(self._fd, REMEMBERED, 0) if self.regular else b""

    def lines(self) -> bytes:
        """The next whole lines, about `BLOCK` bytes of them at most; nothing: there are none now. Raises DataError: a line is too long."""
        if block := self._block():
            whole = self._whole(self._rest + block)
        elif self.regular:
            whole = self._look()
        elif self.ended and self._rest:  # its last line is as whole as it will ever be
            whole, self._rest = self._rest + self._newline, b""
        else:
            whole = b""
        if whole:
            self.anew = self._turn and self._at > 0
            self._turn = self._turn and not self.anew
        return whole

    def close(self) -> None:
        """Let the file go."""
        if str(self._path) != STDIN:
            os.close(self._fd)

    def _block(self) -> bytes:
        """What stands behind the place that it is read up to; nothing where what stood before it is not there any more."""
        if not self.regular:
            if self.ended or not select.select([self._fd], [], [], 0)[0]:
                return b""
            block = os.read(self._fd, BLOCK)
            self.ended = not block
            return block
        if self._written_anew():
            return b""
        block = os.pread(self._fd, BLOCK, self._at)
        self._at += len(block)
        self._first += block[: REMEMBERED - len(self._first)]
        self._last = (self._last + block)[-REMEMBERED:]
        return block

    def _written_anew(self) -> bool:
        return os.pread(self._fd, len(self._last), self._at - len(self._last)) != self._last

    def _look(self) -> bytes:
        """Nothing is appended: go on with what stands under the name now, if that is another file. The old one's last line, if it had no end."""
        if self._written_anew():
            how = "truncated" if os.fstat(self._fd).st_size < self._at else "written anew"
            lost = "; its last line had no end and is left out" if self._rest.strip() else ""
            self._say(f"{self._path} was {how}: going on from its beginning{lost}")
            self._rest, self._turn = b"", True
            self._begin()
            return b""
        try:
            now = self._path.stat()
        except OSError:
            if not self._gone:
                self._say(f"{self._path} is gone: waiting for a file of its name")
            self._gone = True
            return b""
        own = os.fstat(self._fd)
        before, self._other = self._other, (now.st_dev, now.st_ino) != (own.st_dev, own.st_ino)
        self._gone = False
        # Whoever writes may have the old file open still: it is read to its end once more, at the next look.
        return self._replaced() if before and self._other else b""

    def _replaced(self) -> bytes:
        old, at, first, last, rest = self._fd, self._at, self._first, self._last, self._rest
        self._open()
        os.close(old)
        self._other = False
        if at and os.pread(self._fd, len(first), 0) == first and os.pread(self._fd, len(last), at - len(last)) == last:
            self._say(f"{self._path} was replaced by a file that begins as it did: going on where it was")
            self._at, self._first, self._last = at, first, last
            return b""
        self._say(f"{self._path} was replaced by another file: going on from its beginning")
        self._rest, self._turn = b"", True
        return rest + self._newline if rest else b""

    def _whole(self, data: bytes) -> bytes:
        """Up to the last end of a line; what stands behind it waits."""
        if b"\0" in data[:REMEMBERED]:  # UTF-16
            self._newline = b"\n\0" if data[:REMEMBERED:2].count(0) < data[1:REMEMBERED:2].count(0) else b"\0\n"
        width = len(self._newline)
        end = data.rfind(self._newline)
        while end % width and end >= 0:
            end = data.rfind(self._newline, 0, end + width - 1)
        end = end + width if end >= 0 else 0
        self._rest = data[end:]
        if len(self._rest) > MAX_LINE:
            msg = f"{self._path}: a line is longer than {MAX_LINE >> 20} MiB"
            raise DataError(msg)
        return data[:end]
