"""Cardiotocography: 2,126 recordings of a baby's heart before birth, 21 features, classed by three obstetricians.

Ayres-de-Campos, Bernardes, Garrido, Marques-de-Sa, Pereira-Leite, "SisPorto 2.0", J. Matern. Fetal Med. 2000; UCI data set 193,
CC BY 4.0. NSP = 3 (pathologic, 176 rows) is the anomaly; NSP = 2 (suspect) is left out, as is usual. Rows of one recording
stand next to each other, so a random split is too kind.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from producers.datasets.base import Dataset, Labels, Series, episodes
from producers.errors import DataError

SOURCE = "Cardiotocography (UCI data set 193, CC BY 4.0), suspect recordings left out"
STEP_MS = 60_000  # made up: there is no time in the table


def load(folder: Path) -> Dataset:
    """One series `ctg` of the rows that are normal or pathologic, in file order."""
    path = folder / "CTG.csv.gz"
    try:
        table = pacsv.read_csv(path)
        state = table["NSP"].to_numpy()
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        msg = f"{path}: not the cardiotocography table with 21 features, CLASS and NSP ({error})"
        raise DataError(msg) from error
    names = tuple(n for n in table.column_names if n not in {"CLASS", "NSP"})
    kept = np.flatnonzero(state != 2)
    columns = tuple(table[n].to_numpy().astype(np.float64)[kept] for n in names)
    timestamps = np.arange(len(kept), dtype=np.int64) * STEP_MS
    anomalous = state[kept] == 3
    kinds = np.where(anomalous, "pathologic", "normal").astype(object)
    labels = Labels(episodes(kinds, anomalous, timestamps, 0), anomalous, kinds)
    return Dataset("ctg", "table", names, SOURCE, {"ctg": Series("ctg", timestamps, columns, 0, kept)}, {"ctg": labels})
