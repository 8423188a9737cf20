"""What is fitted and measured for docs/benchmarks/textbook.md, a function for each section: part's name -> outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.cache import Outcomes
from benchmarks.accuracy.experiments import Split, experiments
from detectors import registry
from detectors.evaluation import ranking
from detectors.features import FeatureEncoder

TRAINING = {"epochs": 30, "trim": 0.0}

NETWORKS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "autoencoder, squared": ("autoencoder", {"loss": "squared"}),
    "autoencoder, absolute": ("autoencoder", {"loss": "absolute"}),
    "autoencoder, cross-entropy": ("autoencoder", {"loss": "cross-entropy"}),
    "sparse autoencoder, L1": ("sparse-autoencoder", {"penalty": "l1"}),
    "sparse autoencoder, KL": ("sparse-autoencoder", {"penalty": "kl"}),
    "VAE, squared": ("vae", {"loss": "squared"}),
    "VAE, cross-entropy": ("vae", {"loss": "cross-entropy"}),
    "clusters of the code": ("code-clusters", {}),
    "clusters of the code, without the error": ("code-clusters", {"error": False}),
}
RARE: Mapping[str, dict[str, Any]] = {
    "no weight": {"class_weight": "none"},
    "root of the ratio (default)": {},
    "balanced weight": {"class_weight": "balanced"},
    "oversampled": {"resample": "over"},
    "undersampled": {"resample": "under"},
    "SMOTE": {"resample": "smote"},
}
IMAGES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "dense": ("autoencoder", {"layers": (100, 50, 100), "activation": "relu"}),
    "dense, denoising": ("denoising-autoencoder", {"layers": (100, 50, 100), "activation": "relu"}),
    "convolutional": ("image-autoencoder", {}),
    "convolutional, denoising": ("denoising-image-autoencoder", {}),
}
IMAGE_LOSSES = ("squared", "cross-entropy")
TRAIN_IMAGES, TEST_IMAGES, HELD = 3_000, 5_000, (0, 1)
SERIES = (
    "artificialNoAnomaly/art_daily_no_noise",
    "artificialNoAnomaly/art_daily_perfect_square_wave",
    "artificialWithAnomaly/art_daily_nojump",
    "artificialWithAnomaly/art_daily_jumpsdown",
    "artificialWithAnomaly/art_load_balancer_spikes",
    "realKnownCause/ambient_temperature_system_failure",
    "realAWSCloudwatch/ec2_cpu_utilization_24ae8d",
    "realAWSCloudwatch/rds_cpu_utilization_cc0c53",
)
ON_SERIES = ("lstm", "zscore")


def _encoded(
    split: Split, scaling: str, *, normal: bool
) -> tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.float32]]:
    train = split.train.take(split.train.y == 0) if normal else split.train
    encoder = FeatureEncoder(train.channels, train.categorical, scaling=scaling).fit(train.series.rows())
    x, test = (encoder.encode(t.series.rows())[0][:, None].astype(np.float32) for t in (train, split.test))
    return x, train.y, test


def _blocks(seed: int) -> Split:
    """Cardiotocography, honest: rows of one recording stay together."""
    [ctg] = [e for e in experiments() if e.name == "ctg"]
    return next(p for p in ctg.protocols if p.name == "blocks").split(seed)


def _ranked(y: NDArray[np.int8], raw: NDArray[np.float64]) -> dict[str, Any]:
    return {
        "roc_auc": ranking.roc_auc(y, raw),
        "average_precision": ranking.average_precision(y, raw),
        "prevalence": ranking.prevalence(y),
        "rows": len(y),
    }


def losses(wanted: tuple[str, ...]) -> Iterator[tuple[str, Outcomes]]:
    """Each network with columns scaled in both ways, fitted on normal rows; means over two blocks."""
    for label in wanted:
        name, settings = NETWORKS[label]
        found = []
        for scaling in ("robust", "min-max"):
            if settings.get("loss") == "cross-entropy" and scaling == "robust":
                continue
            for seed in range(2):
                split = _blocks(seed)
                x, _, test = _encoded(split, scaling, normal=True)
                detector = registry.create(name, channels=x.shape[2], training=TRAINING, **settings)
                detector.fit(x)
                found.append(
                    {"contender": label, "scaling": scaling, **_ranked(split.test.y, detector.score(test).raw)}
                )
        yield label, found


def rare(wanted: tuple[str, ...]) -> Iterator[tuple[str, Outcomes]]:
    """The TCN classifier on rows of which one in twenty is anomalous: weights and resampling."""
    for label in wanted:
        found = []
        for seed in range(2):
            split = _blocks(seed)
            x, y, test = _encoded(split, "robust", normal=False)
            kept = np.flatnonzero(y == 0).tolist() + np.flatnonzero(y != 0)[::2].tolist()
            x, y = x[np.sort(kept)], y[np.sort(kept)]
            settings = {"channels": x.shape[2], "training": {"epochs": 12, "trim": 0.0}, "blocks": 3} | RARE[label]
            detector = registry.create("tcn-classifier", **settings)
            detector.fit(x, y)
            raw = detector.score(test).raw
            alarm = raw > 0  # more likely than not, by its own odds
            recall = float(alarm[split.test.y != 0].mean())
            precision = float((split.test.y[alarm] != 0).mean()) if alarm.any() else 0.0
            share = float((y != 0).mean())
            found.append(
                {
                    "contender": label,
                    "share": share,
                    "recall": recall,
                    "precision": precision,
                    **_ranked(split.test.y, raw),
                }
            )
        yield label, found


def images(wanted: tuple[str, ...]) -> Iterator[tuple[str, Outcomes]]:
    """MNIST: each network, with a digit held out of its training."""
    from producers.datasets import open_digits

    train, test = open_digits()
    for label in wanted:
        kind, loss = label.rsplit(", ", 1)
        name, settings = IMAGES[kind]
        found = []
        for held in HELD:
            x = (train.images[train.digits != held][:TRAIN_IMAGES, None] / np.float32(255)).astype(np.float32)
            shown = (test.images[:TEST_IMAGES, None] / np.float32(255)).astype(np.float32)
            how = {"epochs": 8, "trim": 0.0, "batch_size": 64}
            detector = registry.create(name, channels=784, loss=loss, training=how, **settings)
            detector.fit(x)
            y = (test.digits[:TEST_IMAGES] == held).astype(np.int8)
            found.append({"contender": label, "digit": held, **_ranked(y, detector.score(shown).raw)})
        yield label, found


REAL = "real rows"
DRAWN: Mapping[str, tuple[str, float]] = {
    "VAE, robust scaling, beta 1": ("robust", 1.0),
    "VAE, min-max, beta 1": ("min-max", 1.0),
    "VAE, min-max, beta 0.1": ("min-max", 0.1),
}


def drawn(wanted: tuple[str, ...]) -> Iterator[tuple[str, Outcomes]]:
    """Rows as `tidewatch generate` draws them beside real ones that the VAE has not seen: columns, correlations, whether a forest tells them apart."""
    from detectors import calibration
    from detectors.training import all_rows, train_table
    from pipeline.offline.generating import generate

    split = _blocks(0)
    train = split.train.take(split.train.y == 0)
    order = np.random.default_rng(0).permutation(len(train))
    here, there = (train.take(np.sort(part)) for part in np.array_split(order, 2))
    for label in wanted:
        if label == REAL:
            yield label, [{"contender": label} | _apart(there.series.values, here.series.values)]
            continue
        scaling, beta = DRAWN[label]
        member = ("vae", {"beta": beta, "training": TRAINING | {"epochs": 200, "patience": 30}})
        model = train_table(
            {"ctg": here.series.rows()}, train.channels, train.categorical, [member], calibration.create("empirical"),
            training_rows=all_rows, fit_fraction=0.95, scaling=scaling,
        )  # fmt: skip
        made = generate(model, len(there), seed=1).to_numpy(np.float64)
        yield label, [{"contender": label} | _apart(there.series.values, made)]


def _apart(real: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, float]:
    """Mean distance of the columns' distributions, mean difference of their rank correlations, ROC-AUC of a forest."""
    from scipy.stats import ks_2samp, rankdata
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_predict

    moved = np.flatnonzero((real.std(axis=0) > 0) & (other.std(axis=0) > 0))
    correlations = [np.corrcoef(rankdata(rows[:, moved], axis=0).T) for rows in (real, other)]
    y = np.r_[np.zeros(len(real)), np.ones(len(other))].astype(np.int8)
    forest = RandomForestClassifier(100, random_state=0)
    told = cross_val_predict(forest, np.concatenate([real, other]), y, cv=3, method="predict_proba")[:, 1]
    return {
        "gap": float(
            np.mean([ks_2samp(real[:, i], other[:, i], method="asymp").statistic for i in range(real.shape[1])])
        ),
        "correlation": float(np.abs(correlations[0] - correlations[1]).mean()),
        "told_apart": ranking.roc_auc(y, told),
    }


def series(wanted: tuple[str, ...]) -> Iterator[tuple[str, Outcomes]]:
    """The series of the textbook's chapter on LSTMs, as `tidewatch evaluate --data nab --series NAME --detector lstm` judges them."""
    from dataclasses import asdict

    from pipeline.offline import evaluation
    from pipeline.offline.evaluation import SeriesResult
    from pipeline.offline.scorefile import score_dataset
    from producers.datasets import open_dataset

    data = open_dataset("nab")
    for name in wanted:
        found = []
        for detector in ON_SERIES:
            one = data.select(name)
            rows = score_dataset(one, detector=detector, recipe=evaluation.AT_BEST, alerts=evaluation.ONE_PER_EVENT)
            [recorded] = one.series().values()
            result = SeriesResult(name, recorded.values, one.all_labels.get(name), rows)
            found.append(
                {"contender": detector, "series": name}
                | asdict(evaluation.all_metric_figures([result]))
                | {"series": name}
            )
        yield name, found


PARTS: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    "losses": (losses, tuple(NETWORKS)),
    "rare": (rare, tuple(RARE)),
    "drawn": (drawn, (REAL, *DRAWN)),
    "images": (images, tuple(f"{kind}, {loss}" for kind in IMAGES for loss in IMAGE_LOSSES)),
    "series": (series, SERIES),
}
