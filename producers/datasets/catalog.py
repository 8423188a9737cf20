"""Where data comes from: the folder TIDEWATCH_DATA, else the cache folder, else its public source; never unverified.

Both folders have one layout, `nab/data/realKnownCause/nyc_taxi.csv` say, and every file is checked against the SHA-256 in
`producers.datasets.checksums` before it is read. TIDEWATCH_OFFLINE=1 forbids downloads.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import structlog

from producers.datasets.checksums import SHA256SUMS
from producers.errors import DataError

log = structlog.get_logger(__name__)

TIMEOUT_S = 10.0
"""For the connection and for each read; nothing is tried twice."""

_NAB = "https://raw.githubusercontent.com/numenta/NAB/ea702d75cc2258d9d7dd35ca8e5e2539d71f3140"
_KDD = "http://kdd.ics.uci.edu/databases/kddcup99"
_KDD_COPY = (
    "https://raw.githubusercontent.com/standingbychen/KDDCUP99_PySpark/896daf88692e180f08fb5ea8d0c8a170f23ae24a/Data"
)
_MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist"

# The training images here were packed anew; unpacked they are the original file to the byte, whose sum is this one.
_ALSO_RIGHT = {
    "mnist/train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
}


@dataclass(frozen=True)
class Located:
    """Where a data set's folder is, or why there is none (`folder` is None then)."""

    folder: Path | None
    message: str


@dataclass(frozen=True)
class Source:
    """Files of a data set, and where each can be downloaded (addresses in the order in which they are tried)."""

    folder: str
    files: tuple[str, ...]
    addresses: Callable[[str], tuple[str, ...]]


@cache
def checksums() -> Mapping[str, str]:
    """SHA-256 by path in the data folder."""
    return {path: digest for digest, path in (line.split("  ", 1) for line in SHA256SUMS.splitlines())}


def _files(folder: str, *only: str) -> tuple[str, ...]:
    found = tuple(p.removeprefix(f"{folder}/") for p in checksums() if p.startswith(f"{folder}/"))
    return tuple(f for f in found if not only or f in only)


def _nab_address(file: str) -> tuple[str, ...]:
    return (f"{_NAB}/config/profiles.json" if file == "profiles.json" else f"{_NAB}/{file}",)


def _kdd_address(file: str) -> tuple[str, ...]:
    return f"{_KDD}/{file}", f"{_KDD_COPY}/{file}"


def _nowhere(file: str) -> tuple[str, ...]:
    return ()


@cache
def sources() -> Mapping[str, Source]:
    """Every source by name."""
    return {
        "nab": Source("nab", _files("nab"), _nab_address),
        "taxi": Source(
            "nab",
            _files("nab", "data/realKnownCause/nyc_taxi.csv", "labels/combined_windows.json"),
            _nab_address,
        ),
        "kdd": Source("kdd", _files("kdd", "kddcup.data_10_percent.gz"), _kdd_address),
        "kdd-corrected": Source("kdd", _files("kdd", "corrected.gz"), _kdd_address),
        "creditcard": Source("creditcard", _files("creditcard"), _nowhere),
        "ctg": Source("ctg", _files("ctg"), _nowhere),
        "mnist": Source("mnist", _files("mnist"), lambda file: (f"{_MNIST}/{file}",)),
    }


def locate(name: str, environment: Mapping[str, str] = os.environ) -> Located:
    """Find, or fetch, the verified folder of a source.

    Raises
    ------
    DataError
        A file is there but damaged.
    """
    source = sources()[name]
    tried: list[str] = []
    for root, mend in _roots(environment):
        folder = root / source.folder
        missing = [f for f in source.files if not (folder / f).is_file()]
        if not missing:
            _verify(folder, source, mend)
            return Located(folder, f"{name}: {folder}")
        tried.append(f"{folder} lacks {missing[0]}")
    cache_folder = cache_root(environment) / source.folder
    if environment.get("TIDEWATCH_OFFLINE"):
        tried.append("TIDEWATCH_OFFLINE forbids downloading")
    elif not source.addresses(source.files[0]):
        tried.append("there is no public address to download it from")
    else:
        failure = _download(name, source, cache_folder)
        if failure is None:
            return Located(cache_folder, f"{name}: {cache_folder}")
        tried.append(failure)
    return Located(None, f"{name}: no real data ({'; '.join(tried)}); set TIDEWATCH_DATA to a folder that holds it")


def cache_root(environment: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CACHE_HOME/tidewatch/data`, `~/.cache/tidewatch/data` where that is not set."""
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tidewatch" / "data"


def data_folders(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Folders that data is looked for in, in order."""
    return [root for root, _ in _roots(environment)]


def _roots(environment: Mapping[str, str]) -> list[tuple[Path, str]]:
    roots = [(cache_root(environment), "delete it and run again, it will be downloaded")]
    if given := environment.get("TIDEWATCH_DATA"):
        roots.insert(0, (Path(given), "put the original file there, or unset TIDEWATCH_DATA to download it"))
    return roots


def _verify(folder: Path, source: Source, mend: str) -> None:
    for file in source.files:
        key = f"{source.folder}/{file}"
        found = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        if found not in _right(key):
            msg = f"{folder / file} is damaged: its SHA-256 begins {found[:12]}, not {checksums()[key][:12]}; {mend}"
            raise DataError(msg)


def _right(key: str) -> set[str]:
    return {checksums()[key], _ALSO_RIGHT.get(key, checksums()[key])}


def _download(name: str, source: Source, folder: Path) -> str | None:
    """Fetch the files that are missing; what went wrong, or None."""
    missing = [f for f in source.files if not (folder / f).is_file()]
    log.info("downloading", data=name, files=len(missing), to=str(folder))
    first, *others = missing  # an unreachable host is noticed once, not by every file
    if failure := _fetch(source, first, folder):
        return failure
    with ThreadPoolExecutor(max_workers=8) as pool:
        failures = [f for f in pool.map(lambda file: _fetch(source, file, folder), others) if f]
    return failures[0] if failures else None


def _fetch(source: Source, file: str, folder: Path) -> str | None:
    failure = ""
    for address in source.addresses(file):
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:  # noqa: S310 (http and https only, above)
                content = answer.read()
        except OSError as error:
            failure = f"{address}: {getattr(error, 'reason', error)}"
            continue
        if hashlib.sha256(content).hexdigest() not in _right(f"{source.folder}/{file}"):
            failure = f"{address}: the file there has another SHA-256 than expected"
            continue
        _write(folder / file, content)
        return None
    return failure


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all: a download that is cut off must not look like a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)
