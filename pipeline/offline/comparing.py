"""Detectors and settings side by side on a labelled data set: what each finds, how often it is wrong, how sure that is, what it costs.

    series   0 ── learnt from ──┬──────── choose ────────┬──────── judge ────────▶
                                │ `tune` takes the best  │ and tells what it is worth here
                                └──────────────── compare: all of it ────────────▶

Everything is causal: each series has a model of its own, learnt from its first rows, and no row is judged by a later one. Labels of the rows that are
learnt from do not count. An event belongs to the part in which it begins, and
is found by an alert that meets it and began at most a hundred rows before it: one alert that never ends finds what it began with, and no more.

Intervals are of a block bootstrap (Künsch 1989): the watched time is cut into blocks, blocks are drawn with replacement, and the middle nine tenths
of the figures are told. With few labelled events they are wide, and that is what is known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from glob import escape
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from detectors.base import DetectorError
from detectors.evaluation import delay, ranges
from detectors.judgement.calendar import UTC, Calendar
from detectors.model import Model
from detectors.recipes import Recipe
from pipeline.offline.choosing import in_the_files_time, recipe_of
from pipeline.offline.evaluation import BUFFER, alerted
from pipeline.offline.scorefile import score_dataset
from pipeline.offline.scoring.ready import train
from pipeline.offline.scoring.rows import ScoredRows
from producers.cells import plain_cell
from producers.datasets import Dataset, as_dataset
from producers.errors import DataError

WEEK = 7 * 86_400_000
ROWS = 1_000
"""Rows of a table that stand where a week of a metric does."""
EARLY = 100
"""Rows that an alert may begin before an event and still be about it."""
BLOCKS, DRAWS = 40, 1_000
SURE = (0.05, 0.95)


@dataclass(frozen=True)
class Candidate:
    """What judges: a detector ("" the product's mix) and settings as `--set` takes them."""

    detector: str = ""
    settings: tuple[str, ...] = ()
    budget: str = ""

    @property
    def name(self) -> str:
        """As it is told."""
        return ", ".join([self.detector or "default", *self.settings, *([self.budget] if self.budget else [])])


@dataclass(frozen=True)
class Watched:
    """One series behind what was learnt from, in the order of time: times, labels and scores (n,), alerts and labelled events as places."""

    name: str
    times: NDArray[np.int64]
    y: NDArray[np.int8]
    score: NDArray[np.float64]
    alerts: list[tuple[int, int]]
    events: list[tuple[int, int]]

    def since(self, begin: int) -> Watched:
        """From this event time on; what began before begins with it."""
        cut = int(np.searchsorted(self.times, begin))
        alerts, events = (
            [(max(a - cut, 0), b - cut) for a, b in spans if b >= cut] for spans in (self.alerts, self.events)
        )
        return Watched(self.name, self.times[cut:], self.y[cut:], self.score[cut:], alerts, events)


@dataclass(frozen=True)
class Outcome:
    """What a candidate said of all series, and how long it took to learn and to score, in seconds."""

    candidate: Candidate
    kind: str
    watched: tuple[Watched, ...]
    learning: float
    scoring: float
    rows: int


@dataclass(frozen=True)
class Figures:
    """What a candidate is worth on a part of the data set.

    Attributes
    ----------
    alerts_a_week, false_a_week
        Of each series, of tables in 1,000 rows; labelled alerts are the others.
    found_low, found_high, false_low, false_high
        Of the share of events found, and of `false_a_week`: nine tenths of the bootstrap lie between.
    delay_rows
        Rows of an event before its first alert; the median of those found.
    vus_pr, prevalence
        Of what ranks (`ScoredRows.ranking`), without any threshold; a random score has about the prevalence.
    """

    candidate: str
    events: int
    found: int
    found_low: float
    found_high: float
    alerts: int
    false: int
    alerts_a_week: float
    false_a_week: float
    false_low: float
    false_high: float
    delay_rows: float
    range_precision: float
    range_recall: float
    vus_pr: float
    prevalence: float
    learning_seconds: float
    rows_a_second: float


def try_out(
    data: Dataset,
    candidates: Sequence[Candidate],
    *,
    train_rows: int | None = None,
    calendar: Calendar = UTC,
    on_candidate: Callable[[str], None] = lambda _: None,
    on_left_out: Callable[[str], None] = lambda _: None,
) -> list[Outcome]:
    """Score a labelled data set by each candidate, and keep of each what all of them watched.

    What differs in settings of the stream only is learnt once. A candidate that cannot judge this data is told and left out.

    Raises
    ------
    DetectorError, SettingsError, DataError
        A setting does not exist; no candidate is left.
    """
    outcomes: list[Outcome] = []
    learnt: dict[str, _Learnt] = {}
    failed: dict[str, DetectorError] = {}
    for candidate in candidates:
        if candidate.detector in failed:
            continue
        on_candidate(candidate.name)
        try:
            outcomes.append(_outcome(data, candidate, train_rows, calendar, learnt))
        except DetectorError as error:
            if len(candidates) == 1:
                raise
            failed[candidate.detector] = error
            on_left_out(f"{candidate.detector or 'default'}: {error}")
    if not outcomes:
        raise next(iter(failed.values()))
    return _on_common_rows(outcomes)


def learnt(data: Dataset, candidate: Candidate, *, train_rows: int | None, calendar: Calendar) -> tuple[Model, Recipe]:
    """One model of all series, from the rows that the comparison learnt from, and the recipe with its settings. Raises DetectorError."""
    recipe, first = _recipe(data, candidate, train_rows)
    return train(data, train_rows=first, recipe=recipe, calendar=calendar), recipe


def _recipe(data: Dataset, candidate: Candidate, train_rows: int | None) -> tuple[Recipe, int | None]:
    """What a candidate is made of, and how many first rows it learns from. Raises DetectorError, SettingsError."""
    recipe = recipe_of(
        data, detector=candidate.detector, settings=candidate.settings, budget=candidate.budget, train_rows=train_rows
    )
    return in_the_files_time(data, recipe, train_rows)


@dataclass
class _Learnt:
    """Models of the series, None where one is too short, and how long they took."""

    models: dict[str, Model | None] = field(default_factory=dict)
    seconds: float = 0.0


def _outcome(
    data: Dataset, candidate: Candidate, train_rows: int | None, calendar: Calendar, learnt: dict[str, _Learnt]
) -> Outcome:
    recipe, first = _recipe(data, candidate, train_rows)
    mine = learnt.setdefault(
        repr((recipe.detectors, recipe.several, recipe.calibrator, recipe.judgement, first)), _Learnt()
    )
    watched: list[Watched] = []
    scoring = 0.0
    parts = [data.select(escape(name)) for name in data.all_series] if data.kind == "metric" else [data]
    for part in parts:
        name = next(iter(part.all_series))
        if name not in mine.models:
            began = time.perf_counter()
            mine.models[name] = _trained(part, recipe, first, calendar, alone=len(parts) == 1)
            mine.seconds += time.perf_counter() - began
        model = mine.models[name]
        if model is not None:
            began = time.perf_counter()
            scored = score_dataset(part, recipe=recipe, model=model, train_rows=first)
            scoring += time.perf_counter() - began
            watched += _watched(part, scored)
    if not watched:
        msg = f"{candidate.name}: no series is long enough to be judged"
        raise DetectorError(msg)
    return Outcome(candidate, data.kind, tuple(watched), mine.seconds, scoring, len(data))


def _on_common_rows(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Each from where all of them have scores, or one would be judged by events that another never saw."""
    by_name = [{w.name: w for w in o.watched} for o in outcomes]
    names = [n for n in by_name[0] if all(n in other for other in by_name)]
    if not names:
        msg = "no series could be judged by all of the candidates; compare fewer, or give longer series"
        raise DetectorError(msg)
    begin = {n: max(int(of[n].times[0]) for of in by_name) for n in names}
    return [
        replace(o, watched=tuple(of[n].since(begin[n]) for n in names)) for o, of in zip(outcomes, by_name, strict=True)
    ]


def figures(outcome: Outcome, start: float = 0.0, stop: float = 1.0) -> Figures:
    """What was worth what between two shares of each series' watched rows."""
    blocks, late, precision, recall, volumes, shares = [], [], [], [], [], []
    for series in outcome.watched:
        n = len(series.y)
        first, last = int(start * n), int(np.ceil(stop * n))
        if last <= first:
            continue
        part = slice(first, last)
        events = [e for e in series.events if first <= e[0] < last]
        alerts = [a for a in series.alerts if first <= a[0] < last]
        blocks.append(_blocks(outcome.kind, series, events, alerts, first, last, -(-BLOCKS // len(outcome.watched))))
        for event in events:
            meeting = [a for a in series.alerts if _finds(a, event)]
            if meeting:
                late.append(max(min(a[0] for a in meeting) - event[0], 0))
        if events:
            by_range = ranges.range_precision_recall(events, alerts)
            precision.append(by_range.precision)
            recall.append(by_range.recall)
            volumes.append(ranges.vus_pr(series.y[part], series.score[part], buffer=BUFFER))
        shares.append(float(series.y[part].mean()))
    counts = np.concatenate(blocks)  # (K, 5): events, found, alerts, false, length
    total = counts.sum(axis=0)
    drawn = counts[np.random.default_rng(0).integers(0, len(counts), (DRAWS, len(counts)))].sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(drawn[:, 0] > 0, drawn[:, 1] / drawn[:, 0], np.nan)
        false = drawn[:, 3] / drawn[:, 4]
    low, high = np.nanquantile(found, SURE) if np.isfinite(found).any() else (np.nan, np.nan)
    false_low, false_high = np.nanquantile(false, SURE)
    length = total[4]
    return Figures(
        outcome.candidate.name,
        int(total[0]),
        int(total[1]),
        float(low),
        float(high),
        int(total[2]),
        int(total[3]),
        float(total[2] / length),
        float(total[3] / length),
        float(false_low),
        float(false_high),
        float(np.median(late)) if late else float("nan"),
        _mean(precision),
        _mean(recall),
        _mean(volumes),
        _mean(shares),
        outcome.learning,
        outcome.rows / max(outcome.scoring, 1e-9),
    )


def outcomes_best(outcomes: Sequence[Outcome], stop: float, false_a_week: float) -> Outcome:
    """The best of the outcomes by what they are worth before `stop`."""
    found = [figures(o, 0.0, stop) for o in outcomes]
    return outcomes[found.index(best(found, false_a_week))]


def best(found: Sequence[Figures], false_a_week: float) -> Figures:
    """Of those within the budget of false alerts the one that finds most, then with fewer false ones, then the earliest, then the one that ranks best.

    Where none is within it, the one with fewest.
    """
    within = [f for f in found if f.false_a_week <= false_a_week]
    if not within:
        return min(found, key=lambda f: (f.false_a_week, -f.found))
    return min(
        within, key=lambda f: (-f.found, f.false, np.nan_to_num(f.delay_rows, nan=np.inf), -np.nan_to_num(f.vus_pr))
    )


def compare(
    data: Dataset | pd.DataFrame,
    detectors: Sequence[str] | str = ("",),
    budgets: Sequence[str] | str = ("",),
    *,
    settings: Sequence[str] = (),
    train_rows: int | None = None,
    calendar: Calendar = UTC,
) -> pd.DataFrame:
    """A row of `Figures` for each detector with each budget, on the rows of labelled data that all of them judge.

    Parameters
    ----------
    detectors
        As in `score_dataset`; "" is the product's mix.
    budgets
        Alerts that there may be that are none, as `1 per series per week`; "" is the recipe's.
    settings
        Of all of them, as `threshold.level=3`.

    Raises
    ------
    DetectorError, SettingsError, DataError
        The data has no labels; no candidate can judge it; a setting does not exist.
    """
    data = as_dataset(data)
    if not any(labels.anomalous.any() for labels in data.all_labels.values()):
        msg = f"{data.name}: there are no labels that name an anomaly, so there is nothing to compare by"
        raise DataError(msg)
    candidates = [Candidate(d, tuple(settings), b) for d in _each(detectors) for b in _each(budgets)]
    return frame([figures(o) for o in try_out(data, candidates, train_rows=train_rows, calendar=calendar)])


def _each(names: Sequence[str] | str) -> Sequence[str]:
    """One name is a list of one."""
    return (names,) if isinstance(names, str) else names


def frame(found: Sequence[Figures]) -> pd.DataFrame:
    """As a table."""
    return pd.DataFrame([{k: plain_cell(v) if isinstance(v, str) else v for k, v in asdict(f).items()} for f in found])


def draw(found: Sequence[Figures], kind: str, path: Path) -> None:
    """Share of events found over false alerts, with their intervals, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for f in found:
        share = f.found / f.events if f.events else float("nan")
        across, up = (
            (f.false_a_week - f.false_low, f.false_high - f.false_a_week),
            (share - f.found_low, f.found_high - share),
        )
        axes.errorbar(
            [f.false_a_week],
            [share],
            xerr=np.maximum([[across[0]], [across[1]]], 0),
            yerr=np.maximum(np.nan_to_num([[up[0]], [up[1]]]), 0),
            fmt="o",
            capsize=3,
            linewidth=1,
            label=f.candidate.replace("$", r"\$"),
        )
    unit = "per series and week" if kind == "metric" else "in 1,000 rows"
    axes.set(xlabel=f"false alerts {unit}", ylabel="share of labelled events found", ylim=(-0.03, 1.03))
    axes.set_title("bars: the middle nine tenths of a block bootstrap", fontsize=9, loc="left")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def in_words(f: Figures, kind: str) -> str:
    """What an operator would have lived with."""
    per = "per series and week" if kind == "metric" else "in 1,000 rows"
    found = f"{f.found} of {f.events} labelled events found"
    if f.events:
        found += f" (nine times in ten between {f.found_low:.0%} and {f.found_high:.0%})"
    return (
        f"{f.candidate}: {f.alerts_a_week:.2g} alerts {per}, {f.alerts_a_week - f.false_a_week:.2g} of them labelled, {f.false_a_week:.2g} false "
        f"(between {f.false_low:.2g} and {f.false_high:.2g}); {found}"
    )


def _trained(part: Dataset, recipe: Recipe, train_rows: int | None, calendar: Calendar, *, alone: bool) -> Model | None:
    """A model; None where a series is too short for one, and there are others."""
    try:
        return train(part, recipe=recipe, train_rows=train_rows, calendar=calendar)
    except DetectorError:
        if alone:
            raise
        return None


def _watched(part: Dataset, scored: ScoredRows) -> Iterator[Watched]:
    ids = np.asarray(scored.alert_ids, object)
    for name, series in part.all_series.items():
        order = np.argsort(series.timestamps, kind="stable") if part.kind == "metric" else np.arange(len(series))
        rows = series.positions[order]
        score = scored.ranking[rows]
        live = np.isfinite(score)
        if not live.any():
            continue
        labels = part.all_labels.get(name)
        y = np.zeros(len(rows), np.int8) if labels is None else labels.anomalous[order].astype(np.int8)
        y = y[live]
        yield Watched(
            name,
            scored.timestamps[rows][live],
            y,
            score[live],
            alerted(ids[rows][live].tolist()),
            delay.episodes(y),
        )


def _blocks(
    kind: str,
    series: Watched,
    events: Sequence[tuple[int, int]],
    alerts: Sequence[tuple[int, int]],
    first: int,
    last: int,
    blocks: int,
) -> NDArray[np.float64]:
    """(K, 5) of each block: events, found ones, alerts, false ones, and its length in weeks or thousands of rows."""
    edges = np.unique(np.linspace(first, last, min(blocks, last - first) + 1).astype(np.int64))
    counts = np.zeros((len(edges) - 1, 5))
    for event in events:
        k = int(np.searchsorted(edges, event[0], side="right")) - 1
        counts[k, 0] += 1
        counts[k, 1] += any(_finds(a, event) for a in series.alerts)
    for alert in alerts:
        k = int(np.searchsorted(edges, alert[0], side="right")) - 1
        counts[k, 2] += 1
        counts[k, 3] += not any(_finds(alert, e) for e in series.events)
    if kind == "metric":
        at = series.times[np.minimum(edges, len(series.times) - 1)]
        counts[:, 4] = np.maximum(np.diff(at), 1) / WEEK
    else:
        counts[:, 4] = np.diff(edges) / ROWS
    return counts


def _finds(alert: tuple[int, int], event: tuple[int, int]) -> bool:
    """Whether an alert is about an event: it meets it, and began no longer before it than `EARLY`; an alert without end finds nothing new."""
    return alert[0] <= event[1] and alert[1] >= event[0] and alert[0] >= event[0] - EARLY


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if v == v]
    return sum(known) / len(known) if known else float("nan")
