"""Scored rows written as CSV or Parquet, in parts."""

from __future__ import annotations

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


def write(result: ScoredRows, out: Path) -> None:
    """Write the table as CSV, or as Parquet where the name ends so, in parts."""
    out.parent.mkdir(parents=True, exist_ok=True)
    n = len(result.timestamps)
    parts = (slice(start, min(start + WRITTEN, n)) for start in range(0, n, WRITTEN))
    if out.suffix != ".parquet":
        with out.open("wb") as file:
            rows = CsvRows(file)
            for of in parts:
                rows.write(result, of)
                _release(result)
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

    def write(self, result: ScoredRows, of: slice = slice(None)) -> None:
        """Append rows, and let them out."""
        columns = result.columns(of)
        if not self._begun:
            pd.DataFrame(columns=list(columns)).to_csv(self._file, index=False)
            self._begun = True
        names = pc.unique(columns["series"]).to_pylist()
        plain = {name: plain_cell(name) for name in names}
        if any(cell != name for name, cell in plain.items()):
            columns["series"] = pa.array([plain[name] for name in columns["series"].to_pylist()], pa.string())
        # pyarrow writes many times as fast as pandas, but puts all texts in quotes or none.
        if any(sign in name for name in names for sign in ',"\r\n'):
            pa.table(columns).to_pandas().to_csv(self._file, index=False, header=False)
        else:
            columns["anomalous"] = pc.if_else(columns["anomalous"], "True", "False")
            unquoted = pacsv.WriteOptions(include_header=False, quoting_style="none")
            pacsv.write_csv(pa.table(columns), self._file, unquoted)
        self._file.flush()
