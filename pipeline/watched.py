"""Files that may change while a process runs: looked at again and again, which works on every file system and for files that are replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

_Stamp = tuple[int, int, int]


class Watched:
    """What they were at the last look.

    Parameters
    ----------
    files
        Which they are; may be others at each look.
    """

    def __init__(self, files: Callable[[], Iterable[Path]]) -> None:
        self._files = files
        self._seen = self._stamps()
        self._unsettled = False

    def changed(self) -> bool:
        """Whether a file is another than at the last look, and has been so for one look: whoever writes it may need a moment."""
        now = self._stamps()
        if now != self._seen:
            self._seen, self._unsettled = now, True
            return False
        changed, self._unsettled = self._unsettled, False
        return changed

    def _stamps(self) -> dict[Path, _Stamp]:
        return {file: _stamp(file) for file in self._files()}


def _stamp(file: Path) -> _Stamp:
    try:
        told = file.stat()
    except OSError:  # gone, for a moment or for good
        return 0, 0, 0
    return told.st_mtime_ns, told.st_size, told.st_ino
