"""KDD Cup 1999: connections of a simulated network, 41 features each, labelled normal or with an attack's name.

Stolfo, Fan, Lee, Prodromidis, Chan, "Cost-based Modeling for Fraud and Intrusion Detection", DISCEX 2000; UCI data set 130.
`kddcup.data_10_percent.gz` is the training sample, `corrected.gz` the test set, later weeks with further attack types. Rows
stand in capture order but carry no time: arrival times are made up at a stated rate.

Traps: attacks come in blocks (the first 31 % of the training sample's http rows hold none), half of the attack rows
repeat an earlier row, `num_outbound_cmds` is always 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from producers.datasets.base import Dataset, Labels, Series, episodes
from producers.errors import DataError

SOURCE = "KDD Cup 1999 network connections (kdd.ics.uci.edu, CC BY 4.0)"
START_MS = 899_251_200_000  # 1998-07-01, within the seven weeks of the capture
RATE = 10.0
"""Connections a second of the made-up arrival times."""
EPISODE_GAP = 100
"""Up to so many other rows may stand inside one attack's run."""

FEATURES = (
    "duration",
    "protocol_type",
    "service",
    "flag",
    "src_bytes",
    "dst_bytes",
    "land",
    "wrong_fragment",
    "urgent",
    "hot",
    "num_failed_logins",
    "logged_in",
    "num_compromised",
    "root_shell",
    "su_attempted",
    "num_root",
    "num_file_creations",
    "num_shells",
    "num_access_files",
    "num_outbound_cmds",
    "is_host_login",
    "is_guest_login",
    "count",
    "srv_count",
    "serror_rate",
    "srv_serror_rate",
    "rerror_rate",
    "srv_rerror_rate",
    "same_srv_rate",
    "diff_srv_rate",
    "srv_diff_host_rate",
    "dst_host_count",
    "dst_host_srv_count",
    "dst_host_same_srv_rate",
    "dst_host_diff_srv_rate",
    "dst_host_same_src_port_rate",
    "dst_host_srv_diff_host_rate",
    "dst_host_serror_rate",
    "dst_host_srv_serror_rate",
    "dst_host_rerror_rate",
    "dst_host_srv_rerror_rate",
)
CATEGORICAL = ("protocol_type", "service", "flag")


def load(
    folder: Path, *, part: Literal["10_percent", "corrected"] = "10_percent", subset: str = "http", rate: float = RATE
) -> Dataset:
    """Connections of one service as one series of its name, or with `subset="all"` of all, one series per service.

    Labels give the attack's name per row and the attack episodes.
    """
    path = folder / ("kddcup.data_10_percent.gz" if part == "10_percent" else "corrected.gz")
    table = _read(path)
    if subset != "all":
        table = table.filter(pc.equal(table["service"], subset))
    columns = tuple(
        table[name].to_numpy(zero_copy_only=False).astype(object if name in CATEGORICAL else np.float64)
        for name in FEATURES
    )
    attacks = np.array([label.rstrip(".") for label in table["label"].to_pylist()], object)
    return tables(columns, attacks, rate=rate, name=_name(part, subset))


def tables(
    columns: tuple[NDArray[Any], ...],
    attacks: NDArray[Any],
    *,
    rate: float,
    name: str,
) -> Dataset:
    """A KDD data set of these columns, one series per service; attack `normal` means no attack."""
    n = len(attacks)
    arrivals = START_MS + np.floor(np.arange(n) * 1000.0 / rate).astype(np.int64)
    whole = Series("", arrivals, columns)
    services = columns[FEATURES.index("service")]
    series: dict[str, Series] = {}
    labels: dict[str, Labels] = {}
    for service in dict.fromkeys(services.tolist()):
        rows = np.flatnonzero(services == service)
        part = whole.take(rows)
        series[service] = Series(service, part.timestamps, part.columns, 0, part.positions)
        kinds = attacks[rows]
        anomalous = kinds != "normal"
        found = episodes(kinds, anomalous, part.timestamps, EPISODE_GAP)
        labels[service] = Labels(found, anomalous, kinds)
    source = f"{SOURCE}; arrival times made up, {rate:g} connections a second"
    return Dataset(name, "table", FEATURES, source, series, labels, categorical=CATEGORICAL)


def _name(part: str, subset: str) -> str:
    base = "kdd" if subset == "http" else f"kdd-{subset}"
    return base if part == "10_percent" else f"{base}-corrected"


def _read(path: Path) -> pa.Table:
    types = {n: pa.string() if n in CATEGORICAL or n == "label" else pa.float64() for n in (*FEATURES, "label")}
    try:
        return pacsv.read_csv(
            path,
            read_options=pacsv.ReadOptions(column_names=[*FEATURES, "label"]),
            convert_options=pacsv.ConvertOptions(column_types=types),
        )
    except (OSError, ValueError, pa.ArrowException) as error:
        msg = f"{path}: not a KDD Cup 99 file with 41 features and a label ({error})"
        raise DataError(msg) from error
