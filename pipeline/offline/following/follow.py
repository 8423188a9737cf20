"""What `tidewatch score --follow` does: a file is opened, its first rows are taken, and what is appended goes on to be scored until somebody stops it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pipeline.offline.following.scoring import Scoring
from pipeline.offline.scoring.ready import UNTIDY
from pipeline.offline.scoring.rows import ScoredRows
from pipeline.offline.time_limits import in_order
from producers.datasets import Dataset, Layout
from producers.datasets.growing import Growing, refuse_packed
from producers.datasets.tail import REMEMBERED, Tail
from producers.datasets.unpacking import MAX_BYTES, STDIN
from producers.errors import DataError

POLL_S = 0.5
"""Between two looks at a file to which nothing was appended."""
LEAST = 40
"""Rows that must be there to find out how a file is written and what is usual in it."""
FIRST_OF_PIPE = 1_000
"""Rows of a pipe that are learnt from, unless it is said how many: in it nothing is there at the start."""
ABOVE = 20
"""Lines for names and titles, beyond the rows that are asked for."""
TOLD = 5
"""Lines that could not be read of which each is told."""


class Stop(Protocol):
    """Says when to end; a `threading.Event` is one."""

    def is_set(self) -> bool:
        """Whether to end now."""
        ...

    def wait(self, timeout: float) -> bool:
        """Wait, and say whether to end."""
        ...


class Listener(Protocol):
    """What is told of what comes."""

    def say(self, line: str) -> None:
        """A line for people."""
        ...

    def scored(self, rows: ScoredRows) -> None:
        """Rows that were scored, with the records of alerts that came of them."""
        ...


class Follower:
    """A file that grows.

    Parameters
    ----------
    say
        Told, a line each, what people should know of the file.

    Attributes
    ----------
    wrong
        Lines that could not be read, so far.
    """

    def __init__(self, path: Path, layout: Layout, stop: Stop, say: Callable[[str], None]) -> None:
        self.wrong = 0
        self._path, self._layout, self._stop, self._say = path, layout, stop, say
        self._tail = Tail(path, say)
        self._growing: Growing | None = None
        self._rest = b""
        self._line = 0

    @property
    def pipe(self) -> bool:
        """Whether what comes cannot be read again, and nothing is there at the start."""
        return not self._tail.regular

    def first(self, least: int, *, of_a_series: bool = False) -> Dataset | None:
        """What is there, as soon as it is enough; None: stopped before.

        Of a pipe it is the same number of rows each time, however they come.

        Parameters
        ----------
        least
            Rows that must be there; with `of_a_series`, of the longest series.

        Raises
        ------
        DataError
            The file cannot be read, or cannot be followed.
        """
        data, tried, told = bytearray(), 0, False
        while True:
            refuse_packed(self._path, bytes(data[:REMEMBERED]) or self._tail.head())
            lines = self._tail.lines()
            if lines:
                if self._tail.anew:
                    data.clear()
                data += lines
                if len(data) > MAX_BYTES:
                    msg = f"{self._path}: is larger than {MAX_BYTES >> 30} GiB, the most that is read at once; split it"
                    raise DataError(msg)
                if not self.pipe:
                    continue
            if len(data) != tried or self._tail.ended:
                tried = len(data)
                if (found := self._enough(bytes(data), least, of_a_series=of_a_series)) is not None:
                    return found
            if not lines:
                if self._tail.ended:
                    msg = f"{self._path}: there are no rows in it"
                    raise DataError(msg)
                if not told:
                    self._say(
                        f"waiting for {least:,} rows: so many tell how the file is written and what is usual in it (--train-rows, --model)"
                    )
                    told = True
                if self._stop.wait(POLL_S):
                    return None

    def _enough(self, data: bytes, least: int, *, of_a_series: bool) -> Dataset | None:
        wanted = least + ABOVE
        while (there := data.count(b"\n")) >= (wanted if self.pipe else least) or (self._tail.ended and there):
            end = _behind_line(data, wanted) if self.pipe else len(data)
            growing = Growing(self._path, data[:end], self._layout)
            dataset = growing.dataset
            rows = max(map(len, dataset.all_series.values())) if of_a_series else len(dataset)
            if rows >= least or (self._tail.ended and end == len(data)):
                self._growing, self._rest, self._line = growing, data[end:], data[:end].count(b"\n")
                _check_order(self._path, dataset)
                return dataset
            if not self.pipe:
                return None
            wanted *= 2
        return None

    def go_on(self, scoring: Scoring, listener: Listener) -> None:
        """Score what is appended, until stopped or until the writer of a pipe is gone.

        Raises
        ------
        DataError
            A file of other columns came in the place of this one; a line is too long.
        """
        while not self._stop.is_set():
            lines, self._rest = self._rest or self._tail.lines(), b""
            if lines:
                self._portion(lines, scoring, listener)
            elif self._tail.ended or self._stop.wait(POLL_S):
                return

    def close(self) -> None:
        """Let the file go."""
        self._tail.close()

    def _portion(self, data: bytes, scoring: Scoring, listener: Listener) -> None:
        assert self._growing is not None
        lines = data.decode(self._growing.encoding, "replace").replace("\r\n", "\n").removesuffix("\n").split("\n")
        if self._tail.anew:
            self._line = 0
            lines[0] = lines[0].removeprefix("\ufeff")
        found, wrong = self._growing.more(lines)
        if self._tail.anew and wrong and wrong[0].line == 0:
            msg = (
                f"{self._path}: the file that came in the place of the one before begins with {lines[0][:60]!r}, which is neither its names nor a row "
                "like its rows; start again for a file of other columns"
            )
            raise DataError(msg)
        for one in wrong[: max(0, TOLD - self.wrong)]:
            self._say(
                f"line {self._line + one.line + 1} is left out: {one.why or 'is no row like the others'}: {lines[one.line][:60]!r}"
            )
        self.wrong += len(wrong)
        self._line += len(lines)
        if found is not None:
            listener.scored(scoring.go_on(found))


def _behind_line(data: bytes, number: int) -> int:
    """The place behind the `number`-th line, or the end."""
    at = 0
    for _ in range(number):
        found = data.find(b"\n", at)
        if found < 0:
            return len(data)
        at = found + 1
    return at


def _check_order(path: Path, data: Dataset) -> None:
    """Refuse a file that does not grow at its end."""
    if data.kind != "metric":
        return
    for name, series in data.series().items():
        if in_order(series).mean() < 1 - UNTIDY:
            where = "standard input" if str(path) == STDIN else path
            msg = f"{where}: rows of series {name} do not stand in the order of time, so new ones are not the last ones: it cannot be followed; score it without --follow"
            raise DataError(msg)
