"""Training: from recorded series or rows to a model, with everything around the detectors that was learnt.

    rows of a series   0 ─────────── fit ───────────┬──── calibrate ────┬──── never seen ────▶
                       70 % of the training part    │ the rest of it    │ min(15 %, 750) rows, for metrics
                       last tenth: early stopping

Detectors are fitted on the windows of all series together (one global model, each series scaled by its own centre and
scale); hand in one series for a model of its own. Calibration rests on rows that no weight was fitted on, because residuals
of fitted rows are too small. What is scored later is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detectors import registry
from detectors.base import Detector, DetectorError, Progress, TrainingReport
from detectors.calibration import Calibrator
from detectors.features import FeatureEncoder, Row
from detectors.model import Aggregation, Model
from detectors.scaling import SeriesScaling
from detectors.windowing import covariates, infer_interval, windows

Member = str | tuple[str, Mapping[str, Any]]
"""A detector's name, or name and settings; channels, covariates and seed are filled in."""
OnProgress = Callable[[Detector, Progress], None]


def metric_training_rows(n: int) -> int:
    """NAB's probation: 15 % of a metric's n observations, 750 at most."""
    return min(int(0.15 * n), 750)


def table_training_rows(n: int) -> int:
    """15 % of a table's n rows."""
    return int(0.15 * n)


@dataclass(frozen=True)
class _Part:
    """The training part of one series: windows that end in row `ends`, of which those before `fitted` are fitted on."""

    rows: NDArray[np.float64]  # (n, C + F), scaled
    breaks: NDArray[np.bool_]  # (n,) whether a window may not reach from before this row to it
    fitted: int

    def windows(self, T: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Windows (., T, C + F) to fit on, for early stopping, and to calibrate on."""
        x = windows(self.rows, T)
        run = np.cumsum(self.breaks)
        ends = np.arange(T - 1, T - 1 + len(x))
        whole = run[ends] == run[ends - T + 1]
        fit, calibrate = x[whole & (ends < self.fitted)], x[whole & (ends >= self.fitted)]
        held_back = len(fit) // 10
        return fit[: len(fit) - held_back], fit[len(fit) - held_back :], calibrate


def train_metric(
    series: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]],
    detectors: Sequence[Member],
    calibrator: Calibrator,
    *,
    training_rows: Callable[[int], int] = metric_training_rows,
    fit_fraction: float = 0.7,
    scaling: str = "standard",
    time_features: Sequence[str] = (),
    interval_ms: Mapping[str, int] | None = None,
    aggregation: Aggregation = "mean",
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    facts: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> Model:
    """Train a model on the first part of recorded metrics.

    Parameters
    ----------
    series
        Name -> event times (n,) in ms and values (n, C). Rows that are not finite, late or repeated are left out, as in
        the stream.
    detectors
        The members.
    training_rows
        From the length of a series to how many of its first observations train it.
    time_features
        Of `day`, `week`: sine and cosine of the event time, given to the detectors as covariates.
    interval_ms
        The usual step of each series; what is not given is found. Windows do not reach over gaps longer than four steps.
    threads
        Of torch while training. Weights are the same for the same seed and threads.
    facts
        What else the model file's header should say.

    Raises
    ------
    DetectorError
        No series is long enough; a setting does not fit; series differ in their channels.
    """
    scale = SeriesScaling(method=scaling)
    known: dict[str, NDArray[np.float64]] = {}
    parts: dict[str, _Part] = {}
    intervals: dict[str, int] = {}
    channels = {values.shape[1] for _, values in series.values()}
    if len(channels) != 1:
        msg = f"series must have the same number of channels, got {sorted(channels) or 'no series'}"
        raise DetectorError(msg)
    for name, (times, values) in series.items():
        first = training_rows(len(times))
        times, values = _accepted(times[:first], values[:first])
        if len(times) < 2:
            continue
        step = infer_interval(times) if interval_ms is None else interval_ms.get(name, 0)
        known[name] = scale.of(values)
        intervals[name] = step
        scaled = (values - known[name][0]) / known[name][1]
        rows = np.concatenate([scaled, covariates(times, time_features)], axis=1)
        breaks = np.r_[False, np.diff(times) > 4 * step] if step else np.zeros(len(times), np.bool_)
        parts[name] = _Part(rows, breaks, int(fit_fraction * len(times)))
    C, F = channels.pop(), 2 * len(time_features)
    members = _members(detectors, channels=C, covariates=F, seed=seed)
    calibrations, learnt = _fit(members, parts, calibrator, threads, device, on_progress)
    return Model(
        kind="metric",
        detectors=members,
        calibrator=calibrator,
        scaling=SeriesScaling(method=scaling, known=known, learn_rows=scale.learn_rows),
        features=None,
        time_features=tuple(time_features),
        aggregation=aggregation,
        training_rows={name: len(part.rows) for name, part in parts.items()},
        calibrations=calibrations,
        interval_ms=intervals,
        facts={**(facts or {}), **learnt, "seed": seed},
    )


def train_table(
    rows: Mapping[str, Sequence[Row]],
    names: Sequence[str],
    categorical: Sequence[str],
    detectors: Sequence[Member],
    calibrator: Calibrator,
    *,
    training_rows: Callable[[int], int] = table_training_rows,
    fit_fraction: float = 0.7,
    aggregation: Aggregation = "mean",
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    facts: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> Model:
    """Train a model on the first rows of tables; each row is judged by itself (T = 1).

    Parameters
    ----------
    rows
        Series -> its rows, in order; all series have the same columns.
    names, categorical
        The columns, and which of them are categories.

    Other parameters and errors are those of `train_metric`.
    """
    heads = {name: list(table[: training_rows(len(table))]) for name, table in rows.items()}
    fitted = {name: int(fit_fraction * len(head)) for name, head in heads.items()}
    encoder = FeatureEncoder(names, categorical).fit(
        [row for name, head in heads.items() for row in head[: fitted[name]]]
    )
    parts: dict[str, _Part] = {}
    for name, head in heads.items():
        encoded, problems = encoder.encode(head)
        good = np.ones(len(head), np.bool_)
        good[list(problems)] = False
        parts[name] = _Part(encoded[good], np.zeros(int(good.sum()), np.bool_), int(good[: fitted[name]].sum()))
    members = _members(detectors, channels=encoder.channels, covariates=0, seed=seed, window=1)
    calibrations, learnt = _fit(members, parts, calibrator, threads, device, on_progress)
    return Model(
        kind="table",
        detectors=members,
        calibrator=calibrator,
        scaling=SeriesScaling(method="none"),
        features=encoder,
        time_features=(),
        aggregation=aggregation,
        training_rows={name: len(part.rows) for name, part in parts.items()},
        calibrations=calibrations,
        interval_ms={},
        facts={**(facts or {}), **learnt, "seed": seed},
    )


def _members(detectors: Sequence[Member], **filled_in: int) -> tuple[Detector, ...]:
    if not detectors:
        msg = "no detector to train; `tidewatch detectors` lists them"
        raise DetectorError(msg)
    named = [(member, {}) if isinstance(member, str) else member for member in detectors]
    return tuple(registry.create(name, **{**filled_in, **settings}) for name, settings in named)


def _fit(
    members: tuple[Detector, ...],
    parts: Mapping[str, _Part],
    calibrator: Calibrator,
    threads: int,
    device: str,
    on_progress: OnProgress | None,
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Fit members on all series together, calibrate each series; returns calibration states and facts."""
    states: dict[str, NDArray[Any]] = {name: np.zeros(len(members), calibrator.dtype) for name in parts}
    reports: list[dict[str, Any]] = []
    for m, member in enumerate(members):
        cut = {name: part.windows(member.config.window) for name, part in parts.items()}
        if not member.learns:  # no residual is too small: every row may calibrate
            whole = {name: np.concatenate(split) for name, split in cut.items()}
            cut = {name: (x, x, x) for name, x in whole.items()}
        x = np.concatenate([fit for fit, _, _ in cut.values()])
        validation = np.concatenate([held for _, held, _ in cut.values()])
        if len(x) < 2 or len(validation) == 0:
            msg = (
                f"{member.name}: no series has enough training rows for windows of {member.config.window}; "
                "give longer series, more training rows or a shorter window"
            )
            raise DetectorError(msg)
        with limited_threads(threads):
            report = member.to(device).fit(x, validation=validation, on_progress=_bound(on_progress, member))
            member.to("cpu")
            raw = member.score(np.concatenate([calibrate for _, _, calibrate in cut.values()])).raw
        reports.append(_facts(member, report, len(x)))
        at = 0
        for name, (_, _, calibrate) in cut.items():
            states[name][m] = calibrator.fit(raw[at : at + len(calibrate)])
            at += len(calibrate)
    return states, {"training": reports}


def _bound(on_progress: OnProgress | None, member: Detector) -> Callable[[Progress], None] | None:
    return None if on_progress is None else lambda progress: on_progress(member, progress)


def _facts(member: Detector, report: TrainingReport, windows: int) -> dict[str, Any]:
    return {
        "detector": member.name,
        "windows": windows,
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "train_loss": report.train_loss,
        "validation_loss": report.validation_loss,
    }


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _accepted(times: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows that the stream would accept: finite, and newer than all before them."""
    finite = np.isfinite(values).all(axis=1)
    times, values = times[finite], values[finite]
    newer = np.ones(len(times), np.bool_)
    newer[1:] = times[1:] > np.maximum.accumulate(times)[:-1]
    return times[newer], values[newer]
