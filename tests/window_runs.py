"""Records pushed into a partition's windows, in any cuts: for the tests of `pipeline.steps.windows` and of what it is made of."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import calibration, registry
from detectors.model import Model
from detectors.scaling import SeriesScaling
from pipeline.settings import StreamSettings
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.outcomes import Pushed
from pipeline.steps.state import PartitionState
from pipeline.steps.windows import COMPONENT, SeriesWindows

START = 1_404_172_800_000
STEP = 300_000
LIMIT = 20 * STEP
NAMES = ("a", "b", "known", "irregular")


def model(
    T: int, C: int = 1, *, features: bool = False, method: str = "standard", learn_rows: int = 5, kind: str = "metric"
) -> Model:
    known = {n: np.array([[1.0] * C, [2.0] * C]) for n in ("known", "irregular")} if method != "none" else {}
    return Model(
        kind=kind,  # type: ignore[arg-type]
        detectors=(registry.create("constant", window=T, channels=C, covariates=4 * features),),
        calibrator=calibration.create("gaussian-tail"),
        scaling=SeriesScaling(method=method, known=known, learn_rows=learn_rows),
        features=None,
        time_features=("day", "week") if features else (),
        aggregation="mean",
        training_rows={},
        calibrations={},
        interval_ms={"known": STEP, "irregular": 0},
    )


def stream(fill_gaps: int = 3, future_limit: float = LIMIT / 1000) -> StreamSettings:
    return StreamSettings(name="s", model="m", fill_gaps=fill_gaps, future_limit=future_limit)  # type: ignore[arg-type]


class Run:
    """Pushes records (series, time, values) into a partition of its own, in the given cuts."""

    def __init__(self, of: Model, settings: StreamSettings | None = None) -> None:
        self.windows = SeriesWindows(of, settings or stream())
        self.state = PartitionState({COMPONENT: self.windows.dtype}, max_series=100)
        self.counts: Counter[str] = Counter()

    def push(self, records: list[tuple[str, int, list[float]]]) -> Pushed:
        series = [r[0] for r in records]
        observations = Observations(
            offsets=np.arange(len(records)),
            series=series,
            timestamps=np.array([r[1] for r in records], np.int64),
            values=np.array([r[2] for r in records], np.float64).reshape(len(records), -1),
        )
        rows, new = self.state.rows_of(series)
        pushed = self.windows.push(self.state, observations, rows, new)
        self.counts.update(pushed.counts)
        return pushed

    def slot(self, name: str) -> NDArray[Any]:
        row = self.state.row_of(name)
        assert row is not None
        return self.state.arrays[COMPONENT][row]


def at(*positions: float, series: str = "known") -> list[tuple[str, int, list[float]]]:
    """Records of one series at so many steps after the start; the value is the position."""
    return [(series, START + round(p * STEP), [float(p)]) for p in positions]


ODD_STEPS = (0.0, -1.0, 0.95, 1.04, 1.5, 1.6, 2.0, 3.0, 4.0, 5.0, 9.0, 19.0, 21.0, 60.0, -25.0)


def random_stream(seed: int, n: int, C: int) -> list[tuple[str, int, list[float]]]:
    """n records of four series, calm or rough, with steps back, repetitions, gaps, jumps and enormous values."""
    rng = random.Random(seed)
    odds = rng.choice([0.0, 0.02, 0.3])
    positions = dict.fromkeys(NAMES, 0.0)
    records = []
    for _ in range(n):
        name = rng.choice(NAMES)
        step = rng.choice(ODD_STEPS) if rng.random() < odds else rng.choice([1.0, 1.0, 1.02])
        time = START + round((positions[name] + step) * STEP)
        if rng.random() > odds / 4:  # else the next step starts where this one did: a record out of line
            positions[name] += step
        scale = rng.choice([0.0, 1.0, 1.0, 1e300])
        records.append((name, time, [rng.gauss(0, 1) * scale for _ in range(C)]))
    return records


def windows_of(pushed: Pushed) -> list[list[float]]:
    w = pushed.windows
    return [w.packed[s : s + w.x.shape[1], 0].tolist() for s in w.starts]
