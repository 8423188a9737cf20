"""The product's defaults: what a model is made of where nobody chose, one recipe for metrics, one for tables.

No recipe holds anything of a particular series; `tidewatch evaluate` and `benchmarks/unseen/run.py` measure them. What a training part of
metrics is too short for is left out or made smaller: windows, the time of day, and in the end the networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors import registry
from detectors.base import DetectorError
from detectors.calibration import create
from detectors.features import Row
from detectors.judgement.calendar import UTC, Calendar
from detectors.model import Aggregation, Model
from detectors.training import (
    Member,
    OnProgress,
    accepted,
    all_rows,
    as_arrays,
    history_rows,
    metric_training_rows,
    table_training_rows,
    train_metric,
    train_table,
)
from detectors.windowing import infer_interval

if TYPE_CHECKING:
    from detectors.judged import Judgement

FIT = 0.7
"""Share of the training part that is fitted on; the rest calibrates."""
FEW_OBSERVATIONS = 36
"""Observations of a metric to fit on below which there is no network; above, a window may be half of them."""
FEW_SCORES = 8
"""Scores that calibrate where there are no more: how rare a score is, is then a coarse guess, but no score of 0 for everything."""
RECENT = 1000
"""Newest rows of a series' history that the members beside a judgement learn from: more take their time, and the judgement knows all of it."""
LEAST_METRIC, LEAST_TABLE = 5, 5
"""Training rows without which nothing can be learnt."""
Recorded = Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
_DAY_MS = 86_400_000
_CYCLES = {"day": (_DAY_MS, 1.0), "week": (7 * _DAY_MS, 3.0)}
"""Of a time feature: its length, and how many of it the fitted rows must span. Times of day never seen mislead a network."""


@dataclass(frozen=True)
class Room:
    """What the training part of a file allows.

    Attributes
    ----------
    rows
        Fitted rows of the longest series that no gap cuts.
    span
        Event time of the fitted rows, ms: the median over the series.
    intervals
        Series -> usual step. 0 where gaps are so usual that hardly a window fits between two: then they are no gaps.
    """

    rows: int
    span: float
    intervals: Mapping[str, int]

    @classmethod
    def of(
        cls,
        series: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]],
        training_rows: Callable[[int], int],
        window: int,
    ) -> Room:
        """Look at the training parts of series, for windows of at most `window`."""
        rows, spans, intervals = [0], [0.0], {}
        for name, (times, values) in series.items():
            first = training_rows(len(times))
            known = times[:first][accepted(times[:first], values[:first])]
            if len(known) < 2:
                continue
            step = infer_interval(known)
            fitted = int(FIT * len(known))
            least = min(window, max(fitted // 2, 3))  # what `for_room` makes of it
            runs = np.diff(np.r_[0, np.flatnonzero(np.diff(known) > 4 * step) + 1, len(known)])
            if step and np.maximum(runs - least + 1, 0).sum() < 0.5 * max(len(known) - least + 1, 1):
                step = 0
            intervals[name] = step
            rows.append(fitted if not step else min(fitted, int(runs.max())))
            spans.append(float(known[max(fitted - 1, 0)] - known[0]))
        return cls(max(rows), float(np.median(spans[1:] or spans)), intervals)


@dataclass(frozen=True)
class Recipe:
    """Members, calibration and aggregation of a model."""

    detectors: tuple[Member, ...]
    several: tuple[Member, ...] = ()
    """Members in their place where a series has several channels; none: the same."""
    aggregation: Aggregation = "mean"
    time_features: tuple[str, ...] = ()
    calibrator: str = "empirical"
    calibration: Mapping[str, Any] = field(default_factory=dict)
    scaling: str = "standard"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The stream's settings that go with it, as in tidewatch.toml."""
    judgement: bool = False
    """Metrics: whether each newest row is judged besides (`detectors.judgement`); its alarm then decides."""
    chosen: bool = False
    """Whether a user chose the detector: then no other takes its place."""

    def of(self, detector: str) -> Recipe:
        """The same with one detector by name, or several as lstm+tcn: each as the recipe has it, else in its default settings."""
        named = {member if isinstance(member, str) else member[0]: member for member in self.several + self.detectors}
        members = tuple(named.get(name, name) for name in detector.split("+"))
        aggregation: Aggregation = self.aggregation if len(members) > 1 else "mean"
        return replace(self, detectors=members, several=(), aggregation=aggregation, chosen=True, judgement=False)

    def for_channels(self, channels: int) -> Recipe:
        """What of it judges series of so many channels."""
        return self if channels == 1 else replace(self, detectors=self.several or self.detectors, several=())

    def for_rows(self, rows: int) -> Recipe:
        """What of it a table with so many training rows allows: all.

        Raises
        ------
        DetectorError
            Too few to learn anything from.
        """
        if rows < LEAST_TABLE:
            msg = (
                f"{rows} training rows are too few to learn from: at least {LEAST_TABLE} are needed, "
                f"{-(-LEAST_TABLE * 100 // 15)} rows in the file; give more rows, or more of them to learn from (--train-rows)"
            )
            raise DetectorError(msg)
        return self

    def for_members(self, series: Recorded) -> Recorded:
        """What of the histories of metrics the members learn from: all; beside a judgement the newest `RECENT` rows of each."""
        if not self.judgement:
            return series
        return {name: (times[-RECENT:], values[-RECENT:]) for name, (times, values) in series.items()}

    def room(
        self,
        series: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]],
        training_rows: Callable[[int], int] = metric_training_rows,
    ) -> Room:
        """What the training parts of metrics allow."""
        return Room.of(series, training_rows, max(map(_window, self.detectors)))

    def for_room(self, room: Room) -> Recipe:
        """What of it a training part of metrics allows; `for_rows` for tables."""
        least = int(FIT * LEAST_METRIC)
        if room.rows < least:
            msg = (
                f"no series has {LEAST_METRIC} training rows with values to learn from, which takes {2 * LEAST_METRIC} rows in order of "
                "time; give longer series, or more rows to learn from (--train-rows)"
            )
            raise DetectorError(msg)
        recipe = self.with_known_times(room)
        if room.rows < FEW_OBSERVATIONS:
            recipe = replace(recipe, calibration={**self.calibration, "minimum": FEW_SCORES})
            if not self.chosen:
                shortest = ("zscore", {"window": max(room.rows // 2, 3)})
                return replace(recipe, detectors=(shortest,), time_features=(), aggregation="mean")
        longest = max(room.rows // 2, 3)
        return replace(recipe, detectors=tuple(_shortened(m, longest) for m in self.detectors))

    def with_known_times(self, room: Room) -> Recipe:
        """Without the times of day and week of which the fitted rows saw too few cycles."""
        known = tuple(f for f in self.time_features if room.span >= _CYCLES[f][0] * _CYCLES[f][1])
        return replace(self, time_features=known)

    def train_metric(
        self,
        series: Mapping[str, tuple[ArrayLike, ArrayLike]],
        *,
        training_rows: Callable[[int], int] | None = None,
        calendar: Calendar = UTC,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> Model:
        """Train on recorded metrics, with what of the recipe they allow; see `detectors.training.train_metric`.

        Parameters
        ----------
        training_rows
            From how many rows a series has to how many are learnt from; None: its history where there is a judgement
            (`detectors.training.history_rows`), else `metric_training_rows`.
        calendar
            Whose day, week and holidays the series keep, where there is a judgement.

        Raises
        ------
        DetectorError
            Too few rows to learn from; not arrays of a metric (`detectors.training.as_arrays`).
        """
        heads = {}
        for name, (times, values) in as_arrays(series).items():
            if training_rows is not None:
                first = training_rows(len(times))
            else:
                first = history_rows(times) if self.judgement else metric_training_rows(len(times))
            heads[name] = times[:first], values[:first]
        arrays = self.for_members(heads)
        room = self.room(arrays, all_rows)
        channels = max((values.shape[1] for _, values in arrays.values()), default=1)
        recipe = self.for_channels(channels).for_room(room)
        # Compiled code and numpy's: it leaves Python to torch.
        with ThreadPoolExecutor(1) as beside:
            judgement = beside.submit(self._judgement, heads, calendar)
            model = train_metric(
                arrays,
                recipe.detectors,
                create(recipe.calibrator, recipe.calibration),
                training_rows=all_rows,
                fit_fraction=FIT,
                scaling=self.scaling,
                time_features=recipe.time_features,
                interval_ms=room.intervals,
                aggregation=recipe.aggregation,
                seed=seed,
                on_progress=on_progress,
            )
        learnt = judgement.result()
        return model if learnt is None else learnt.beside(model)

    def judged(self, model: Model, histories: Recorded, calendar: Calendar = UTC) -> Model:
        """The trained model with its judgement, where the recipe has one."""
        learnt = self._judgement(histories, calendar)
        return model if learnt is None else learnt.beside(model)

    def _judgement(self, histories: Recorded, calendar: Calendar) -> Judgement | None:
        if not self.judgement:
            return None
        from detectors.judged import Judgement

        return Judgement.learnt(histories, calendar)

    def train_table(
        self,
        rows: Mapping[str, Sequence[Row]],
        names: Sequence[str],
        categorical: Sequence[str],
        *,
        training_rows: Callable[[int], int] = table_training_rows,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> Model:
        """Train on the rows of a table; see `detectors.training.train_table`."""
        return train_table(
            rows,
            names,
            categorical,
            self.detectors,
            create(self.calibrator, self.calibration),
            training_rows=training_rows,
            aggregation=self.aggregation,
            seed=seed,
            on_progress=on_progress,
        )


def _window(member: Member) -> int:
    """Observations in a member's window."""
    name, settings = (member, {}) if isinstance(member, str) else member
    return int(settings.get("window", registry.find(name).Config.model_fields["window"].default))


def _shortened(member: Member, longest: int) -> Member:
    """The member with a window of at most `longest`, a horizon that leaves three quarters of it for the context, and of that at least four patches."""
    name, settings = (member, {}) if isinstance(member, str) else member
    window = min(_window(member), longest)
    if window == _window(member) or registry.find(name).fixed_window:
        return member
    shorter = {**settings, "window": window}
    if "horizon" in settings:
        shorter["horizon"] = max(1, min(settings["horizon"], window // 4))
    if "patch" in settings:
        shorter["patch"] = patch_of(shorter, window)
    return name, shorter


def patch_of(settings: Mapping[str, Any], window: int) -> int:
    """The patch of a forecaster's settings, cut down so that the context of such a window holds four."""
    return max(1, min(int(settings["patch"]), (window - int(settings.get("horizon", 1))) // 4))


_FORECAST = {"horizon": 8, "patch": 8, "centred": False, "limit": 4.0}

_NETWORKS: tuple[Member, ...] = (
    ("lstm", _FORECAST),
    ("tcn", {**_FORECAST, "blocks": 2}),
    ("autoencoder", {"window": 48, "limit": 4.0}),
)
_COMPANY: tuple[Member, ...] = (("pca", {"window": 4}),)
METRIC = Recipe(_NETWORKS, several=_COMPANY, time_features=("day",), judgement=True)
"""A judgement of each newest row that knows the day, the week and the company that channels keep: its alarm decides. Beside it three networks that see a
stretch that runs wrong have a say in the score, which ranks the better for it. Where there are several channels it does not, and they are left out; a look
at the last four observations, which costs next to nothing, stands in their place."""
NETWORKS = replace(METRIC, several=_NETWORKS + _COMPANY, judgement=False)
"""By whose calibrated scores metrics are judged for whoever chooses a threshold of his own."""
TABLE = Recipe(
    ("kmeans", ("isolation-forest", {"max_samples": 1024}), "mahalanobis"),
    aggregation="rms",
    calibration={"adapt_after": 60_000},
)
"""What lies far from all that was seen, what few cuts isolate, what breaks the columns' habits together: what one of them finds at once
another cannot see at all (a forest no broken correlation, a distance no count among wild columns), so the mean of squares, by which
one that is sure is heard. All three leave the farthest rows out when they are fitted, or hardly see them: first rows are seldom clean.
An attack of a thousand rows stays one: what decides is `detectors.outlying`."""


def by_name(kind: Literal["metric", "table"], detector: str = "", threshold: Mapping[str, Any] | None = None) -> Recipe:
    """The product's recipe for a kind of data, or what of it a detector's name chooses; of a stream with these settings of its `threshold`."""
    recipe = METRIC if kind == "metric" else TABLE
    if detector:
        return recipe.of(detector)
    chosen = threshold or {}
    own = chosen.get("level") is not None or chosen.get("method", "fixed") != "fixed"
    return NETWORKS if kind == "metric" and own else recipe
