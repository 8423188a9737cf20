"""The product as `tidewatch score` runs it, with the item's own training part: its default for metrics, and the networks alone, as the default was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.judgement.items import Item, Told
from detectors.judgement.calendar import Calendar
from detectors.recipes import METRIC, NETWORKS
from pipeline.offline.evaluation import alerted
from pipeline.offline.scorefile import score_dataset


def default(item: Item, budget: float) -> Told:
    """Its score, by how much its alarm's level is passed, and its alerts."""
    recipe = replace(METRIC, settings={"threshold": {"false_alarms": f"1 per {budget:.0f} rows"}})
    rows = score_dataset(item.data, recipe=recipe, train_rows=item.first, calendar=Calendar(item.time_zone))
    assert rows.alarm is not None
    return Told(rows.score, rows.alarm, alerted(rows.alert_ids))


def networks(item: Item, budget: float) -> Told:
    """Their score, their calibrated score (by which their alarm goes) and their alerts, by the budget that holds where none is stated."""
    rows = score_dataset(item.data, recipe=NETWORKS, train_rows=item.first)
    calibrated = np.nan_to_num(rows.calibrated_score, nan=0.0)
    return Told(rows.score, calibrated, alerted(rows.alert_ids))
