"""Bytes to windows, batches of 20,000 records of 1,000 series, against one record at a time, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.windows [--records N] [--json FILE]

The oracle (tests/naive_*.py: standard library, one record after the other) gets the first part of the same records; what
both make of them must be equal to the byte, or there is no figure. Times are CPU seconds of the thread, so that a busy
machine says the same. `odd` has a late record and a gap in every series of every batch: the time policy's slow path.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from detectors import calibration, registry
from detectors.model import Model
from detectors.scaling import SeriesScaling
from pipeline.settings import StreamSettings
from pipeline.steps.batches.records import RecordBatch
from pipeline.steps.decoding import Decoder
from pipeline.steps.state import PartitionState
from pipeline.steps.windows import COMPONENT, SeriesWindows
from producers.records import Observation, encode

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from naive_decoding import naive_decode
from naive_windows import NaiveWindows

SERIES, BATCH, T = 1_000, 20_000, 48
START, STEP = 1_404_172_800_000, 300_000
NAMES = [f"series-{k:04d}" for k in range(SERIES)]


def model(features: bool) -> Model:
    return Model(
        kind="metric",
        detectors=(registry.create("constant", window=T, covariates=4 * features),),
        calibrator=calibration.create("gaussian-tail"),
        scaling=SeriesScaling(known={n: np.array([[50.0], [29.0]]) for n in NAMES}),
        features=None,
        time_features=("day", "week") if features else (),
        aggregation="mean",
        training_rows={},
        calibrations={},
        interval_ms=dict.fromkeys(NAMES, STEP),
    )


def batches(records: int, odd: bool) -> Iterator[list[bytes]]:
    rng = random.Random(7)
    for start in range(0, records, BATCH):
        values = []
        for n in range(start, min(start + BATCH, records)):
            k, step = n % SERIES, n // SERIES
            late = odd and step % 20 == 13
            values.append(encode(Observation(NAMES[k], START + (step - 2 * late) * STEP, rng.uniform(0, 100))))
        yield values


def fast(records: int, odd: bool, features: bool) -> tuple[dict[str, float], Counter[str], list[str]]:
    decoder, of = Decoder("metric", 1), model(features)
    windows = SeriesWindows(of, StreamSettings(name="s", model=Path("m")))
    state = PartitionState({COMPONENT: windows.dtype}, max_series=SERIES)
    seconds = dict.fromkeys(("decode", "rows", "push"), 0.0)
    counts: Counter[str] = Counter()
    digests = []
    for i, values in enumerate(batches(records, odd)):
        n = len(values)
        batch = RecordBatch("t", 0, np.arange(i * BATCH, i * BATCH + n), 0, [None] * n, values, np.zeros(n, np.int64))
        t0 = time.thread_time()
        observations, rejected = decoder.decode(batch)
        t1 = time.thread_time()
        rows, new = state.rows_of(observations.series)
        t2 = time.thread_time()
        pushed = windows.push(state, observations, rows, new)
        t3 = time.thread_time()
        for name, took in zip(seconds, (t1 - t0, t2 - t1, t3 - t2), strict=True):
            seconds[name] += took
        counts.update(pushed.counts, windows=len(pushed.windows), rejected=len(rejected))
        digests.append(hashlib.sha256(pushed.windows.x.tobytes()).hexdigest())
    return {k: v / records for k, v in seconds.items()}, counts, digests


def naive(records: int, odd: bool, features: bool) -> tuple[float, Counter[str], list[str]]:
    of = model(features)
    windows = NaiveWindows(
        T,
        1,
        time_features=features,
        known_scaling=dict(of.scaling.known),
        learn_rows=of.scaling.learn_rows,
        intervals=dict(of.interval_ms),
        fill_gaps=3,
        future_limit=86_400_000,
    )
    seconds = 0.0
    counts: Counter[str] = Counter()
    digests = []
    for values in batches(records, odd):
        digest = hashlib.sha256()
        t0 = time.thread_time()
        outcomes = []
        for value in values:
            decoded = naive_decode(value, None, "metric", 1)
            assert not isinstance(decoded, str), decoded
            outcomes.append(windows.push(*decoded))
        seconds += time.thread_time() - t0
        for outcome in outcomes:
            if outcome.x is not None:
                digest.update(outcome.x.tobytes())
                counts["windows"] += 1
        digests.append(digest.hexdigest())
    return seconds / records, counts + windows.counts, digests


def measure(records: int, odd: bool, features: bool) -> dict[str, Any]:
    oracle_records = min(records, 4 * BATCH)
    took, counts, digests = fast(records, odd, features)
    slow, oracle_counts, oracle_digests = naive(oracle_records, odd, features)
    if digests[: len(oracle_digests)] != oracle_digests:
        sys.exit("the windows differ from the oracle's: no figure")
    if records == oracle_records and {k: v for k, v in counts.items() if v} != dict(oracle_counts):
        sys.exit(f"the counts differ from the oracle's: {dict(counts)} against {dict(oracle_counts)}")
    if counts["windows"] + counts["warming"] + counts["late"] != records:
        sys.exit(f"records are missing: {dict(counts)}")
    total = sum(took.values())
    return {
        "case": f"{'odd' if odd else 'clean'}{', time of day' if features else ''}",
        "microseconds": {k: round(v * 1e6, 3) for k, v in took.items()},
        "records_per_second": round(1 / total),
        "oracle_records_per_second": round(1 / slow),
        "ratio": round(slow / total, 1),
        "counts": {k: v for k, v in counts.items() if v},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = [
        measure(arguments.records, odd, features) for odd, features in ((False, False), (True, False), (False, True))
    ]
    print("| case | decode us | rows us | push us | records/s | oracle/s | ratio |\n|---|---|---|---|---|---|---|")
    for r in results:
        us = " | ".join(f"{v:.2f}" for v in r["microseconds"].values())
        print(
            f"| {r['case']} | {us} | {r['records_per_second']:,} | {r['oracle_records_per_second']:,} | {r['ratio']} |"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
