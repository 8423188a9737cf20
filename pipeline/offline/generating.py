"""New rows drawn from a trained variational autoencoder, in the columns, units and categories of what it was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from detectors.base import DetectorError
from detectors.features import FeatureEncoder, Ranges
from detectors.model import Model
from detectors.vae import VAE
from producers.cells import plain_cell

ENDINGS = (".csv", ".parquet")


def generate(model: Model, rows: int, *, seed: int = 0, series: str = "", spread: bool = True) -> pd.DataFrame:
    """`rows` new rows of a table, or of metrics as many whole windows as hold them; the same seed gives the same rows.

    Parameters
    ----------
    series
        Metrics: in whose unit, where the model knows several.
    spread
        Whether values spread around what the decoder gives, as training saw them do.

    Raises
    ------
    DetectorError
        No variational autoencoder, or several, in the model; metrics of which no series, or several, could be meant.
    """
    members = [d for d in model.detectors if isinstance(d, VAE)]
    if len(members) != 1:
        msg = (
            f"rows are drawn from a variational autoencoder, but the model holds {model.detector_name}; "
            "train one: tidewatch train vae --data FILE --out vae.safetensors"
        )
        raise DetectorError(msg)
    [vae] = members
    if model.features is not None:
        if series:
            raise DetectorError(
                "--series is for metrics: the rows of a table have one unit for all series; leave it out"
            )
        drawn = vae.draw(rows, seed, spread=spread)[:, 0, :]
        return _table(model.features, drawn, model.facts.get("ranges"))
    return _windows(model, vae.draw(-(-rows // vae.config.window), seed, spread=spread), series).head(rows)


def write(frame: pd.DataFrame, out: Path) -> None:
    """As .parquet, else as .csv of which no text runs as a formula in a spreadsheet."""
    if out.suffix.lower() == ".parquet":
        frame.to_parquet(out, index=False)
    else:
        frame.map(lambda cell: plain_cell(cell) if isinstance(cell, str) else cell).to_csv(out, index=False)


def _table(encoder: FeatureEncoder, drawn: NDArray[np.float64], known: object) -> pd.DataFrame:
    columns = dict(zip(encoder.names, encoder.decode(drawn), strict=True))
    if isinstance(known, dict):  # what was trained before ranges were kept has none
        ranges = Ranges(**known)
        numeric = [n for n in encoder.names if n not in encoder.categorical]
        for name, low, high, whole in zip(numeric, ranges.lowest, ranges.highest, ranges.whole, strict=True):
            values = columns[name].clip(low, high)
            columns[name] = values.round().astype(np.int64) if whole and max(-low, high) < 2**53 else values
    return pd.DataFrame(columns)


def _windows(model: Model, drawn: NDArray[np.float64], series: str) -> pd.DataFrame:
    known = model.scaling.known
    if not series and len(known) == 1:
        series = next(iter(known))
    if series not in known:
        what = f"there is no series {series!r} in the model" if series else "whose unit the rows have is not said"
        msg = f"{what}; name one with --series: {', '.join(list(known)[:8]) or 'it knows none'}"
        raise DetectorError(msg)
    count, T, C = drawn.shape
    values = (drawn * known[series][1] + known[series][0]).reshape(count * T, C)
    names = model.facts.get("channels") or (["value"] if C == 1 else [f"value_{i + 1}" for i in range(C)])
    at = {"window": np.repeat(np.arange(count), T), "step": np.tile(np.arange(T), count)}
    return pd.DataFrame(at | {str(n): values[:, i] for i, n in enumerate(names)})
