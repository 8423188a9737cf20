"""Tables of rows: the contenders, each fitted on one split and judged by its test rows.

Nothing here looks at a label but to pick the normal training rows, to teach the supervised ones, and to judge.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.accuracy.cache import Outcomes
from benchmarks.accuracy.contenders import CONTENDERS, Columns, Contender
from benchmarks.accuracy.experiments import HONEST, Experiment, Protocol, Split, Table, experiments
from detectors import registry
from detectors.evaluation import delay, ranking
from detectors.features import FeatureEncoder

MOST_TRAINING_ROWS = 100_000
FALSE_ROWS = 1e-3
"""Share of normal test rows above the level at which attack episodes are counted."""
EPISODE_JOIN = 100
"""Attack rows at most so many rows apart are one episode."""
CURVE_POINTS = 60
CLIPS = {"clipped": 3.0, "clipped at 25": 25.0}
"""Scaled units, of columns that are clipped; else the encoder's default, 100, holds."""
WIDE_CLIP = 6.0
WIDE_DEVIATION = 1.5


@dataclass(frozen=True)
class Outcome:
    """One detector, fitted once and tested once."""

    experiment: str
    protocol: str
    contender: str
    group: str
    fits_on: str
    seed: int
    train_rows: int
    test_rows: int
    prevalence: float
    copies: float
    """Share of the anomalous test rows that equal a training row."""
    roc_auc: float
    average_precision: float
    weighted_precision: float | None
    by_hand: float
    """Half the sum of both rates at the best threshold found on the test rows: the textbook's `AUC` of labels."""
    swapped: float
    """What `roc_auc_score` says at its best threshold with its arguments swapped: (precision + NPV) / 2, rows weighed."""
    swapped_recall: float
    """The share of anomalies found at that threshold."""
    episodes: int | None
    found: int | None
    curve: list[tuple[float, float]]
    """Points (recall, precision), of the first seed under an honest protocol."""
    cpu_s: float


def tables(experiment: str, protocol: str, seed: int, wanted: tuple[str, ...]) -> Iterator[tuple[str, Outcomes]]:
    """One split of one table: each wanted contender fitted and tested."""
    import torch

    torch.set_num_threads(1)
    chosen = next(e for e in experiments() if e.name == experiment)
    how = next(p for p in chosen.protocols if p.name == protocol)
    split = how.split(seed)
    copies = _copies(split)
    taking_part = sorted((c for c in CONTENDERS if c.label in wanted), key=_columns)
    for (rows, raw), group in groupby(taking_part, key=lambda c: _columns(c)[:2]):
        encoded = encode(split, rows, seed, raw=raw)
        for columns, alike in groupby(group, key=lambda c: c.columns):
            data = encoded.shown_as(columns)
            for contender in alike:
                yield contender.label, [asdict(_outcome(chosen, how, contender, split, data, seed, copies))]


def _columns(contender: Contender) -> tuple[str, bool, str]:
    """Which rows its encoder is fitted on, whether there is none, and what is done to the columns then."""
    return "normal" if contender.fits_on == "normal" else "all", contender.columns == "raw", contender.columns


@dataclass(frozen=True)
class Encoded:
    """Encoded rows (n, 1, C) that a contender may fit on, with their labels, and the test rows."""

    train: NDArray[np.float32]
    y: NDArray[np.int8]
    test: NDArray[np.float32]

    def shown_as(self, columns: Columns) -> Encoded:
        """What contenders with such columns see."""
        if columns == "unit variance":
            return self.standardised()
        if columns == "wide":
            return self.clipped(WIDE_CLIP).standardised(WIDE_DEVIATION)
        return self.clipped(CLIPS[columns]) if columns in CLIPS else self

    def clipped(self, limit: float) -> Encoded:
        """The same as an encoder with that limit gives it: its categories are 0 and 1."""
        return Encoded(self.train.clip(-limit, limit), self.y, self.test.clip(-limit, limit))

    def standardised(self, deviation: float = 1.0) -> Encoded:
        """The same with mean 0 and this standard deviation over the fitted rows; columns that are constant there keep their scale."""
        centre, scale = self.train.mean(axis=0), self.train.std(axis=0) / np.float32(deviation)
        scale = np.where(scale > 1e-6, scale, 1.0).astype(np.float32)
        return Encoded((self.train - centre) / scale, self.y, (self.test - centre) / scale)


def encode(split: Split, rows: str, seed: int, *, raw: bool = False) -> Encoded:
    """The encoder sees what the detector may see: the training rows, only the normal ones where only these are fitted."""
    train = split.train if rows == "all" else split.train.take(split.train.y == 0)
    if len(train) > MOST_TRAINING_ROWS:
        kept = np.random.default_rng([seed, 11]).choice(len(train), MOST_TRAINING_ROWS, replace=False)
        train = train.take(np.sort(kept))
    if raw:
        places = {name: sorted(set(_column(train, name).tolist())) for name in train.categorical}
        return Encoded(_raw(train, places), train.y, _raw(split.test, places))
    encoder = FeatureEncoder(train.channels, train.categorical).fit(train.series.rows())
    return Encoded(_arrays(encoder, train), train.y, _arrays(encoder, split.test))


def _arrays(encoder: FeatureEncoder, table: Table) -> NDArray[np.float32]:
    out = np.empty((len(table), 1, encoder.channels), np.float32)
    for start in range(0, len(table), 20_000):
        encoded, problems = encoder.encode(table.series.rows(start, start + 20_000))
        assert not problems
        out[start : start + 20_000, 0] = encoded
    return out


def _column(table: Table, name: str) -> NDArray[Any]:
    return np.asarray(table.series.columns[table.channels.index(name)])


def _raw(table: Table, places: dict[str, list[str]]) -> NDArray[np.float32]:
    """Columns as they are; a category is its place among those of the fitted rows, one that is not there the last."""
    found = []
    for name in table.channels:
        column = _column(table, name)
        if name in places:
            known = {category: float(i) for i, category in enumerate(places[name])}
            column = np.array([known.get(value, float(len(known))) for value in column.tolist()])
        found.append(column.astype(np.float32))
    return np.stack(found, axis=1)[:, None, :]


def _copies(split: Split) -> float:
    """Share of the anomalous test rows that equal a training row."""
    train, test = (_hashes(table) for table in (split.train, split.test.take(split.test.y == 1)))
    return float(np.isin(test, train).mean())


def _hashes(table: Table) -> NDArray[np.uint64]:
    frame = pd.DataFrame(dict(zip(table.channels, table.series.columns, strict=True)))
    return pd.util.hash_pandas_object(frame, index=False).to_numpy()


def _outcome(
    experiment: Experiment, how: Protocol, contender: Contender, split: Split, data: Encoded, seed: int, copies: float
) -> Outcome:
    began = time.process_time()
    detector = registry.create(contender.detector, channels=data.train.shape[2], seed=seed, **contender.settings)
    detector.fit(data.train, data.y if contender.fits_on == "labels" else None)
    scores = detector.score(data.test).raw
    spent = time.process_time() - began
    y = split.test.y
    episodes, found = _episodes(y, scores) if split.episodes else (None, None)
    swapped, swapped_recall = _swapped(y, scores, split.weights)
    return Outcome(
        experiment=experiment.name,
        protocol=how.name,
        contender=contender.label,
        group=contender.group,
        fits_on=contender.fits_on,
        seed=seed,
        train_rows=len(data.train),
        test_rows=len(y),
        prevalence=ranking.prevalence(y),
        copies=copies,
        roc_auc=ranking.roc_auc(y, scores),
        average_precision=ranking.average_precision(y, scores),
        weighted_precision=None if split.weights is None else ranking.average_precision(y, scores, split.weights),
        by_hand=_by_hand(y, scores),
        swapped=swapped,
        swapped_recall=swapped_recall,
        episodes=episodes,
        found=found,
        curve=_curve(y, scores) if how.kind == HONEST and not seed else [],
        cpu_s=spent,
    )


def _episodes(y: NDArray[np.int8], scores: NDArray[np.float64]) -> tuple[int, int]:
    """Attack episodes, and how many hold a row above the level that 1 in 1,000 normal rows exceeds."""
    spans = delay.episodes(y, join=EPISODE_JOIN)
    level = np.quantile(scores[y == 0], 1 - FALSE_ROWS)
    return len(spans), sum(hit is not None for hit in delay.episodes_found(spans, (scores > level) & (y == 1)))


def _by_hand(y: NDArray[np.int8], scores: NDArray[np.float64]) -> float:
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(y, scores)
    return float(np.max((true + 1 - false) / 2))


def _curve(y: NDArray[np.int8], scores: NDArray[np.float64]) -> list[tuple[float, float]]:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(y, scores)
    precision, recall = precision[::-1], recall[::-1]
    at = np.unique(np.searchsorted(recall, np.linspace(0.0, 1.0, CURVE_POINTS)).clip(0, len(recall) - 1))
    return [(round(float(recall[i]), 4), round(float(precision[i]), 4)) for i in at]


def _swapped(
    y: NDArray[np.int8], scores: NDArray[np.float64], weights: NDArray[np.float64] | None
) -> tuple[float, float]:
    """The best figure that swapped arguments give for labels, over thresholds, and the recall that hides behind it."""
    w = np.ones(len(y)) if weights is None else weights
    found = (0.0, 0.0)
    for level in np.quantile(scores, 1 - np.geomspace(0.1, 1 / len(scores), 200)):
        flagged = scores > level
        if flagged.any() and not flagged.all():
            precision, npv = (
                np.average(y[flagged], weights=w[flagged]),
                np.average(1 - y[~flagged], weights=w[~flagged]),
            )
            found = max(found, (float(precision + npv) / 2, float(flagged[y == 1].mean())))
    return found
