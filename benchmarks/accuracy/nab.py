"""NAB through the whole stream: what `tidewatch evaluate --data nab` does, for one detector and one seed.

Beside NAB's own score: range precision and recall, affiliation and VUS-PR, false alerts and delays; and for the product's
networks, how much of their score rests on having been chosen on these very files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.cache import Outcomes
from benchmarks.accuracy.series import one_thread
from detectors.evaluation import nab
from detectors.model import Model
from detectors.recipes import METRIC
from detectors.registry import DETECTORS
from detectors.training import metric_training_rows
from pipeline.offline import evaluation
from pipeline.offline.evaluation import SeriesResult
from pipeline.offline.scorefile import score_dataset
from pipeline.offline.scoring.ready import train
from pipeline.offline.scoring.rows import ScoredRows
from producers.datasets import Dataset, open_dataset

DEFAULT = "the product's default"
"""A judgement beside the networks; an event is told where both together say so (`evaluation.rarity`)."""
NETWORKS = "the product's networks"
MEMBERS = ("lstm", "tcn", "autoencoder")
"""Of them; alone they are what they are there, weights and all, and all others have their own settings."""
SEEDS = 3
"""Of the default, and of the networks together and alone; of all others one."""
LEVELS = (1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.25, 3.5)
HALVES = 20
RESAMPLES = 100

NabFile = tuple[NDArray[np.float64], nab.NabLabels]


def detectors() -> dict[str, str]:
    """Label -> group of all that take part: whatever takes windows and no labels."""
    found = {DEFAULT: "network", NETWORKS: "network"}
    for name, kind in DETECTORS.items():
        if "windows" not in kind.kinds or kind.supervised or name == "constant":
            continue
        found[name] = _group(name)
    return found


def _group(name: str) -> str:
    if name in {"random", "range", "zscore", "seasonal-naive"}:
        return "yardstick"
    return (
        "classical" if name in {"isolation-forest", "ocsvm", "pca", "kmeans", "mahalanobis", "seasonal"} else "network"
    )


def run(seed: int, wanted: tuple[str, ...]) -> Iterator[tuple[str, Outcomes]]:
    """NAB with some detectors and one seed."""
    one_thread()
    data = open_dataset("nab")
    models: dict[str, Model] = {}
    if not {NETWORKS, *MEMBERS}.isdisjoint(wanted):
        models = {name: train(data.select(name), recipe=evaluation.AT_BEST, seed=seed) for name in data.series()}
    for label in wanted:
        results = [
            SeriesResult(
                name, s.values, data.all_labels.get(name), _scored(data.select(name), label, seed, models.get(name))
            )
            for name, s in data.series().items()
        ]
        outcome = {"contender": label, "group": detectors()[label], "seed": seed, **_figures(results)}
        if label in {DEFAULT, NETWORKS} and not seed:
            outcome |= _rests_on(results)
        yield label, [outcome]


def _scored(data: Dataset, label: str, seed: int, networks: Model | None) -> ScoredRows:
    """One series: by the networks' model or a member of it, else by a model of its own."""
    if label == DEFAULT:
        [series] = data.series().values()
        first = max(metric_training_rows(len(series)), 1)
        return score_dataset(data, recipe=METRIC, train_rows=first, alerts=evaluation.ONE_PER_EVENT, seed=seed)
    if networks is None or label not in {NETWORKS, *MEMBERS}:
        return score_dataset(
            data, detector=label, recipe=evaluation.AT_BEST, alerts=evaluation.ONE_PER_EVENT, seed=seed
        )
    model = networks if label == NETWORKS else member(networks, label)
    return score_dataset(data, model=model, recipe=evaluation.AT_BEST, alerts=evaluation.ONE_PER_EVENT)


def member(model: Model, name: str) -> Model:
    """One detector of a model, as if it had been trained alone: members share no weights, and no random numbers."""
    [at] = [i for i, detector in enumerate(model.detectors) if detector.name == name]
    states = {series: of[at : at + 1] for series, of in model.calibrations.items()}
    return replace(model, detectors=model.detectors[at : at + 1], calibrations=states)


def _figures(results: Sequence[SeriesResult]) -> dict[str, Any]:
    files = [nab_file(r) for r in results]
    figures = evaluation.all_metric_figures(results)
    return {
        **{profile: score.score for profile, score in nab.sweep(files).items()},
        "unswept": nab.score_at(files, 1e-9)["standard"].score,
        "windows": figures.windows,
        "found": figures.found,
        "alerts": figures.alerts,
        "false_alerts": figures.false_alerts,
        "false_per_day": figures.false_per_day,
        "delay_minutes": figures.median_delay_minutes,
        "delay_observations": figures.median_delay_observations,
        "range_precision": figures.range_precision,
        "range_recall": figures.range_recall,
        "near_precision": figures.affiliation_precision,
        "near_recall": figures.affiliation_recall,
        "vus_pr": figures.vus_pr,
        "prevalence": figures.prevalence,
    }


def nab_file(result: SeriesResult) -> NabFile:
    """What is scored of one file, and its labels, as NAB takes them."""
    windows = [] if result.labels is None else [(w.first, w.last) for w in result.labels.windows]
    return evaluation.nab_anomaly_score(result), nab.labels(result.rows.timestamps, windows)


def _rests_on(results: Sequence[SeriesResult]) -> dict[str, float]:
    """How far the standard score depends on which files there are, and on the level having been chosen on them."""
    rng = np.random.default_rng(0)
    by_level = {level: [_at_level(r, level) for r in results] for level in LEVELS}
    own = [nab_file(r) for r in results]
    n = len(own)
    drawn = [nab.sweep([own[i] for i in rng.integers(0, n, n)])["standard"].score for _ in range(RESAMPLES)]
    chosen_there = []
    for _ in range(HALVES):
        order = rng.permutation(n)
        for here, there in ((order[: n // 2], order[n // 2 :]), (order[n // 2 :], order[: n // 2])):
            found = {level: nab.sweep([files[i] for i in here])["standard"] for level, files in by_level.items()}
            best = max(found, key=lambda level: found[level].score)
            files = [by_level[best][i] for i in there]
            chosen_there.append(nab.score_at(files, found[best].threshold)["standard"].score)
    return {"resampled_sd": float(np.std(drawn)), "level_of_other_half": float(np.mean(chosen_there))}


def _at_level(result: SeriesResult, level: float) -> NabFile:
    rare = evaluation.rarity(result.rows.calibrated_score, result.rows.alarm)
    return evaluation.event_scores(rare, level), nab_file(result)[1]
