"""The textbook's experiments, under its protocol and under an honest one: writes docs/results.md, tables and all.

    python benchmarks/accuracy.py            the whole page, under 30 minutes on 2 quiet cores
    python benchmarks/accuracy.py --quick    a few minutes, for CI; writes out/accuracy/quick.md
    python benchmarks/accuracy.py --only ctg,taxi     those alone, the rest as it is kept

What was made before by the same code and settings is not made again (`accuracy_cache`; --fresh forgets it). Real data only
(TIDEWATCH_DATA, the cache, or a download): figures on a synthetic twin would say nothing.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread for each of two processes, before torch counts the cores

import argparse
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import accuracy_nab
from benchmarks.accuracy_cache import Job, carry_out, collect, key, sources
from benchmarks.accuracy_contenders import CONTENDERS
from benchmarks.accuracy_report import write
from benchmarks.accuracy_series import BEFORE, DIGIT_CONTENDERS, FORECASTERS, digits, taxi
from benchmarks.accuracy_tables import tables
from benchmarks.experiments import HONEST, TEXTBOOK, Experiment, Protocol, experiments
from detectors import registry
from producers.errors import DataError

OUT = Path("out/accuracy")
PAGE = Path("docs/results.md")
PICTURES = Path("docs/images")
APART = ("detectors.registry", "benchmarks.accuracy_contenders", "benchmarks.accuracy_cache", "producers.datasets")
LOADERS = tuple(f"producers.datasets.{name}" for name in ("base", "creditcard", "ctg", "kdd", "mnist", "nab", "taxi"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer experiments, detectors and seeds")
    parser.add_argument("--only", default="", help="experiments to run, comma-separated; the page has all that is kept")
    parser.add_argument("--report", action="store_true", help="run nothing, write the page from what is kept")
    parser.add_argument("--fresh", action="store_true", help="forget what is kept")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    folder = OUT / ("quick" if arguments.quick else "full")
    page, pictures = (OUT / "quick.md", OUT) if arguments.quick else (PAGE, PICTURES)
    if arguments.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    plan = tuple(jobs(quick=arguments.quick))
    only = {name for name in arguments.only.split(",") if name}
    if unknown := only - {job.experiment for job in plan}:
        parser.error(f"no experiment {', '.join(sorted(unknown))}; there are: {', '.join(_names(plan))}")
    began = time.monotonic()
    if not arguments.report:
        run([job for job in plan if not only or job.experiment in only], folder, arguments.processes)
    write(page, pictures, collect(plan, folder), quick=arguments.quick)
    print(f"{page} written; {time.monotonic() - began:.0f} s")


def run(plan: Sequence[Job], folder: Path, processes: int) -> None:
    """Make what is not kept yet."""
    with ProcessPoolExecutor(processes) as pool:
        under_way = {pool.submit(carry_out, job, folder): job for job in plan}
        for done, future in enumerate(as_completed(under_way), 1):
            job = under_way[future]
            try:
                made = future.result()
            except DataError as error:  # the page names what could not be run
                print(f"[{done}/{len(plan)}] {job.experiment}: {error}", flush=True)
                continue
            if made:
                print(f"[{done}/{len(plan)}] {job.experiment}: {job.name}", flush=True)


def jobs(*, quick: bool) -> Iterator[Job]:
    """All of them, the longest first, so that both processes end together."""
    if not quick:
        yield from _nab()
    yield from _digits(quick=quick)
    yield from _taxi(quick=quick)
    for experiment in experiments():
        if not quick or experiment.quick:
            for protocol in experiment.protocols:
                for seed in range(2 if quick else experiment.seeds):
                    yield from _table(experiment, protocol, seed, quick=quick)


def _nab() -> Iterator[Job]:
    code = sources("benchmarks.accuracy_nab", *LOADERS, apart=("producers.datasets",))
    for label in accuracy_nab.detectors():
        for seed in range(accuracy_nab.SEEDS if label == accuracy_nab.DEFAULT else 1):
            keys = {label: key([label, seed], code)}
            yield Job("nab", f"{label}, {seed}", accuracy_nab.run, (label, seed), keys)


def _digits(*, quick: bool) -> Iterator[Job]:
    for label, detector in {"autoencoder": "detectors.autoencoder", "pca": "detectors.pca"}.items():
        code = _code("benchmarks.accuracy_series", detector, *LOADERS)
        [part] = [name for name in DIGIT_CONTENDERS if name.lower().startswith(label)]
        for seed in range(1 if quick or label == "pca" else 3):
            yield Job("mnist", f"{label}, {seed}", digits, (seed, quick), {part: key([part, seed, quick], code)})


def _taxi(*, quick: bool) -> Iterator[Job]:
    for protocol in (TEXTBOOK, HONEST):
        for seed in range(1 if quick else 3):
            keys = {}
            for label in FORECASTERS:
                name = FORECASTERS[label][0]
                code = _code("benchmarks.accuracy_series", registry.find(name).__module__, *LOADERS)
                if not quick or label == "LSTM":
                    keys[label] = key([protocol, label, seed, quick], code)
            for label in BEFORE if not seed else ():
                keys[label] = key([protocol, label], _code("benchmarks.accuracy_series", *LOADERS))
            yield Job("taxi", f"{protocol}, {seed}", taxi, (protocol, seed, quick), keys)


def _table(experiment: Experiment, protocol: Protocol, seed: int, *, quick: bool) -> Iterator[Job]:
    keys = {}
    for contender in CONTENDERS:
        left_out = (quick and not contender.quick) or not contender.takes_part(experiment.name)
        if left_out or (seed and contender.seedless and not protocol.drawn):
            continue
        code = _code("benchmarks.accuracy_tables", registry.find(contender.detector).__module__, *LOADERS)
        settings = [asdict(contender) | {"only": [], "quick": False}, experiment.name, protocol.name, seed]
        keys[contender.label] = key(settings, code)
    name = f"{protocol.name}, {seed}"
    yield Job(experiment.name, name, tables, (experiment.name, protocol.name, seed), keys)


def _code(*modules: str) -> str:
    """Of one part: lists that know all detectors, contenders and data sets do not matter to it, its own modules do."""
    return sources(*modules, apart=APART)


def _names(plan: Sequence[Job]) -> list[str]:
    return list(dict.fromkeys(job.experiment for job in plan))


if __name__ == "__main__":
    main()
