"""What a user should know of the rows of a file that were not scored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from detectors.judged import LEAST
from detectors.judgement.record import MOVES, STILL
from detectors.model import Model
from pipeline.offline.run import Verdicts
from pipeline.offline.scoring.recorded import Recorded
from pipeline.offline.scoring.room import parts
from producers.datasets import Dataset
from producers.errors import DataError


def not_scored(counts: Mapping[str, int]) -> list[str]:
    """What is told of rows that the time policy did not score."""
    notes = []
    if repeated := counts.get("duplicate", 0):
        notes.append(
            f"{repeated:,} rows have the time stamp of another row of their series and were not scored "
            "(several series in one file: name the column that tells them apart with --series-column)"
        )
    if late := counts.get("late", 0):
        notes.append(f"{late:,} rows are older than the row before them and were not scored")
    if beyond := counts.get("of too many series", 0):
        notes.append(f"{beyond:,} rows are of more series than are held at once and were not scored")
    return notes


def some_scored(data: Dataset, observations: Recorded, verdicts: Verdicts, model: Model) -> None:
    """Raise DataError, with the reason, where no row has a score: an empty column of scores would be taken for a quiet one."""
    if any((np.isfinite(verdicts.score[of]) & verdicts.live[of]).any() for of in parts(len(verdicts.score))):
        return
    n, counts = len(observations), verdicts.counts
    learnt = sum(model.training_rows.values())
    if not n:
        why = "every row lacks a number"
    elif learnt >= 0.9 * n:
        why = f"{learnt:,} of its {n:,} rows are learnt from; leave more of them with a smaller --train-rows"
    elif counts["late"] + counts["duplicate"] > n // 2:
        why = "most rows are not newer than the row before them; name the column that tells series apart with --series-column"
    elif model.judgement is not None and _still(observations):
        why = (
            f"hardly anything moves in it, and what is usual is not learnt from fewer than {LEAST} rows of history: a series is judged when {MOVES} of its "
            f"rows have differed from the one before, or behind {STILL} that did not; give more rows"
        )
    elif model.kind == "metric":
        why = (
            f"nowhere do {model.window:,} rows follow each other behind the {learnt:,} that are learnt from; give more rows, a shorter "
            "--window, or take the rows in their order: --table"
        )
    else:
        why = "no row is like those that were learnt from"
    msg = f"{data.name}: no row could be scored: {why}"
    raise DataError(msg)


def _still(observations: Recorded) -> bool:
    """Whether fewer rows of each series differ from the one before than a judgement of a series that it does not know waits for."""
    values = observations.values
    moved = (
        np.count_nonzero((np.diff(values[of], axis=0) != 0).any(axis=1)) for of in observations.of_series().values()
    )
    return all(n < MOVES for n in moved)


def unscored(observations: Recorded, verdicts: Verdicts, model: Model) -> list[str]:
    """What is told of rows that were not scored although nothing is wrong with them, and of series without any score."""
    notes = []
    counts = verdicts.counts
    if dropped := counts["dropped_future"]:
        notes.append(f"{dropped:,} rows have a time far ahead of the rows behind them and were not scored")
    if gaps := counts["restarted"] + counts["confirmed"]:
        notes.append(
            f"gaps in time that are too long to be filled in: {gaps:,}; behind each, up to {model.window - 1:,} rows are not scored"
        )
    of = observations.series
    there, scored = np.zeros((2, len(of.names)), np.bool_)
    for part in parts(len(of)):
        codes = of.codes[part]
        there[codes] = True
        scored[codes[verdicts.live[part] & np.isfinite(verdicts.score[part])]] = True
    silent = sorted(name for name, quiet in zip(of.names, there & ~scored, strict=True) if quiet)
    if silent:
        some = ", ".join(silent[:3]) + (", ..." if len(silent) > 3 else "")
        notes.append(f"{len(silent):,} series are too short to be scored: {some}")
    return notes
