"""`kernel.rows.run` as machine code: compiled once on a machine, kept in the cache folder, loaded from there in the time that importing Numba takes.

    <cache>/compiled/<fingerprint>/     cache: TIDEWATCH_CACHE, else $XDG_CACHE_HOME/tidewatch, else ~/.cache/tidewatch

The fingerprint is that of all sources of the judgement and of Numba's version, so a changed file has another folder; within it Numba tells CPUs apart
and writes files whole, so processes may begin at once. Of an image whose file system is read-only it is read all the same. Without a folder, or with a
damaged one, the work goes on, and is told why it begins later.
`python -m detectors.judgement.compiling` does it ahead.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
ABOUT = 20
"""Seconds that compiling takes, roughly."""
_SOURCES = Path(__file__).parent


@cache
def compiled() -> Callable[..., None]:
    """The function; see `kernel.rows.run` for what it takes."""
    import numba

    try:
        folder = folder_of(numba.__version__)
        there = any(folder.rglob("*.nbi"))
        with _writable(folder, there) as at:
            if not there:
                log.warning("compiling the judgement once, about %d s", ABOUT)
            return _kept_in(at)
    except numba.core.errors.NumbaError:
        raise
    except (OSError, RuntimeError) as error:
        log.warning("compiling the judgement, about %d s; it is not kept, so each start does: %s", ABOUT, error)
    except Exception as error:  # whatever a damaged file leads to
        log.warning("compiling the judgement anew, about %d s: what is in %s cannot be used: %s", ABOUT, folder, error)
        shutil.rmtree(folder, ignore_errors=True)
    return _made()


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


def _kept_in(folder: Path) -> Callable[..., None]:
    import numba

    config: Any = numba.config
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        return _made(cache=True)
    finally:
        config.CACHE_DIR = before


def _made(**kept: bool) -> Callable[..., None]:
    import numba

    from detectors.judgement.kernel import layout, rows

    njit: Any = numba.njit
    made: Callable[..., None] = njit(rows.SIGNATURE, **layout.OPTIONS, **kept)(rows.run)
    return made


def folder_of(version: str) -> Path:
    """Where machine code made by this version of Numba lies. Raises RuntimeError where there is no home folder."""
    base = os.environ.get("TIDEWATCH_CACHE")
    if not base:
        base = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidewatch")
    fingerprint = hashlib.sha256(version.encode())
    for source in sorted(_SOURCES.rglob("*.py")):
        fingerprint.update(source.read_bytes())
    return Path(base) / "compiled" / fingerprint.hexdigest()[:16]


def main() -> None:
    """Compile ahead."""
    began = time.monotonic()
    compiled()
    log.warning("the judgement is compiled (%.0f s)", time.monotonic() - began)


if __name__ == "__main__":
    main()
