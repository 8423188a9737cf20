"""What tests look at of a state's rows."""

from __future__ import annotations

import numpy as np

from pipeline.steps.state import PartitionState


def changed_rows(state: PartitionState) -> set[int]:
    """Rows that the next checkpoint has to write."""
    return set(np.flatnonzero(state._dirty).tolist())
