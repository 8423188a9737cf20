"""Card transactions of two days in September 2013, 492 of them fraud: a sample that keeps every fraud.

Dal Pozzolo, Caelen, Johnson, Bontempi, "Calibrating Probability with Undersampling for Unbalanced Classification", CIDM 2015;
Kaggle mlg-ulb/creditcardfraud, ODbL 1.0. The sample holds 19,070 of the 284,315 normal rows, so it has 2.5 % frauds where the
original has 0.173 %: weigh normal rows by `NORMAL_WEIGHT` to estimate precision at the original rate.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from producers.datasets.base import Dataset, Labels, Series, episodes
from producers.errors import DataError

SOURCE = "Credit card fraud, ULB, September 2013: all 492 frauds, 19,070 of 284,315 normal rows (ODbL 1.0)"
START_MS = 1_378_000_800_000  # some second in September 2013; the file counts from the first transaction
NORMAL_WEIGHT = 284_315 / 19_070
FEATURES = (*(f"V{i}" for i in range(1, 29)), "Amount")


def load(folder: Path) -> Dataset:
    """One series `cards` of 29 columns in order of time; the column Time is its event time."""
    path = folder / "creditcard_sample.csv.gz"
    try:
        table = pacsv.read_csv(path)
        columns = tuple(table[n].to_numpy().astype(np.float64) for n in FEATURES)
        timestamps = START_MS + table["Time"].to_numpy().astype(np.int64) * 1000
        fraud = table["Class"].to_numpy().astype(np.bool_)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        msg = f"{path}: not the credit-card sample with Time, V1 to V28, Amount and Class ({error})"
        raise DataError(msg) from error
    return tables(timestamps, columns, fraud)


def tables(
    timestamps: NDArray[np.int64],
    columns: tuple[NDArray[np.float64], ...],
    fraud: NDArray[np.bool_],
) -> Dataset:
    """A credit-card data set of these columns."""
    kinds = np.where(fraud, "fraud", "normal").astype(object)
    labels = Labels(episodes(kinds, fraud, timestamps, 0), fraud, kinds)
    return Dataset(
        "creditcard", "table", FEATURES, SOURCE, {"cards": Series("cards", timestamps, columns)}, {"cards": labels}
    )
