"""Rows of a table, KDD Cup 99's 41 columns, from bytes to alerts by the product's default for tables: what a row costs, and where.

    OMP_NUM_THREADS=1 python benchmarks/rows.py [--write docs/benchmarks/rows.md] [--profile]

The baseline decodes the same records (msgspec) and asks scikit-learn's own `IsolationForest`, `KMeans` and `EmpiricalCovariance` of the same settings, fitted on
the same encoded rows; it neither calibrates nor tells columns' shares, an event time or alerts. CPU time, the least of all batches.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec
import numpy as np

from benchmarks.judgement.cost import machine
from detectors.model import Model
from detectors.recipes import TABLE
from pipeline.partition.stream import create_stream
from pipeline.process_memory import calm_collector, keep_freed
from pipeline.settings import StreamSettings
from pipeline.steps.batches.binary import BinaryColumn
from pipeline.steps.batches.records import RecordBatch
from pipeline.steps.scoring import score_members
from producers.datasets import open_dataset
from producers.records import Observation, encode

TRAIN, BATCHES, LEAST_ROWS = 20_000, 12, 40_000
SIZES = (100, 1_000, 16_000)
Timed = tuple[str, Callable[[], Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path)
    parser.add_argument("--profile", action="store_true", help="say where the time goes instead")
    arguments = parser.parse_args()
    calm_collector()
    keep_freed()  # as a worker does
    known, told = rows("kdd-all")
    names, categorical = open_dataset("kdd-all").channels, open_dataset("kdd-all").categorical
    learnt = [row for _, _, row in known[:: len(known) // TRAIN]]
    model = TABLE.train_table({"kdd": learnt}, names, categorical, training_rows=int)
    values = [encode(Observation(series, at, values=row)) for series, at, row in told]
    lines = [
        "# What a row of a table costs",
        "",
        f"Written by `benchmarks/rows.py`, one run: {machine()}. KDD Cup 99, all services, 41 columns ({model.channels} encoded), trained on {len(learnt):,} rows of the 10 % file, asked about the test file's. us of CPU a row, the least of all batches.",
        "",
        "| rows in a batch | bytes to alerts | of it decoding | the three members | the rest | scikit-learn by hand | by hand / Tidewatch |",
        "|---|---|---|---|---|---|---|",
    ]
    for size in SIZES:
        if arguments.profile:
            profiled(model, values, size)
            continue
        cells = measured(model, values, size)
        cells.append(by_hand(model, learnt, values, size))
        whole, decoding, members, hand = (seconds / size * 1e6 for seconds in cells)
        rest = whole - decoding - members
        shown = [f"{size:,}", *(f"{us:.2f}" for us in (whole, decoding, members, rest, hand)), f"{hand / whole:.1f}"]
        lines.append(f"| {' | '.join(shown)} |")
        print(lines[-1], flush=True)
    if arguments.profile:
        return
    average, odd, alerts = whole_file(model, values)
    lines += [
        "",
        f"The whole test file, {len(values):,} rows of which {odd:,} are anomalous in {alerts:,} alert records, in batches of {SIZES[-1]:,}: {average:.2f} us a row on average.",
    ]
    print(lines[-1], flush=True)
    lines += ["", "| member, its raw scores alone | us a row |", "|---|---|"]
    x = model.features.encode([row for _, _, row in told[20_000:36_000]])[0][:, None, :].astype(np.float32)
    for detector in model.detectors:
        lines.append(f"| {detector.name} | {least(lambda d=detector: d.score(x, tell=False)) / len(x) * 1e6:.2f} |")
        print(lines[-1])
    if arguments.write is not None:
        arguments.write.write_text("\n".join(lines) + "\n")


def rows(name: str) -> tuple[list[tuple[str, int, list[float | str]]], list[tuple[str, int, list[float | str]]]]:
    """Rows to learn from and rows to be asked about, in order of time: series, event time, values."""
    return in_order(name), in_order(f"{name}-corrected")


def in_order(name: str) -> list[tuple[str, int, list[float | str]]]:
    """All rows of a data set in order of event time."""
    data, found = open_dataset(name), list[tuple[str, int, list[float | str]]]()
    for series in data.series().values():
        found += zip([series.name] * len(series), series.timestamps.tolist(), series.rows(), strict=True)
    return sorted(found, key=lambda row: row[1])


def worker(model: Model) -> tuple[Any, Callable[[list[bytes]], RecordBatch]]:
    """What a partition knows, and what makes record batches of values for it."""
    stream = create_stream(StreamSettings(name="s", model=Path("m")), model)
    offset = 0

    def batch(values: list[bytes]) -> RecordBatch:
        nonlocal offset
        n = len(values)
        offset += n
        column = BinaryColumn.of(values)  # as a fetch brings them
        return RecordBatch("t", 0, np.arange(offset - n, offset), offset, [None] * n, column, np.zeros(n, np.int64))

    return stream.core(0), batch


def batches(values: list[bytes], size: int) -> Iterator[list[bytes]]:
    """As many as are measured, behind rows that all the series are known by."""
    for at in range(max(BATCHES, LEAST_ROWS // size)):
        yield values[20_000 + at * size : 20_000 + (at + 1) * size]


def measured(model: Model, values: list[bytes], size: int) -> list[float]:
    """CPU seconds of a batch from bytes to alerts, of decoding alone, of the members alone: each the least."""
    core, batch = worker(model)
    core.process(core.decode(batch(values[:20_000]))[0])
    took = []
    for part in batches(values, size):
        records = batch(part)
        began = time.process_time()
        observations, _ = core.decode(records)
        decoded = time.process_time()
        core.process(observations)
        took.append((time.process_time() - began, decoded - began))
        x = observations.values[:, None, :].astype(np.float32)
        began = time.process_time()
        score_members(model, x)
        took[-1] += (time.process_time() - began,)
    return [min(column) for column in zip(*took, strict=True)]


def whole_file(model: Model, values: list[bytes]) -> tuple[float, int, int]:
    """CPU us of a row on average from bytes to alerts, attacks and all; anomalous rows, and records of alerts."""
    core, batch = worker(model)
    size, odd, alerts, took = SIZES[-1], 0, 0, 0.0
    for at in range(0, len(values), size):
        records = batch(values[at : at + size])
        began = time.process_time()
        settled = [settled for _, settled in core.process(core.decode(records)[0])]
        took += time.process_time() - began
        odd += sum(s.counts["anomalous"] for s in settled)
        alerts += sum(len(s.alerts) for s in settled)
    return took / len(values) * 1e6, odd, alerts


def profiled(model: Model, values: list[bytes], size: int) -> None:
    core, batch = worker(model)
    core.process(core.decode(batch(values[:20_000]))[0])
    with cProfile.Profile() as profile:
        for part in batches(values, size):
            core.process(core.decode(batch(part))[0])
    print(f"{size:,} rows a batch")
    pstats.Stats(profile).sort_stats("tottime").print_stats(35)


def by_hand(model: Model, learnt: list[list[float | str]], values: list[bytes], size: int) -> float:
    """CPU seconds of a batch by what one writes in ten lines: decode, encode, three estimators of scikit-learn."""
    from sklearn.cluster import KMeans
    from sklearn.covariance import EmpiricalCovariance
    from sklearn.ensemble import IsolationForest

    assert model.features is not None
    x, _ = model.features.encode(learnt)
    forest = IsolationForest(n_estimators=100, max_samples=1024, random_state=0).fit(x)
    means, covariance = KMeans(16, n_init=1, random_state=0).fit(x), EmpiricalCovariance().fit(x)
    took = []
    for part in batches(values, size):
        began = time.process_time()
        decoded = [msgspec.json.decode(value)["values"] for value in part]
        rows, _ = model.features.encode(decoded)
        forest.score_samples(rows), means.transform(rows).min(axis=1), covariance.mahalanobis(rows)
        took.append(time.process_time() - began)
    return min(took)


def least(call: Callable[[], Any]) -> float:
    """CPU seconds of the quickest of five."""
    took = []
    for _ in range(5):
        began = time.process_time()
        call()
        took.append(time.process_time() - began)
    return min(took)


if __name__ == "__main__":
    main()
