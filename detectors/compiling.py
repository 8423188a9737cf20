"""Functions over rows as machine code: compiled once on a machine, kept in the cache folder, loaded from there in the time that importing Numba takes.

    <cache>/compiled/<fingerprint>/     cache: TIDEWATCH_CACHE, else $XDG_CACHE_HOME/tidewatch, else ~/.cache/tidewatch

The fingerprint is that of all sources that a function is made of and of Numba's version, so a changed file has another folder; within it Numba tells CPUs
apart and writes files whole, so processes may begin at once. Of an image whose file system is read-only it is read all the same. Without a folder, or
with a damaged one, the work goes on, and is told why it begins later.
`python -m detectors.compiling` does it ahead.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "boundscheck": False,
    "fastmath": False,
    "no_cfunc_wrapper": True,
}
_ROOT = Path(__file__).parents[1]
_ONE_AT_A_TIME = threading.RLock()
"""Numba's folder is a setting of the whole process."""
_SWIFT = ("0.68.",)
"""Versions of Numba whose kept code is known to load without its registries (`_swift`)."""


@dataclass(frozen=True, eq=False)  # each is one of its own: nothing is compared when it is asked for
class Kernel:
    """A function that is compiled.

    Attributes
    ----------
    name
        What people are told is compiled.
    module
        Has it as `run`, and the types of its arguments as `signature()`.
    made_of
        Sources, as paths below the project; of a folder, all in it.
    about
        Seconds that compiling takes, roughly.
    allocates
        Whether it makes arrays. What makes none needs no counts of references, which each slice would move.
    """

    name: str
    module: str
    made_of: tuple[str, ...]
    about: int
    allocates: bool = True


_SHARED = "detectors/calibration", "detectors/compiling.py", "detectors/kernels"
CALIBRATION = Kernel("the calibration", "detectors.kernels.empirical", _SHARED, 5)
_BUDGETS = "detectors/budget.py", "detectors/budget_threshold.py", "detectors/thresholds.py"
LEVEL = Kernel("the level of a budget", "detectors.kernels.budget", _SHARED + _BUDGETS, 5)
JUDGEMENT = Kernel(
    "the judgement",
    "detectors.judgement.kernel.rows",
    ("detectors/compiling.py", "detectors/judgement", "detectors/kernels/ahead.py"),
    20,
    allocates=False,
)
_STEPS = "detectors/compiling.py", "detectors/kernels/ahead.py", "pipeline/steps/kernels", "pipeline/steps/clock"
POLICY = Kernel("the time policy", "pipeline.steps.kernels.policy", _STEPS, 5, allocates=False)
_VOTES = *_STEPS, "detectors/kernels/ordering.py"
VOTES = Kernel("the event time", "pipeline.steps.kernels.votes", _VOTES, 5)
CONCERNS = Kernel("whose event times count", "pipeline.steps.kernels.concerned", _STEPS, 5)
SILENCES = Kernel("who is silent", "pipeline.steps.kernels.silences", _VOTES, 5)
_WINDOWS = *_STEPS, "pipeline/steps/scales.py", "detectors/scaling.py", "detectors/windowing.py"
WINDOWS = Kernel("the windows", "pipeline.steps.kernels.packing", _WINDOWS, 5, allocates=False)
NEWS = Kernel(
    "what is news", "pipeline.steps.kernels.news", (*_SHARED, *_BUDGETS, *_STEPS, "pipeline/steps/judgement.py"), 5
)
SAID = Kernel("what the judgement says", "pipeline.steps.kernels.said", _STEPS, 2, allocates=False)
RANKED = Kernel(
    "the ranking score", "pipeline.steps.kernels.ranked", (*_SHARED, *_STEPS, "pipeline/steps/judgement.py"), 2
)
PLAIN = Kernel("plain records", "pipeline.steps.kernels.plain", (*_STEPS, "producers/records.py"), 5, allocates=False)
PLAIN_ROWS = Kernel(
    "plain rows", "pipeline.steps.kernels.plain_rows", (*_STEPS, "producers/records.py"), 5, allocates=False
)
RECORDS = Kernel(
    "the records", "pipeline.kafka.kernels.records", ("detectors/compiling.py", "pipeline/kafka/kernels"), 2
)
_ROWS = "detectors/compiling.py", "detectors/kernels"
FOREST = Kernel("the isolation forest", "detectors.kernels.forest", _ROWS, 2)
NEAREST = Kernel("the nearest centres", "detectors.kernels.nearest", _ROWS, 2)
NETWORKS = Kernel("the networks", "detectors.kernels.network", (*_SHARED, "detectors/programs.py"), 5, allocates=False)
DESCENT = Kernel("training", "detectors.kernels.descent", (*_SHARED, "detectors/programs.py"), 15, allocates=False)
KERNELS = (
    JUDGEMENT,
    NETWORKS,
    DESCENT,
    CALIBRATION,
    LEVEL,
    POLICY,
    CONCERNS,
    VOTES,
    SILENCES,
    WINDOWS,
    NEWS,
    SAID,
    RANKED,
    RECORDS,
    PLAIN,
    PLAIN_ROWS,
    FOREST,
    NEAREST,
)


def inner(function: Callable[..., Any]) -> Any:
    """A function that compiled ones call."""
    import numba

    njit: Any = numba.njit
    return njit(no_cpython_wrapper=True, **OPTIONS)(function)


@cache
def compiled(kernel: Kernel) -> Callable[..., Any]:
    """The function; its module says what it takes. Threads may ask at once."""
    with _ONE_AT_A_TIME:
        return _compiled(kernel)


def _compiled(kernel: Kernel) -> Callable[..., Any]:
    import numba

    try:
        folder = folder_of(kernel, numba.__version__)
        there = any(folder.rglob("*.nbi"))
        with _writable(folder, there) as at:
            if not there:
                log.warning("compiling %s once, about %d s", kernel.name, kernel.about)
            return _kept_in(at, kernel)
    except numba.core.errors.NumbaError:
        raise
    except (OSError, RuntimeError) as error:
        log.warning(
            "compiling %s, about %d s; it is not kept, so each start does: %s", kernel.name, kernel.about, error
        )
    except Exception as error:  # whatever a damaged file leads to
        log.warning(
            "compiling %s anew, about %d s: what is in %s cannot be used: %s", kernel.name, kernel.about, folder, error
        )
        shutil.rmtree(folder, ignore_errors=True)
    return _made(kernel)


@cache
def ufunc_loops() -> Any:
    """See `kernels.ufuncs.loops`."""
    from detectors.kernels.ufuncs import loops  # Numba takes its time to import

    return loops()


@contextmanager
def _writable(folder: Path, there: bool) -> Iterator[Path]:
    """The folder; where it can only be read (an image), a copy, as Numba takes no other. Raises OSError where it can be neither."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        if not there:
            raise
        with tempfile.TemporaryDirectory() as copy:
            yield Path(shutil.copytree(folder, copy, dirs_exist_ok=True))
        return
    yield folder


def _kept_in(folder: Path, kernel: Kernel) -> Callable[..., Any]:
    import numba

    config: Any = numba.config
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        return _made(kernel, cache=True)
    finally:
        config.CACHE_DIR = before


def _made(kernel: Kernel, **kept: bool) -> Callable[..., Any]:
    import numba

    njit: Any = numba.njit
    module = import_module(kernel.module)
    made: Any = njit(**OPTIONS, _nrt=kernel.allocates, **kept)(module.run)
    if kept and numba.__version__.startswith(_SWIFT):
        _swift(made.targetctx)
    made.compile(module.signature())
    made.disable_compile()
    result: Callable[..., Any] = made
    return result


def _swift(context: Any) -> None:
    """Let kept machine code be loaded next without what only compiling needs: Numba's registries, of 60 modules, are 0.4 s of every start."""
    from numba.core.runtime.nrt import rtsys

    def initialized() -> None:
        del context.refresh  # it is loaded at the first call; where there is nothing, what is compiled then needs them
        rtsys.initialize(context)

    context.refresh = initialized


def folder_of(kernel: Kernel, version: str) -> Path:
    """Where machine code made by this version of Numba lies. Raises RuntimeError where there is no home folder."""
    base = os.environ.get("TIDEWATCH_CACHE")
    if not base:
        base = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidewatch")
    fingerprint = hashlib.sha256(f"{version} {kernel.module}".encode())
    for path in sorted(kernel.made_of):
        for source in sorted((_ROOT / path).rglob("*.py")) or [_ROOT / path]:
            fingerprint.update(source.read_bytes())
    return Path(base) / "compiled" / fingerprint.hexdigest()[:16]


def main() -> None:
    """Compile ahead."""
    began = time.monotonic()
    for kernel in KERNELS:
        compiled(kernel)
    log.warning("all is compiled (%.0f s)", time.monotonic() - began)


if __name__ == "__main__":
    main()
