"""The textbook's experiments, under its protocol and under an honest one: writes docs/results.md, tables and all.

    python benchmarks/accuracy.py            the whole table, under 30 minutes on 2 cores
    python benchmarks/accuracy.py --quick    a few minutes, for CI; writes out/accuracy/quick.md
    python benchmarks/accuracy.py --only ctg,taxi     those again, the rest from the last run

Real data only (TIDEWATCH_DATA, the cache, or a download): figures on a synthetic twin would say nothing.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread for each of two processes, before torch counts the cores

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy_report import write
from benchmarks.accuracy_series import NAB_DETECTORS, digits, nab, taxi
from benchmarks.experiments import Experiment, Protocol, Split, Table, experiments
from detectors import registry
from detectors.evaluation import delay, ranking
from detectors.features import FeatureEncoder

OUT = Path("out/accuracy")
PROCESSES = 2
MOST_TRAINING_ROWS = 100_000
FALSE_ROWS = 1e-3
"""Share of normal test rows above the level at which attack episodes are counted."""
EPISODE_JOIN = 100
"""Attack rows at most so many rows apart are one episode."""


@dataclass(frozen=True)
class Contender:
    """A detector as it takes part.

    `fits_on`: `normal` rows of the training part, `all` of them without labels, or `labels` (supervised). `unit_variance`: the
    encoded columns are brought to mean 0 and variance 1 over the fitted rows. `only`: the experiments it is in.
    """

    label: str
    detector: str
    group: str
    fits_on: str = "normal"
    settings: dict[str, Any] = field(default_factory=dict)
    unit_variance: bool = False
    only: frozenset[str] = frozenset()
    quick: bool = False


# One set of settings for all tables. Networks fit on normal rows only, so there is nothing to trim, and clipping what they are
# shown would hide what is judged; hidden sizes are the textbook's where it gives them. `default` is the registry's own.
_OPEN = {"activation": "relu", "limit": 1e6, "training": {"trim": 0.0}}
_MACHINE = {"limit": 1e6, "training": {"trim": 0.0, "weight_decay": 0.01}}
_SMALL = frozenset({"kdd-http", "creditcard", "ctg", "make_classification"})
_LABELLED = frozenset({"creditcard", "ctg", "make_classification"})
CONTENDERS = (
    Contender(
        "autoencoder, simple (n-12-n)", "autoencoder", "network", settings={"layers": (12,), **_OPEN}, quick=True
    ),
    Contender("autoencoder, default", "autoencoder", "network", quick=True),
    Contender("autoencoder, sparse", "sparse-autoencoder", "network", settings=_OPEN),
    Contender("autoencoder, deep", "deep-autoencoder", "network", settings=_OPEN),
    Contender("autoencoder, denoising", "denoising-autoencoder", "network", settings=_OPEN),
    Contender("VAE", "vae", "network", settings={"limit": 1e6, "training": {"trim": 0.0}}),
    Contender(
        "ED-TCN", "ed-tcn", "network", settings={"window": 1, "limit": 1e6, "training": {"trim": 0.0}}, only=_SMALL
    ),
    Contender("RBM", "rbm", "network", settings=_MACHINE, quick=True),
    # Gaussian visible units have unit variance; the textbook's scaler gives its rows the same.
    Contender("RBM, unit variance", "rbm", "network", settings=_MACHINE, unit_variance=True),
    Contender("TCN classifier", "tcn-classifier", "network", "labels", only=_LABELLED),
    Contender("ED-TCN classifier", "ed-tcn-classifier", "network", "labels", only=_LABELLED),
    Contender("isolation forest", "isolation-forest", "classical", "all", quick=True),
    Contender("isolation forest, normal rows", "isolation-forest", "classical"),
    Contender("one-class SVM", "ocsvm", "classical", settings={"nu": 0.01}, quick=True),
    Contender("PCA", "pca", "classical", settings={"trim": 0.0}, quick=True),
    Contender("k-means", "kmeans", "classical", settings={"trim": 0.0}),
    Contender("outside the range seen", "range", "yardstick", quick=True),
    Contender("random", "random", "yardstick"),
)


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
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer experiments, detectors and seeds")
    parser.add_argument("--only", default="", help="experiments to run again, comma-separated")
    parser.add_argument("--report", action="store_true", help="only write the tables again from the last run")
    arguments = parser.parse_args()
    folder = OUT / ("quick" if arguments.quick else "full")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {name for name in arguments.only.split(",") if name}
    began = time.monotonic()
    if not arguments.report:
        run(folder, wanted, quick=arguments.quick)
    target = folder.parent / "quick.md" if arguments.quick else Path("docs/results.md")
    write(target, folder, quick=arguments.quick)
    print(f"{target} written; {time.monotonic() - began:.0f} s")


def run(folder: Path, wanted: set[str], *, quick: bool) -> None:
    """Run the experiments and keep each one's outcomes as a file in `folder`."""
    outcomes: dict[str, list[Any]] = {}
    with ProcessPoolExecutor(PROCESSES) as pool:
        jobs = {pool.submit(work, *arguments): name for name, work, arguments in _jobs(wanted, quick=quick)}
        for done, job in enumerate(as_completed(jobs), 1):
            name = jobs[job]
            outcomes.setdefault(name, []).extend(job.result())
            print(f"[{done}/{len(jobs)}] {name}", flush=True)
    for name, found in outcomes.items():
        found.sort(key=lambda o: json.dumps(o, sort_keys=True))
        (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


Job = tuple[str, Callable[..., list[dict[str, Any]]], tuple[Any, ...]]


def _jobs(wanted: set[str], *, quick: bool) -> Iterator[Job]:
    """The longest first, so that both processes end together."""
    if "nab" in wanted or not (wanted or quick):
        yield from (("nab", nab, (detector,)) for detector in NAB_DETECTORS)
    if not wanted or "mnist" in wanted:
        yield from (("mnist", digits, (seed, quick)) for seed in range(1 if quick else 3))
    if not wanted or "taxi" in wanted:
        yield from (("taxi", taxi, (seed, quick)) for seed in range(1 if quick else 3))
    for experiment in experiments():
        if (wanted and experiment.name not in wanted) or (quick and not experiment.quick):
            continue
        seeds = range(2 if quick else experiment.seeds)
        for protocol in experiment.protocols:
            yield from ((experiment.name, tables, (experiment.name, protocol.name, seed, quick)) for seed in seeds)


def tables(experiment: str, protocol: str, seed: int, quick: bool) -> list[dict[str, Any]]:
    """One split of one table: every contender fitted and tested."""
    import torch

    torch.set_num_threads(1)
    chosen = next(e for e in experiments() if e.name == experiment)
    how = next(p for p in chosen.protocols if p.name == protocol)
    split = how.split(seed)
    encoded: dict[str, _Encoded] = {}
    found = []
    for contender in sorted(CONTENDERS, key=lambda c: c.fits_on == "normal"):
        if (quick and not contender.quick) or (contender.only and experiment not in contender.only):
            continue
        if seed and not how.drawn and _same_for_every_seed(contender):
            continue
        if contender.fits_on == "labels" and not 0 < split.train.y.sum() < len(split.train):
            continue  # a training part without attacks teaches a classifier nothing
        rows = "all" if contender.fits_on == "labels" else contender.fits_on
        if rows not in encoded:
            encoded.clear()  # one at a time: the test rows of all KDD services take 150 MB
            encoded[rows] = _encode(split, rows, seed)
        found.append(asdict(_outcome(chosen, how, contender, split, encoded[rows], seed)))
    return found


@dataclass(frozen=True)
class _Encoded:
    """Encoded rows (n, 1, C) that a contender may fit on, with their labels, and the test rows."""

    train: NDArray[np.float32]
    y: NDArray[np.int8]
    test: NDArray[np.float32]

    def standardised(self) -> _Encoded:
        """The same with mean 0 and variance 1 over the fitted rows; columns that are constant there keep their scale."""
        centre, scale = self.train.mean(axis=0), self.train.std(axis=0)
        scale = np.where(scale > 1e-6, scale, 1.0).astype(np.float32)
        return _Encoded((self.train - centre) / scale, self.y, (self.test - centre) / scale)


def _encode(split: Split, rows: str, seed: int) -> _Encoded:
    """The encoder sees what the detector may see: the training rows, only the normal ones where only these are fitted."""
    train = split.train if rows == "all" else split.train.take(split.train.y == 0)
    if len(train) > MOST_TRAINING_ROWS:
        kept = np.random.default_rng([seed, 11]).choice(len(train), MOST_TRAINING_ROWS, replace=False)
        train = train.take(np.sort(kept))
    encoder = FeatureEncoder(train.channels, train.categorical).fit(train.series.rows())
    return _Encoded(_arrays(encoder, train), train.y, _arrays(encoder, split.test))


def _arrays(encoder: FeatureEncoder, table: Table) -> NDArray[np.float32]:
    out = np.empty((len(table), 1, encoder.channels), np.float32)
    for start in range(0, len(table), 20_000):
        encoded, problems = encoder.encode(table.series.rows(start, start + 20_000))
        assert not problems
        out[start : start + 20_000, 0] = encoded
    return out


def _outcome(
    experiment: Experiment, how: Protocol, contender: Contender, split: Split, data: _Encoded, seed: int
) -> Outcome:
    began = time.monotonic()
    if contender.unit_variance:
        data = data.standardised()
    detector = registry.create(contender.detector, channels=data.train.shape[2], seed=seed, **contender.settings)
    detector.fit(data.train, data.y if contender.fits_on == "labels" else None)
    scores = detector.score(data.test).raw
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
        roc_auc=ranking.roc_auc(y, scores),
        average_precision=ranking.average_precision(y, scores),
        weighted_precision=None if split.weights is None else ranking.average_precision(y, scores, split.weights),
        by_hand=_by_hand(y, scores),
        swapped=swapped,
        swapped_recall=swapped_recall,
        episodes=episodes,
        found=found,
        seconds=time.monotonic() - began,
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


def _same_for_every_seed(contender: Contender) -> bool:
    return contender.detector in {"range", "random", "pca"}


if __name__ == "__main__":
    main()
