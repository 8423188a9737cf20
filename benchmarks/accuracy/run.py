"""The textbook's experiments, under its protocol and under an honest one: writes docs/results.md, tables and all.

    python benchmarks/accuracy/run.py            the whole page; it says what one whole run takes
    python benchmarks/accuracy/run.py --fresh    the same in one go, whatever is kept
    python benchmarks/accuracy/run.py --quick    a few minutes, for CI; writes out/accuracy/quick.md
    python benchmarks/accuracy/run.py --only ctg,taxi     those alone, the rest as it is kept

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

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.accuracy import nab
from benchmarks.accuracy.cache import Job, WholeRun, carry_out, collect, digest, keep, key, sources, whole_run
from benchmarks.accuracy.contenders import CONTENDERS, MORE_SEEDS
from benchmarks.accuracy.experiments import HONEST, TEXTBOOK, Experiment, Protocol, experiments
from benchmarks.accuracy.report import write
from benchmarks.accuracy.series import BEFORE, DIGIT_CONTENDERS, FORECASTERS, digits, taxi
from benchmarks.accuracy.tables import tables
from detectors import registry
from detectors.base import DetectorError
from producers.errors import DataError

OUT = Path("out/accuracy")
PAGE = Path("docs/results.md")
PICTURES = Path("docs/images")
LONGEST_FIRST = ("kdd-all", "make_classification", "creditcard", "kdd-http", "ctg")
SLOW_ON_NAB = ("gru", "lstm-autoencoder", "ed-tcn", "conv-autoencoder")
NOT_ON_NAB = ("seasonal",)
"""Looks a week back, which is more than the rows of NAB's files that may be learnt from."""
APART = ("detectors.registry", "benchmarks.accuracy.contenders", "benchmarks.accuracy.cache", "producers.datasets")
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
    made = 0
    if not arguments.report:
        made = run([job for job in plan if not only or job.experiment in only], folder, arguments.processes)
    wall, spent = time.monotonic() - began, _processor_time()
    if made == sum(len(job.keys) for job in plan):
        keep(WholeRun(digest(plan), wall, spent, arguments.processes), folder)
    write(page, pictures, collect(plan, folder), whole_run(plan, folder), quick=arguments.quick)
    print(
        f"{page} written: {made} parts made in {_minutes(wall)} by {arguments.processes} processes, "
        f"{_minutes(spent)} of processor time"
    )


def run(plan: Sequence[Job], folder: Path, processes: int) -> int:
    """Make what is not kept yet, and return how many parts that was."""
    made, began = 0, time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar, ProcessPoolExecutor(processes) as pool:
        task = bar.add_task("jobs", total=len(plan))
        under_way = {pool.submit(carry_out, job, folder): job for job in plan}
        for done, future in enumerate(as_completed(under_way), 1):
            job = under_way[future]
            bar.advance(task)
            try:
                parts = future.result()
            except (DataError, DetectorError) as error:  # the page says that something could not be run
                console.print(f"[{done}/{len(plan)}] {job.experiment}: {error}", markup=False)
                continue
            made += parts
            if parts:
                at = _minutes(time.monotonic() - began)
                console.print(f"[{done}/{len(plan)}] {at}: {job.experiment}, {job.name}", markup=False)
    return made


def _processor_time() -> float:
    """Seconds of this process and those that it has started and that have ended."""
    of = os.times()
    return of.user + of.system + of.children_user + of.children_system


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def jobs(*, quick: bool) -> Iterator[Job]:
    """All of them, the longest first, so that both processes end together."""
    if not quick:
        yield from _nab()
    yield from _digits(quick=quick)
    yield from _taxi(quick=quick)
    for experiment in sorted(experiments(), key=lambda e: LONGEST_FIRST.index(e.name)):
        if not quick or experiment.quick:
            for protocol in experiment.protocols:
                more, _ = MORE_SEEDS.get((experiment.name, protocol.name), (0, ()))
                for seed in range(2 if quick else max(experiment.seeds, more)):
                    yield from _table(experiment, protocol, seed, quick=quick)


def _nab() -> Iterator[Job]:
    code = sources("benchmarks.accuracy.nab", *LOADERS, apart=("producers.datasets",))
    together = (nab.NETWORKS, *nab.MEMBERS)
    for seed in range(nab.SEEDS):
        keys = {label: key([label, seed], code) for label in together}
        yield Job("nab", f"{nab.NETWORKS}, {seed}", nab.run, (seed,), keys)
        yield Job("nab", f"{nab.DEFAULT}, {seed}", nab.run, (seed,), {nab.DEFAULT: key([nab.DEFAULT, seed], code)})
    others = [label for label in nab.detectors() if label not in (nab.DEFAULT, *together, *NOT_ON_NAB)]
    for label in sorted(others, key=lambda label: label not in SLOW_ON_NAB):
        yield Job("nab", f"{label}, 0", nab.run, (0,), {label: key([label, 0], code)})


def _digits(*, quick: bool) -> Iterator[Job]:
    for label, detector in {"autoencoder": "detectors.autoencoder", "pca": "detectors.pca"}.items():
        code = _code("benchmarks.accuracy.series", detector, *LOADERS)
        [part] = [name for name in DIGIT_CONTENDERS if name.lower().startswith(label)]
        for seed in range(1 if quick or label == "pca" else 2):
            yield Job("mnist", f"{label}, {seed}", digits, (seed, quick), {part: key([part, seed, quick], code)})


def _taxi(*, quick: bool) -> Iterator[Job]:
    for protocol in (TEXTBOOK, HONEST):
        for seed in range(1 if quick else 3):
            keys = {}
            for label in FORECASTERS:
                name = FORECASTERS[label][0]
                code = _code("benchmarks.accuracy.series", registry.find(name).__module__, *LOADERS)
                if not quick or label == "LSTM":
                    keys[label] = key([protocol, label, seed, quick], code)
            for label in BEFORE if not seed else ():
                keys[label] = key([protocol, label], _code("benchmarks.accuracy.series", *LOADERS))
            yield Job("taxi", f"{protocol}, {seed}", taxi, (protocol, seed, quick), keys)


def _table(experiment: Experiment, protocol: Protocol, seed: int, *, quick: bool) -> Iterator[Job]:
    keys = {}
    _, more = MORE_SEEDS.get((experiment.name, protocol.name), (0, ()))
    for contender in CONTENDERS:
        left_out = (quick and not contender.quick) or not contender.takes_part(experiment.name)
        left_out |= seed >= experiment.seeds and contender.label not in more
        if left_out or (seed and contender.seedless and not protocol.drawn):
            continue
        code = _code("benchmarks.accuracy.tables", registry.find(contender.detector).__module__, *LOADERS)
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
