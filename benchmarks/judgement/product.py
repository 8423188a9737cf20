"""The product's default for metrics as `tidewatch score` runs it, with the item's own training part."""

from __future__ import annotations

import numpy as np

from benchmarks.judgement.items import Item, Told
from pipeline.offline.evaluation import alerted
from pipeline.offline.scorefile import score_dataset


def default(item: Item, budget: float) -> Told:
    """Its score, its calibrated score (by which its alarm goes) and its alerts; it knows no budget."""
    rows = score_dataset(item.data, train_rows=item.first)
    calibrated = np.nan_to_num(rows.calibrated_score, nan=0.0)
    return Told(rows.score, calibrated, alerted(rows.alert_ids))
