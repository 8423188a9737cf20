"""The product's default for tables beside four usual detectors, on the tables of ADBench that are for development.

    python benchmarks/adbench.py [--out FOLDER] [--write]

Each table's first half may be learnt from, the second is judged, at most `MOST` rows of each (the first). Every table is fitted twice: on normal rows alone, and
with 5 % anomalies among them (fewer where there are fewer). Labels make these training parts and the figures, nothing else. The default is `score` as users run it,
the peers are scikit-learn's and textbook formulas on standardised columns, with the settings that PyOD gives them. Outcomes are kept in FOLDER (out/adbench), so a
stopped run goes on; the page docs/benchmarks/tables.md is written from them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from detectors.evaluation.ranking import average_precision, prevalence, roc_auc
from pipeline.offline.scorefile import score_dataset
from producers.datasets import Dataset, Labels, Series

Floats = NDArray[np.float64]
ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/benchmarks/tables.md"
MOST = 5000
SHARES = (0.0, 0.05)
"""Anomalies among the rows that are learnt from."""
SEED = 0


@dataclass(frozen=True)
class Table:
    """Rows (n, C), their labels (n,), and how many of the first may be learnt from."""

    name: str
    rows: Floats
    y: NDArray[np.int8]
    train: int

    def parts(self, share: float) -> tuple[Floats, Floats, NDArray[np.int8], int]:
        """Rows to learn from, rows to judge, the labels of those, and how many anomalies are among the first."""
        known = self.y[: self.train]
        normal, odd = np.flatnonzero(known == 0)[:MOST], np.flatnonzero(known == 1)
        few = np.random.default_rng(SEED).permutation(odd)[: round(share * len(normal) / (1 - share))]
        judged = slice(self.train, self.train + MOST)
        return self.rows[np.sort(np.r_[normal, few])], self.rows[judged], self.y[judged], len(few)


def tables(folder: Path) -> Iterator[Table]:
    """The tables of a folder of .npz files."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as z:
            yield Table(path.stem, z["value"].astype(np.float64), z["label"].astype(np.int8), int(z["train"]))


def default(learnt: Floats, judged: Floats) -> Floats:
    """What `tidewatch score` says of the judged rows."""
    rows = np.concatenate([learnt, judged])
    columns = tuple(np.ascontiguousarray(c) for c in rows.T)
    series = Series("table", np.arange(len(rows), dtype=np.int64) * 1000, columns)
    names = tuple(f"c{i}" for i in range(rows.shape[1]))
    nothing = {"table": Labels((), np.zeros(len(rows), np.bool_))}
    data = Dataset("table", "table", names, "ADBench", {"table": series}, nothing)
    return score_dataset(data, train_rows=len(learnt)).score[len(learnt) :]


def forest(learnt: Floats, judged: Floats) -> Floats:
    """Isolation Forest, 100 trees of 256 rows."""
    from sklearn.ensemble import IsolationForest

    return np.asarray(-IsolationForest(random_state=SEED).fit(learnt).score_samples(judged))


def ecod(learnt: Floats, judged: Floats) -> Floats:
    """Sum over columns of -log of the empirical tail: left, right or the skewed side's, whichever is largest (Li et al. 2022)."""
    ordered, n = np.sort(learnt, axis=0), len(learnt)
    columns = range(learnt.shape[1])
    below = np.stack([np.searchsorted(ordered[:, j], judged[:, j], side="right") for j in columns], axis=1)
    above = n - np.stack([np.searchsorted(ordered[:, j], judged[:, j], side="left") for j in columns], axis=1)
    left, right = (-np.log(np.maximum(k, 1) / n) for k in (below, above))
    skewed = np.where(((learnt - learnt.mean(axis=0)) ** 3).mean(axis=0) < 0, left, right)
    return np.asarray(np.maximum.reduce([left.sum(axis=1), right.sum(axis=1), skewed.sum(axis=1)]))


def one_class_svm(learnt: Floats, judged: Floats) -> Floats:
    """One-class SVM, RBF kernel, nu 0.5."""
    from sklearn.svm import OneClassSVM

    return np.asarray(-OneClassSVM(nu=0.5).fit(learnt).score_samples(judged))


def pca(learnt: Floats, judged: Floats) -> Floats:
    """Distances from the principal directions, each over its share of the variance, as PyOD sums them."""
    from sklearn.decomposition import PCA

    found = PCA().fit(learnt)
    far = np.sqrt(np.maximum(np.square(judged[:, None, :] - found.components_[None]).sum(axis=2), 0.0))
    return np.asarray((far / np.maximum(found.explained_variance_ratio_, 1e-12)).sum(axis=1))


PEERS = {"Isolation Forest": forest, "ECOD": ecod, "OC-SVM": one_class_svm, "PCA": pca}
CONTENDERS = ("default", *PEERS)


def outcome(table: Table, share: float) -> dict[str, object]:
    """Figures of all contenders on one table."""
    learnt, judged, y, few = table.parts(share)
    centre, scale = learnt.mean(axis=0), learnt.std(axis=0)
    scale[scale == 0] = 1.0
    near, far = (learnt - centre) / scale, (judged - centre) / scale
    scores = {"default": default(learnt, judged), **{name: peer(near, far) for name, peer in PEERS.items()}}
    return {
        "table": table.name,
        "share": share,
        "learnt": len(learnt),
        "anomalies learnt from": few,
        "judged": len(judged),
        "prevalence": prevalence(y),
        "roc_auc": {name: roc_auc(y, s) for name, s in scores.items()},
        "average_precision": {name: average_precision(y, s) for name, s in scores.items()},
    }


def ranks(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean rank of each contender, 1 is best; equals share theirs."""
    table = np.array([[f[name] for name in CONTENDERS] for f in figures])
    better = (table[:, None, :] > table[:, :, None]).sum(axis=2)
    same = (table[:, None, :] == table[:, :, None]).sum(axis=2)
    return dict(zip(CONTENDERS, (better + (same + 1) / 2).mean(axis=0).tolist(), strict=True))


def page(outcomes: Sequence[dict[str, object]]) -> str:
    """The page, from all outcomes."""
    parts = [
        "<!-- written by benchmarks/adbench.py -->\n\n# Tables\n",
        (
            f"The product's default for tables, as `tidewatch score` runs it, beside four usual detectors on ADBench's tables for development: the first half may be learnt "
            f"from, the second is judged, at most {MOST:,} rows of each. ROC-AUC / average precision (a random score's is the prevalence). "
            "The mix of the default was chosen on other tables (docs/detectors.md): none of these is in-sample for it. The peers have scikit-learn's and PyOD's "
            "default settings and standardised columns; none of them is tuned.\n"
        ),
    ]
    for share in SHARES:
        of = [o for o in outcomes if o["share"] == share]
        what = (
            "on normal rows alone"
            if not share
            else f"with {100 * share:g} % anomalies among the rows learnt from (fewer where the first half has fewer)"
        )
        parts.append(f"## Fitted {what}\n")
        lines = ["| table | rows learnt from (anomalies) | judged | prevalence | " + " | ".join(CONTENDERS) + " |"]
        lines.append("|---|---:|---:|---:|" + "---:|" * len(CONTENDERS))
        for o in of:
            auc, ap = o["roc_auc"], o["average_precision"]
            assert isinstance(auc, dict)
            assert isinstance(ap, dict)
            cells = [f"{auc[name]:.3f} / {ap[name]:.3f}" for name in CONTENDERS]
            head = f"| {o['table']} | {o['learnt']:,} ({o['anomalies learnt from']}) | {o['judged']:,} | {100 * float(str(o['prevalence'])):.1f} % |"
            lines.append(f"{head} {' | '.join(cells)} |")
        found = [[o[figure] for o in of] for figure in ("roc_auc", "average_precision")]
        means = [
            f"{np.mean([f[n] for f in found[0]]):.3f} / {np.mean([f[n] for f in found[1]]):.3f}" for n in CONTENDERS
        ]  # type: ignore[index]
        by_auc, by_ap = ranks(found[0]), ranks(found[1])  # type: ignore[arg-type]
        places = [f"{by_auc[name]:.2f} / {by_ap[name]:.2f}" for name in CONTENDERS]
        lines += [
            f"| *mean* | | | | {' | '.join(means)} |",
            f"| *mean rank of {len(CONTENDERS)}* | | | | {' | '.join(places)} |",
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def main(words: Sequence[str] | None = None) -> None:
    """Make what is missing, print the page, and write it where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "out/adbench", help="folder of the outcomes")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    chosen = parser.parse_args(words)
    folder = Path(os.environ.get("TIDEWATCH_DATA", "data")) / "dev/adbench"
    found = list(tables(folder))
    if not found:
        sys.exit(f"{folder} holds no tables; set TIDEWATCH_DATA to the folder that has dev/adbench")
    chosen.out.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for share in SHARES:
        for table in found:
            kept = chosen.out / f"{table.name}-{share:g}.json"
            if not kept.exists():
                kept.write_text(json.dumps(outcome(table, share)), encoding="utf-8")
                print(f"{table.name}, {share:g}: scored", flush=True)
            outcomes.append(json.loads(kept.read_text(encoding="utf-8")))
    text = page(outcomes)
    print(text)
    if chosen.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
