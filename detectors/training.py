"""Training: from recorded series or rows to a model, with everything around the detectors that was learnt.

    rows of a series   0 ─────────── fit ───────────┬──── calibrate ────┬──── never seen ────▶
                       70 % of the training part    │ the rest of it    │ min(15 %, 750) rows, for metrics
                       last tenth: early stopping

Detectors are fitted on the windows of all series together (one global model, each series scaled by its own centre and
scale); hand in one series for a model of its own. Calibration rests on rows that no weight was fitted on, because residuals
of fitted rows are too small. What is scored later is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors import registry
from detectors.base import Detector, DetectorError, Progress, TrainingReport
from detectors.calibration import Calibrator
from detectors.checkpoint import TrainingCheckpoint, fingerprint
from detectors.features import FeatureEncoder, Row
from detectors.model import Aggregation, Model
from detectors.numerics import limited_threads
from detectors.outlying import Outlying
from detectors.scaling import SeriesScaling
from detectors.training_part import all_rows as all_rows
from detectors.training_part import history_rows as history_rows
from detectors.training_part import metric_training_rows as metric_training_rows
from detectors.training_part import table_training_rows as table_training_rows
from detectors.windowing import covariates, infer_interval, windows

Member = str | tuple[str, Mapping[str, Any]]
"""A detector's name, or name and settings; channels, covariates and seed are filled in."""
OnProgress = Callable[[Detector, Progress], None]


class _Windows(NamedTuple):
    """Windows (N, T, C + F) that end in some rows, and the labels (N,) of these rows."""

    x: NDArray[np.float32]
    y: NDArray[np.int8]

    def and_then(self, others: _Windows) -> _Windows:
        """These windows and others."""
        return _Windows(np.concatenate([self.x, others.x]), np.concatenate([self.y, others.y]))


@dataclass(frozen=True)
class _Part:
    """The training part of one series."""

    rows: NDArray[np.float64]  # (n, C + F), scaled
    breaks: NDArray[np.bool_]  # (n,) whether a window may not reach from before this row to it
    fitted: int  # rows before this one are fitted on, the others calibrate
    labels: NDArray[np.int8]  # (n,)

    def windows(self, T: int) -> tuple[_Windows, _Windows]:
        """Windows to fit on, and windows to calibrate on."""
        x = windows(self.rows, T)
        run = np.cumsum(self.breaks)
        ends = np.arange(T - 1, T - 1 + len(x))
        whole = run[ends] == run[ends - T + 1]
        fit, calibrate = whole & (ends < self.fitted), whole & (ends >= self.fitted)
        return _Windows(x[fit], self.labels[ends[fit]]), _Windows(x[calibrate], self.labels[ends[calibrate]])


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
    labels: Mapping[str, NDArray[np.bool_]] | None = None,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    facts: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
    checkpoint: TrainingCheckpoint | None = None,
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
    labels
        Name -> (n,) which observations are anomalous, for supervised detectors; series without labels are taken as normal.
    threads
        Of torch while training. Weights are the same for the same seed and threads.
    facts
        What else the model file's header should say.
    checkpoint
        Renewed after every epoch; what it holds already is not trained again.

    Raises
    ------
    DetectorError
        No series is long enough; a setting does not fit; series differ in their channels; `as_arrays`.
    """
    series = as_arrays(series)
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
        kept = accepted(times[:first], values[:first])
        times, values = times[kept], values[kept]
        if len(times) < 2:
            continue
        step = infer_interval(times) if interval_ms is None else interval_ms.get(name, 0)
        known[name] = scale.of(values)
        intervals[name] = step
        scaled = (values - known[name][0]) / known[name][1]
        rows = np.concatenate([scaled, covariates(times, time_features)], axis=1)
        breaks = np.r_[False, np.diff(times) > 4 * step] if step else np.zeros(len(times), np.bool_)
        parts[name] = _Part(rows, breaks, int(fit_fraction * len(times)), _labels(labels, name, kept))
    C, F = channels.pop(), 2 * len(time_features)
    members = _members(detectors, "windows", channels=C, covariates=F, seed=seed)
    run = _Run(calibrator, threads, device, on_progress, checkpoint)
    calibrations, learnt = run.fit(members, parts)
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
    scaling: str = "robust",
    aggregation: Aggregation = "mean",
    labels: Mapping[str, NDArray[np.bool_]] | None = None,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    facts: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
    checkpoint: TrainingCheckpoint | None = None,
    together: bool = True,
) -> Model:
    """Train a model on the first rows of tables; each row is judged by itself (T = 1).

    Parameters
    ----------
    rows
        Series -> its rows, in order; all series have the same columns.
    names, categorical
        The columns, and which of them are categories.
    scaling
        Of numeric columns: `robust` or `min-max`.
    together
        Whether all members together make one score that ranks, and whose tail decides (`detectors.outlying`); otherwise, and of supervised ones,
        their calibrated scores decide, aggregated.

    Other parameters and errors are those of `train_metric`.
    """
    heads = {name: list(table[: training_rows(len(table))]) for name, table in rows.items()}
    fitted = {name: int(fit_fraction * len(head)) for name, head in heads.items()}
    encoder = FeatureEncoder(names, categorical, scaling=scaling).fit(
        [row for name, head in heads.items() for row in head[: fitted[name]]]
    )
    parts: dict[str, _Part] = {}
    for name, head in heads.items():
        encoded, problems = encoder.encode(head)
        good = np.ones(len(head), np.bool_)
        good[list(problems)] = False
        whole = np.zeros(int(good.sum()), np.bool_)
        kept = np.flatnonzero(good)
        parts[name] = _Part(encoded[good], whole, int(good[: fitted[name]].sum()), _labels(labels, name, kept))
    members = _members(detectors, "rows", channels=encoder.channels, covariates=0, seed=seed, window=1)
    run = _Run(calibrator, threads, device, on_progress, checkpoint)
    calibrations, learnt = run.fit(members, parts)
    if encoder.ranges is not None and any(member.name == "vae" for member in members):
        learnt["ranges"] = asdict(encoder.ranges)  # what is drawn from it stays within them
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
        outlying=run.outlying(members, parts) if together else None,
    )


def _members(detectors: Sequence[Member], kind: Literal["windows", "rows"], **filled_in: int) -> tuple[Detector, ...]:
    if not detectors:
        msg = "no detector to train; `tidewatch detectors` lists them"
        raise DetectorError(msg)
    named = [(member, {}) if isinstance(member, str) else member for member in detectors]
    for name, _ in named:
        if kind not in registry.find(name).kinds:
            other = "windows of metrics" if kind == "rows" else "rows of a table"
            msg = f"{name} takes {other} only; `tidewatch detectors` says what each one takes"
            raise DetectorError(msg)
    return tuple(registry.create(name, **{**filled_in, **settings}) for name, settings in named)


@dataclass(frozen=True)
class _Run:
    """How members are fitted, whatever on."""

    calibrator: Calibrator
    threads: int
    device: str
    on_progress: OnProgress | None
    checkpoint: TrainingCheckpoint | None

    def fit(
        self, members: tuple[Detector, ...], parts: Mapping[str, _Part]
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Fit members on all series together, calibrate each series; returns calibration states and facts."""
        states: dict[str, NDArray[Any]] = {name: np.zeros(len(members), self.calibrator.dtype) for name in parts}
        reports: list[dict[str, Any]] = []
        for m, member in enumerate(members):
            cut = {name: part.windows(member.config.window) for name, part in parts.items()}
            fit, calibrate = ({name: both[i] for name, both in cut.items()} for i in (0, 1))
            if not member.learns:  # no residual is too small: every row may calibrate
                calibrate = {name: both[0].and_then(both[1]) for name, both in cut.items()}
                fit = calibrate
            with limited_threads(self.threads):
                report = self._fit_one(m, member, list(fit.values()))
                for name, scores in self._raw(member, calibrate).items():
                    states[name][m] = self.calibrator.fit(scores[calibrate[name].y == 0])
            reports.append(_facts(member, report, sum(len(w.x) for w in fit.values())))
        return states, {"training": reports}

    def _fit_one(self, m: int, member: Detector, series: Sequence[_Windows]) -> TrainingReport:
        """Fit one member; the last tenth of each series is for early stopping, unless it splits by itself."""
        held_back = [0 if member.supervised else min(max(1, len(w.x) // 10), len(w.x) // 2) for w in series]
        x = np.concatenate([w.x[: len(w.x) - h] for w, h in zip(series, held_back, strict=True)])
        held = np.concatenate([w.x[len(w.x) - h :] for w, h in zip(series, held_back, strict=True)])
        if len(x) < 2 or not (len(held) or member.supervised):
            msg = (
                f"{member.name}: no series has enough training rows for windows of {member.config.window}; "
                "give longer series, more training rows or a shorter window"
            )
            raise DetectorError(msg)
        y = np.concatenate([w.y for w in series]) if member.supervised else None
        if y is not None and not (0 < y.sum() < len(y)):
            msg = f"{member.name} is supervised: the training part must have normal and labelled anomalous observations"
            raise DetectorError(msg)
        validation = None if member.supervised else held
        member.to(self.device)
        if self.checkpoint is None:
            return member.fit(x, y, validation=validation, on_progress=self._told(member))
        mark = fingerprint(member.config, x, held, np.empty(0) if y is None else y)
        report = self.checkpoint.take_up(m, member, mark)
        if report is None:
            keep = partial(self.checkpoint.under_way, m, member, mark)
            tell = self._told(member, keep)
            report = member.fit(x, y, validation=validation, on_progress=tell)
            self.checkpoint.done(m, member, report, mark)
        return report

    def _told(self, member: Detector, first: Callable[[], None] | None = None) -> Callable[[Progress], None]:
        def tell(progress: Progress) -> None:
            if first is not None:
                first()
            if self.on_progress is not None:
                self.on_progress(member, progress)

        return tell

    def outlying(self, members: tuple[Detector, ...], parts: Mapping[str, _Part]) -> Outlying | None:
        """One score of all members of a table, with what is usual of it; None of supervised ones, which know what an anomaly is."""
        if any(member.supervised for member in members):
            return None
        cut = {name: part.windows(1) for name, part in parts.items()}
        fitted, held = (
            [self._raw(member, {name: both[i] for name, both in cut.items()}) for member in members] for i in (0, 1)
        )
        of = {name: tuple(np.stack([raw[name] for raw in part], axis=1) for part in (fitted, held)) for name in parts}
        return Outlying.fit(of)  # type: ignore[arg-type]  # two of them

    def _raw(self, member: Detector, series: Mapping[str, _Windows]) -> dict[str, NDArray[np.float64]]:
        """Raw scores of each series' windows, on the CPU: its numerics are everybody's."""
        member.to("cpu")
        raw = member.score(np.concatenate([w.x for w in series.values()])).raw
        ends = np.cumsum([len(w.x) for w in series.values()])
        return dict(zip(series, np.split(raw, ends[:-1]), strict=True))


def _facts(member: Detector, report: TrainingReport, windows: int) -> dict[str, Any]:
    return {
        "detector": member.name,
        "windows": windows,
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "train_loss": report.train_loss,
        "validation_loss": report.validation_loss,
    }


def as_arrays(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Recorded metrics as times (n,) in ms since the epoch and values (n, C), from what a notebook has.

    Times may be `datetime64` (UTC) too, values (n,) are one channel.

    Raises
    ------
    DetectorError
        Not numbers; shapes do not fit each other; a time that is missing. The message names the series.
    """
    found = {}
    for name, (given, recorded) in series.items():
        try:
            times, values = np.asarray(given), np.asarray(recorded, np.float64)
        except (TypeError, ValueError) as error:
            msg = f"series {name!r}: values are not numbers: {error}"
            raise DetectorError(msg) from error
        if values.ndim == 1:
            values = values[:, None]
        if times.ndim != 1 or values.ndim != 2 or len(times) != len(values) or not values.shape[1]:
            msg = f"series {name!r}: times {times.shape} and values {values.shape} are not (n,) and (n, C)"
            raise DetectorError(msg)
        if not len(times):
            times = times.astype(np.int64)
        if times.dtype.kind == "M" and not np.isnat(times).any():
            times = times.astype("datetime64[ms]")
        elif times.dtype.kind not in "iu":
            msg = f"series {name!r}: times are {times.dtype}, not whole milliseconds since 1970 or datetime64 without gaps"
            raise DetectorError(msg)
        found[name] = (times.astype(np.int64), values)
    return found


def accepted(times: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Which rows the stream would accept: those that are finite, and newer than all before them."""
    finite = np.flatnonzero(np.isfinite(values).all(axis=1))
    times = times[finite]
    newer = np.ones(len(times), np.bool_)
    newer[1:] = times[1:] > np.maximum.accumulate(times)[:-1]
    return finite[newer]


def _labels(labels: Mapping[str, NDArray[np.bool_]] | None, name: str, kept: NDArray[np.intp]) -> NDArray[np.int8]:
    """Labels of the rows that were kept of a series; zeros where it has none."""
    if labels is None or name not in labels:
        return np.zeros(len(kept), np.int8)
    return np.asarray(labels[name])[kept].astype(np.int8)
