"""Scored rows written as CSV or Parquet, in parts."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pipeline.offline.scoring.room import release
from pipeline.offline.scoring.rows import ScoredRows
from producers.cells import plain_cell

WRITTEN = 65_536
"""Rows that are written at a time."""
AHEAD = 2
"""Parts whose text is made while others are written."""


def write(result: ScoredRows, out: Path) -> None:
    """Write the table as CSV, or as Parquet where the name ends so, in parts."""
    out.parent.mkdir(parents=True, exist_ok=True)
    n = len(result.timestamps)
    parts = (slice(start, min(start + WRITTEN, n)) for start in range(0, n, WRITTEN))
    if out.suffix != ".parquet":
        with out.open("wb") as file, ThreadPoolExecutor(AHEAD) as threads:
            rows = CsvRows(file)
            made: deque[Future[bytes]] = deque()
            for of in parts:
                if len(made) == AHEAD:
                    rows.append(result, made.popleft().result())
                    _release(result)
                made.append(threads.submit(csv_text, result, of))
            for text in made:
                rows.append(result, text.result())
        return
    columns = result.columns(slice(0, 0))
    schema = pa.schema([pa.field(name, values.type) for name, values in columns.items()])
    with pq.ParquetWriter(out, schema) as writer:
        for of in parts:
            writer.write_table(pa.table(result.columns(of), schema=schema))
            _release(result)


def _release(result: ScoredRows) -> None:
    release(*(held for held in vars(result).values() if isinstance(held, np.ndarray)))


class CsvRows:
    """Scored rows written as CSV, a table after the other, with the names in the first line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._begun = False

    def write(self, result: ScoredRows) -> None:
        """Append rows, and let them out."""
        self.append(result, csv_text(result))

    def append(self, result: ScoredRows, text: bytes) -> None:
        """Append rows of a result as `csv_text` made them, and let them out."""
        if not self._begun:
            pd.DataFrame(columns=list(result.columns(slice(0, 0)))).to_csv(self._file, index=False)
            self._begun = True
        self._file.write(text)
        self._file.flush()


def csv_text(result: ScoredRows, of: slice = slice(None)) -> bytes:
    """Rows as lines of CSV, without the names. Threads may do it at once."""
    columns = result.columns(of)
    names = pc.unique(columns["series"]).to_pylist()
    plain = {name: plain_cell(name) for name in names}
    if any(cell != name for name, cell in plain.items()):
        columns["series"] = pa.array([plain[name] for name in columns["series"].to_pylist()], pa.string())
    # pyarrow writes many times as fast as pandas, but puts all texts in quotes or none.
    if any(sign in name for name in names for sign in ',"\r\n'):
        text: str = pa.table(columns).to_pandas().to_csv(index=False, header=False)
        return text.encode()
    columns["anomalous"] = pc.if_else(columns["anomalous"], "True", "False")
    room = pa.BufferOutputStream()
    pacsv.write_csv(pa.table(columns), room, pacsv.WriteOptions(include_header=False, quoting_style="none"))
    return room.getvalue().to_pybytes()  # type: ignore[no-any-return]
