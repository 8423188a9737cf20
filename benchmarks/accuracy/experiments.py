"""The textbook's experiments on tables: which rows train, which rows test, and what is known of the textbook's figures.

No detector here. A protocol is a way to split: `textbook` as the book does it (a random split, whatever it leaks), `honest` as
it would be lived (what comes later is tested, or another file). Labels are never among the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from detectors.evaluation.ranking import prevalence_weights
from producers.datasets import Dataset, Series, open_dataset
from producers.datasets.base import Labels

TEXTBOOK = "textbook"
HONEST = "honest"


@dataclass(frozen=True)
class Table:
    """Rows in the order of their file, with their labels apart."""

    series: Series
    channels: tuple[str, ...]
    categorical: tuple[str, ...]
    y: NDArray[np.int8]
    kinds: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Table:
        return replace(self, series=self.series.take(which), y=self.y[which], kinds=self.kinds[which])


@dataclass(frozen=True)
class Split:
    """One protocol, carried out: the rows that train and those that test.

    `weights` of the test rows give anomalies another share, that of the data which the sample was drawn from; `episodes` says whether the test rows
    stand in capture order and anomalies come in runs, so that attack episodes can be counted.
    """

    train: Table
    test: Table
    weights: NDArray[np.float64] | None = None
    episodes: bool = False


@dataclass(frozen=True)
class Protocol:
    """A way to split, by name. `split` takes the seed; `drawn` says whether it uses it."""

    name: str
    kind: str
    text: str
    split: Callable[[int], Split]
    drawn: bool = False


@dataclass(frozen=True)
class Experiment:
    """A data set with its protocols; the first honest one stands in the summary."""

    name: str
    title: str
    source: str
    protocols: tuple[Protocol, ...]
    weighted: str = ""
    """Share of anomalies under the weights, for the head of the column."""
    seeds: int = 5
    quick: bool = True
    """Whether `--quick` runs it."""


def experiments() -> tuple[Experiment, ...]:
    """All of them, in the order of the report."""
    return (
        Experiment(
            "kdd-http",
            "KDD Cup 99, http connections",
            "41 features; 10 % file 64,293 rows, 3.7 % attacks; `corrected` 41,237 rows, 4.8 %, with attack types of its own",
            (
                Protocol("random", TEXTBOOK, "random 80 % trains, 20 % tests (copies of one row on both sides)",
                         lambda seed: _random(_kdd("kdd"), seed, 0.8, _http_weights), drawn=True),
                Protocol("random, distinct rows", HONEST, "repeated rows left out, then random 80 % trains, 20 % tests",
                         lambda seed: _random(_distinct(_kdd("kdd")), seed, 0.8), drawn=True),
                Protocol("in order", HONEST, "first 30 % trains (free of attacks), the rest tests",
                         lambda seed: _in_order(_kdd("kdd"), 0.3, _http_weights)),
                Protocol("corrected", HONEST, "10 % file trains, `corrected` tests",
                         lambda seed: Split(_kdd("kdd"), _kdd("kdd-corrected"), episodes=True)),
                Protocol("corrected, first 30 %", HONEST, "first 30 % of the 10 % file trains, `corrected` tests",
                         lambda seed: Split(_first(_kdd("kdd"), 0.3), _kdd("kdd-corrected"), episodes=True)),
            ),
            weighted="0.65 %",
            seeds=3,
        ),
        Experiment(
            "kdd-all",
            "KDD Cup 99, all rows",
            "41 features; 10 % file 494,021 rows, 80 % attacks; `corrected` 311,029 rows, 81 %; at most 100,000 rows train",
            (
                Protocol("random", TEXTBOOK, "random 80 % trains, 20 % tests",
                         lambda seed: _random(_kdd("kdd-all"), seed, 0.8, _rare_weights), drawn=True),
                Protocol("in order", HONEST, "first 30 % trains, the rest tests",
                         lambda seed: _in_order(_kdd("kdd-all"), 0.3, _rare_weights)),
                Protocol("corrected", HONEST, "10 % file trains, `corrected` tests",
                         _on_corrected),
            ),
            weighted="1 %",
            seeds=2,
            quick=False,
        ),
        Experiment(
            "creditcard",
            "Credit-card fraud",
            "29 columns (V1 to V28, Amount); sample of 19,562 rows with all 492 frauds, 2.5 % where the original has 0.173 %",
            (
                Protocol("random", TEXTBOOK, "random half trains, the other half tests",
                         lambda seed: _random(_cards(), seed, 0.5, _card_weights), drawn=True),
                Protocol("in order", HONEST, "first half in time trains, second tests",
                         lambda seed: _in_order(_cards(), 0.5, _card_weights, episodes=False)),
            ),
            weighted="0.173 %",
            seeds=3,
        ),
        Experiment(
            "ctg",
            "Cardiotocography (CTG)",
            "21 features; 1,831 recordings, 176 pathologic (9.6 %), suspect ones left out",
            (
                Protocol("random", TEXTBOOK, "random 80 % trains, 20 % tests",
                         lambda seed: _random(_ctg(), seed, 0.8), drawn=True),
                Protocol("blocks", HONEST, "a fifth of the file tests, the rest trains: rows of one recording stay together",
                         lambda seed: _block(_ctg(), seed, 5), drawn=True),
            ),
        ),
        Experiment(
            "make_classification",
            "make_classification",
            "scikit-learn's, 32 informative features, 100,000 rows, 0.5 % in the small class, class_sep 0.5, random_state 100, flip_y 0 "
            "(with its default, half of what is labelled small would be rows of the large class with their label turned)",
            (
                Protocol("random", HONEST, "random 80 % trains, 20 % tests (rows are independent: nothing leaks)",
                         lambda seed: _random(_made(), seed, 0.8), drawn=True),
            ),
            seeds=2,
            quick=False,
        ),
    )  # fmt: skip


def _random(
    table: Table, seed: int, share: float, weigh: Callable[[Table], NDArray[np.float64]] | None = None
) -> Split:
    train = np.zeros(len(table), np.bool_)
    train[np.random.default_rng([seed, 7]).permutation(len(table))[: int(share * len(table))]] = True
    test = table.take(~train)
    return Split(table.take(train), test, weigh(test) if weigh else None)


def _in_order(
    table: Table, share: float, weigh: Callable[[Table], NDArray[np.float64]] | None = None, *, episodes: bool = True
) -> Split:
    test = table.take(np.arange(int(share * len(table)), len(table)))
    return Split(_first(table, share), test, weigh(test) if weigh else None, episodes=episodes)


def _first(table: Table, share: float) -> Table:
    return table.take(np.arange(int(share * len(table))))


def _distinct(table: Table) -> Table:
    """Each row once, at its first place."""
    frame = pd.DataFrame(dict(zip(table.channels, table.series.columns, strict=True)))
    return table.take(~frame.duplicated().to_numpy())


def _on_corrected(_: int) -> Split:
    test = _kdd("kdd-all-corrected")
    return Split(_kdd("kdd-all"), test, _rare_weights(test), episodes=True)


def _block(table: Table, seed: int, blocks: int) -> Split:
    """Block number `seed` of the file tests."""
    test = np.arange(len(table)) * blocks // len(table) == seed % blocks
    return Split(table.take(~test), table.take(test))


# Connections in the full file per connection in the 10 % file (http): the thinning spared rare attacks.
_HTTP_THINNING: Mapping[str, float] = {"normal": 10.0, "neptune": 9.4, "portsweep": 5.3, "ipsweep": 4.3, "satan": 3.5}


def _http_weights(test: Table) -> NDArray[np.float64]:
    return np.array([_HTTP_THINNING.get(kind, 1.0) for kind in test.kinds])


def _rare_weights(test: Table) -> NDArray[np.float64]:
    """All services together are four fifths attacks; one row in a hundred is nearer to what an operator sees."""
    return prevalence_weights(test.y, 0.01)


def _card_weights(test: Table) -> NDArray[np.float64]:
    return prevalence_weights(test.y, 492 / 284_807)


@lru_cache(maxsize=4)
def _kdd(name: str) -> Table:
    """All series of a KDD data set as one table in file order."""
    return _table(open_dataset(name))


@lru_cache(maxsize=1)
def _cards() -> Table:
    return _table(open_dataset("creditcard"))


@lru_cache(maxsize=1)
def _ctg() -> Table:
    return _table(open_dataset("ctg"))


@lru_cache(maxsize=1)
def _made() -> Table:
    from sklearn.datasets import make_classification

    x, y = make_classification(
        n_samples=100_000, n_features=32, n_informative=32, n_redundant=0, n_repeated=0, n_classes=2,
        n_clusters_per_class=1, weights=[0.995, 0.005], class_sep=0.5, flip_y=0.0, random_state=100,
    )  # fmt: skip
    names = tuple(f"x{i}" for i in range(32))
    series = Series("made", np.arange(len(y), dtype=np.int64), tuple(x.T.copy()))
    return Table(series, names, (), y.astype(np.int8), np.where(y == 1, "small class", "normal").astype(object))


def _table(data: Dataset) -> Table:
    series: Sequence[Series] = list(data.series().values())
    labels: Sequence[Labels] = list(data.labels().values())
    order = np.argsort(np.concatenate([s.positions for s in series]), kind="stable")
    columns = tuple(np.concatenate(parts)[order] for parts in zip(*(s.columns for s in series), strict=True))
    times = np.concatenate([s.timestamps for s in series])[order]
    kinds = np.concatenate([found.categories for found in labels if found.categories is not None])[order]
    y = np.concatenate([found.anomalous for found in labels])[order].astype(np.int8)
    return Table(Series(data.name, times, columns), data.channels, data.categorical, y, kinds)
