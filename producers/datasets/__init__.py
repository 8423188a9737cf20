"""Recorded data sets: series in columns, and, apart from them, their labels.

    >>> from producers.datasets import open_dataset
    >>> taxi = open_dataset("taxi", synthetic_ok=True)
    >>> taxi.kind, taxi.channels
    ('metric', ('value',))
    >>> [series] = taxi.series().values()          # dict: name -> Series; globs choose: series("realAWS*")
    >>> series.timestamps.dtype, series.values.shape, series.interval_ms   # (n,) ms since the epoch, (n, C) float64
    (dtype('int64'), (10320, 1), 1800000)
    >>> [labels] = taxi.labels().values()          # dict: name -> Labels; never part of an observation
    >>> len(labels.windows), labels.anomalous.shape                        # Window(first, last, name), (n,) bool
    (5, (10320,))

A table (`kdd`, `creditcard`, `ctg`) has columns by `Dataset.channels`, some of them categories (`Dataset.categorical`):
`Series.columns` holds them as arrays (float64, or object of str), `Series.rows(start, stop)` gives rows as in an observation,
`Labels.categories` the kind of each row and `Labels.windows` the episodes. `Series.positions` is the row in the source.

`open_dataset(name)` takes `nab`, `taxi`, `kdd` (http connections of the 10 % file), `kdd-corrected` (http connections of the test
file), `kdd-all`, `kdd-all-corrected` (every service, one series each), `creditcard`, `ctg`, `mnist` (images; the digit 0 is the anomaly,
in `mnist-1` to `mnist-9` another), and `synthetic-nab`, `synthetic-taxi`, `synthetic-kdd`, `synthetic-creditcard`; `odds-NAME` is NAME.mat of the
folder `odds` among the data. Where data comes from is `catalog`; a user's own file is `open_file`; MNIST's images as arrays are `open_digits`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from producers.datasets import catalog, creditcard, ctg, kdd, mnist, nab, synthetic, taxi
from producers.datasets.base import Corrections, Dataset, Labels, Layout, Series, Window
from producers.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "NAMES",
    "Corrections",
    "Dataset",
    "Labels",
    "Layout",
    "Series",
    "Window",
    "as_dataset",
    "open_dataset",
    "open_digits",
    "open_file",
    "open_frame",
]

# name -> (source in the catalog, reader of its folder)
_READERS: dict[str, tuple[str, Callable[[Path], Dataset]]] = {
    "nab": ("nab", nab.load),
    "taxi": ("taxi", taxi.load),
    "kdd": ("kdd", kdd.load),
    "kdd-corrected": ("kdd-corrected", lambda folder: kdd.load(folder, part="corrected")),
    "kdd-all": ("kdd", lambda folder: kdd.load(folder, subset="all")),
    "kdd-all-corrected": ("kdd-corrected", lambda folder: kdd.load(folder, part="corrected", subset="all")),
    "creditcard": ("creditcard", creditcard.load),
    "ctg": ("ctg", ctg.load),
    "mnist": ("mnist", partial(mnist.load_without, digit=0)),
    **{f"mnist-{digit}": ("mnist", partial(mnist.load_without, digit=digit)) for digit in range(1, 10)},
}
_ODDS = "odds-"
_SYNTHETIC = "synthetic-"
NAMES = (*_READERS, *(f"{_SYNTHETIC}{n}" for n in synthetic.TWINS))
"""Every name that `open_dataset` takes."""


def open_dataset(name: str, *, synthetic_ok: bool = False) -> Dataset:
    """The data set of this name; with `synthetic_ok`, its synthetic twin where the real one cannot be had.

    Whoever allows the twin looks at `Dataset.synthetic` and says so: it is never passed off as the real one.

    Raises
    ------
    DataError
        No such data set; the real one cannot be had (the message says where it was looked for); a file is damaged.
    """
    if name.startswith(_SYNTHETIC):
        return synthetic.twin(name.removeprefix(_SYNTHETIC))
    if name.startswith(_ODDS):
        return _open_odds(name)
    if name not in _READERS:
        meant = "".join(f"; did you mean {near}?" for near in get_close_matches(name, NAMES, 1))
        there = f"; there are {', '.join(NAMES)}, {_ODDS}NAME"
        msg = f"there is no data set {name!r}{meant or there}"
        raise DataError(msg)
    source, read = _READERS[name]
    located = catalog.locate(source)
    if located.folder is not None:
        return read(located.folder)
    if name not in synthetic.TWINS:
        raise DataError(located.message)
    if synthetic_ok:
        return synthetic.twin(name)
    msg = f"{located.message}, or take its made-up twin {_SYNTHETIC}{name}"
    raise DataError(msg)


def _open_odds(name: str) -> Dataset:
    """A file of ODDS that was put among the data: its home has no addresses that last and no checksums, so none is downloaded."""
    file = f"{name.removeprefix(_ODDS)}.mat"
    places = [root / "odds" / file for root in catalog.data_folders()]
    if "/" in file or not (found := [p for p in places if p.is_file()]):
        msg = (
            f"{name}: {' and '.join(map(str, places))} are not there; take {file} from https://odds.cs.stonybrook.edu and put it there, "
            "or name your own file: FILE.mat"
        )
        raise DataError(msg)
    data = open_file(found[0], Layout(table=True))
    return replace(data, name=name)


def open_file(path: Path | str, layout: Layout | None = None) -> Dataset:
    """A user's file, folder or glob; `-` is the standard input; see `producers.datasets.files`. Raises DataError."""
    if not str(path) or "\0" in str(path):  # Path("") would be the folder that we stand in
        msg = f"{str(path)!r} is no name of a file; give a file, a folder, a glob, or - for the standard input"
        raise DataError(msg)
    from producers.datasets import files  # brings pandas, a second that the recorded sets do not need

    return files.load(Path(path), layout)


def open_frame(frame: pd.DataFrame | Any, layout: Layout | None = None, *, name: str = "frame") -> Dataset:
    """A pandas DataFrame or Series (or one of polars, Arrow), its columns found as those of a file; see `producers.datasets.files.from_frame`. Raises DataError."""
    from producers.datasets import files

    return files.from_frame(frame, layout, name=name)


def as_dataset(data: Dataset | pd.DataFrame) -> Dataset:
    """A data set as it is, or what `open_frame` makes of a frame. Raises DataError."""
    return data if isinstance(data, Dataset) else open_frame(data)


def open_digits() -> tuple[mnist.Digits, mnist.Digits]:
    """MNIST's 60,000 training and 10,000 test digits. Raises DataError where they cannot be had."""
    located = catalog.locate("mnist")
    if located.folder is None:
        raise DataError(located.message)
    return mnist.load(located.folder)
