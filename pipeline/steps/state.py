"""All that a partition knows: one row per series in each component's structured array, and a few scalars.

Windows, calibrators, thresholds and alerts are *components*: each names a numpy dtype for what it keeps of one series. So
the state is a handful of arrays, a page is 128 rows of each as bytes, and only rows that were written to travel at a
checkpoint: whole pages where many of a page were, else the rows beside them (`pipeline.steps.stored.journal`).

    in_force    what was decided, up to a serial (`pipeline.partition.deciding.decisions`); read before the rows
    scalars     JSON object of integers
    names:<n>   JSON list: the series' names of page n, null for a free row
    page:<n>    8 bytes that tell the layout, then 128 rows of each component
    rows:<slot> rows that are newer than their pages, and `journal`, which of these count (`pipeline.steps.stored.pieces`)
    sources:<n> how far was read of whoever may write something twice (`pipeline.steps.compact.positions`)

What these mean is state format `FORMAT`. Fields of an older format are brought to it when they are restored (`migrated`); a newer
one is refused (`pipeline.partition.stores.base.check_identity`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import islice
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ForeignState
from pipeline.steps.batches.named import Named
from pipeline.steps.compact.positions import Positions
from pipeline.steps.stored.journal import Journal, Plan

FORMAT = 5
"""State format that is written.

1: the first. 2: an alert may carry its id (alerts.id), and ordinals may have a base (scalar `ordinal_base`). 3: silence counts
from the partition's event time at which a series was last heard of (alerts.heard_at). 4: every metric of one channel may be a counter
(windows.total, .total_at; before, only OTLP's had them), and says whether it is (windows.kind); a threshold of a false-alarm budget keeps
the usual step of its series (threshold.interval); an alert remembers what it was, and how to open it again (alerts.quiet_until and what
stands beside it); series vote for the partition's event time, and are waited for (component `clock`); observations may wait for older ones
(component `waiting`); what people said of a series' alerts moves its level (component `feedback`, alerts.strength); what is in force is a field
(`in_force`) instead of a part of the identity; there may be positions of sources (`sources:<n>`). 5: rows may lie beside their pages
(`rows:<slot>`, `journal`), which whoever knows pages only would take for all there is.
"""
PAGE = 128
NUMBERINGS = 4
"""Lists of names by whose numbers rows are found at once: of those that read for a partition side by side."""
_NAMES = "names:"
_PAGE = "page:"
_SCALARS = "scalars"
_IN_FORCE = "in_force"
_SIZE = attrgetter("itemsize")
_MEND = "start the version and model that wrote it, or run `tidewatch state reset` to start anew"


class PartitionState:
    """State of one partition: rows for series, found by name; snapshot and restore.

    Parameters
    ----------
    components
        Name -> structured dtype of one series' row. All-zero bytes are a valid empty row of each.
    max_series
        Limit of series; `rows_of` answers -1 beyond it.
    """

    def __init__(self, components: Mapping[str, np.dtype[Any]], *, max_series: int) -> None:
        self.components = dict(components)
        self.max_series = max_series
        self.names: list[str | None] = []
        self.arrays: dict[str, NDArray[Any]] = {n: np.zeros(PAGE, d) for n, d in self.components.items()}
        self.scalars: dict[str, int] = {}
        self.in_force = b""
        self.positions = Positions()
        self.bounds: dict[str, int] = {}
        """What was worked out of the rows and is not stored; whoever keeps something here can do without."""
        self.lists: dict[str, list[NDArray[np.intp]]] = {}
        """The same of rows."""
        self._rows: dict[str, int] = {}
        self._free: list[int] = []
        self._numbered: list[tuple[list[str], NDArray[np.int32]]] = []
        self._dirty: NDArray[np.bool_] = np.zeros(PAGE, np.bool_)
        self._dirty_names: set[int] = set()
        self._journal = Journal()
        self._kept = 0
        """Pages that the store holds."""
        self._plan: Plan | None = None
        self._layout = _layout(self.components)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def bytes_per_series(self) -> int:
        """Bytes that one series costs, all components together."""
        return sum(d.itemsize for d in self.components.values())

    @property
    def _pages(self) -> int:
        return -(-len(self.names) // PAGE)

    def rows_of(self, series: Sequence[str], *, limited: bool = True) -> tuple[NDArray[np.intp], list[int]]:
        """Rows of the named series, and which of those rows are new; -1 for a new one beyond the limit, where it is `limited`."""
        if isinstance(series, Named):
            return self._rows_of_numbers(series, limited=limited)
        known = self._rows
        try:  # nearly always all are known; one dict look-up each
            return np.fromiter(map(known.__getitem__, series), np.intp, len(series)), []
        except KeyError:
            pass
        unknown = (name for name in dict.fromkeys(series) if name not in known)
        room = max(self.max_series - len(known), 0) if limited else None
        new = self._add(list(islice(unknown, room)))
        return np.fromiter((known.get(s, -1) for s in series), np.intp, len(series)), new

    def _rows_of_numbers(self, series: Named, *, limited: bool) -> tuple[NDArray[np.intp], list[int]]:
        """The same of names that come as numbers: what was looked up stands at a name's number, -1 where it is not known yet."""
        found = next((rows for texts, rows in self._numbered if texts is series.texts), None)
        if found is None or len(found) < len(series.texts):
            grown = np.full(max(2 * len(series.texts), PAGE), -1, np.int32)
            if found is not None:
                grown[: len(found)] = found
            found = grown
            others = [of for of in self._numbered if of[0] is not series.texts]
            self._numbered[:] = [(series.texts, found), *others[: NUMBERINGS - 1]]
        rows = found[series.numbers].astype(np.intp)
        if not len(rows) or rows.min() >= 0:
            return rows, []
        rows, new = self.rows_of(list(series), limited=limited)
        found[series.numbers] = rows
        return rows, new

    def row_of(self, name: str) -> int | None:
        """Row of one series, None where it is not known."""
        return self._rows.get(name)

    def rows(self) -> NDArray[np.intp]:
        """Rows in use, rising."""
        return np.array(sorted(self._rows.values()), np.intp)

    def touch(self, rows: NDArray[np.intp]) -> None:
        """Mark these rows as written to."""
        self._dirty[rows] = True

    def drop(self, rows: Iterable[int]) -> None:
        """Forget series (idle ones, inside a checkpoint); their rows are zeroed and used again."""
        for row in rows:
            name = self.names[row]
            if name is None:
                continue
            del self._rows[name]
            self.names[row] = None
            for array in self.arrays.values():
                array[row] = np.zeros((), array.dtype)
            self._free.append(row)
            self._dirty[row] = True
            self._dirty_names.add(row // PAGE)
        self._numbered.clear()
        self._free.sort(reverse=True)  # the lowest free row is the next one used: a function of the log

    def snapshot(self, *, everything: bool = False) -> dict[str, bytes]:
        """Fields that a checkpoint writes: what changed since the last `clean`.

        With `everything` all of them, as plain pages: in place of whatever is stored, or to look at. The same for the same state.
        """
        return dict(self.collected(everything=everything))

    def collected(self, *, everything: bool = False) -> Iterator[tuple[str, bytes]]:
        """The same one after the other, for whoever gives way to others in between. Nothing may change until all are there; a later one of a name counts."""
        pages = named = list(range(self._pages))
        if not everything:
            self._plan = self._journal.plan(self._dirty, PAGE, self._kept)
            pages, named = self._plan.pages.tolist(), sorted(self._dirty_names)
        yield _SCALARS, msgspec.json.encode(self.scalars, order="sorted")
        if self.in_force:
            yield _IN_FORCE, self.in_force
        yield from self.positions.fields(everything=everything).items()
        for page in pages:
            yield f"{_PAGE}{page}", self._pack(page)
        for page in named:
            yield f"{_NAMES}{page}", msgspec.json.encode(self.names[page * PAGE : (page + 1) * PAGE])
        if not everything and self._plan is not None:
            yield from self._journal.fields(self._plan, list(self.arrays.values()), PAGE, self._layout)

    def clean(self, *, everything: bool = False) -> None:
        """Call when the last snapshot has been stored; `everything`: in place of what was."""
        if everything:
            self._journal.drop()
        elif self._plan is not None:
            self._journal.stored(self._plan)
        self._plan, self._kept = None, self._pages
        self._dirty[:] = False
        self._dirty_names.clear()
        self.positions.clean()

    def restore(self, fields: Mapping[str, bytes], *, written: int = FORMAT) -> None:
        """Take over a stored snapshot of format `written`.

        Raises
        ------
        ForeignState
            Its layout is another, or it is incomplete or damaged; what is held stays as it is.
        """
        fields = migrated(fields, written, self.components)
        try:
            scalars = msgspec.json.decode(fields[_SCALARS], type=dict[str, int])
            names = _names(fields)
            pages = range(-(-len(names) // PAGE))
            arrays = self._unpack([fields[f"{_PAGE}{page}"] for page in pages])
            journal = Journal.restore(fields, arrays, PAGE, self._layout)
            positions = Positions.stored(fields)
        except (KeyError, msgspec.MsgspecError) as error:
            msg = f"the stored state is incomplete or damaged ({error}): run `tidewatch state reset` to start anew"
            raise ForeignState(msg) from error
        self.scalars, self.names, self.arrays, self.bounds, self.lists = scalars, names, arrays, {}, {}
        self.in_force = fields.get(_IN_FORCE, b"")
        self.positions = positions
        self._rows = {n: r for r, n in enumerate(names) if n is not None}
        self._numbered.clear()
        self._free = [r for r in reversed(range(len(names))) if names[r] is None]
        self._dirty = np.zeros(max(len(pages), 1) * PAGE, np.bool_)
        self._journal, self._plan = journal, None
        self.clean()

    def carried(self, components: Mapping[str, np.dtype[Any]], *, max_series: int) -> PartitionState:
        """The same series under components of which some are laid out otherwise: these start empty. This one is given up."""
        other = PartitionState(components, max_series=max_series)
        rows = len(next(iter(self.arrays.values())))
        other.names, other.scalars, other.in_force = self.names, self.scalars, self.in_force
        other.positions = self.positions
        other.arrays = {
            name: self.arrays[name] if self.components.get(name) == dtype else np.zeros(rows, dtype)
            for name, dtype in other.components.items()
        }
        other._rows, other._free = self._rows, self._free
        other._dirty, other._dirty_names = self._dirty, self._dirty_names
        other._journal, other._kept = self._journal, self._kept
        if other._layout != self._layout:  # what is stored is no page or row of this one
            other._kept = 0
            other._dirty[: len(self.names)] = True
        return other

    def under(self, prefix: str) -> PartitionState:
        """The same series, where the components whose names begin with `prefix` stand in the place of those without it.

        Rows, names and arrays are the ones of this state; it is for reading and writing rows until a series is added.
        """
        other = copy(self)
        own = {n.removeprefix(prefix): n for n in self.components if n.startswith(prefix)}
        other.components = self.components | {n: self.components[whole] for n, whole in own.items()}
        other.arrays = self.arrays | {n: self.arrays[whole] for n, whole in own.items()}
        return other

    def _add(self, names: list[str]) -> list[int]:
        """Rows for new series: free ones first."""
        free = [self._free.pop() for _ in range(min(len(self._free), len(names)))]
        for row, name in zip(free, names, strict=False):
            self.names[row] = name
        start = len(self.names)
        self.names += names[len(free) :]
        self._grow(len(self.names))
        rows = [*free, *range(start, len(self.names))]
        self._rows.update(zip(names, rows, strict=True))
        self._dirty[rows] = True
        self._dirty_names.update(row // PAGE for row in rows)
        return rows

    def _grow(self, rows: int) -> None:
        """Have room for so many; doubling, whole pages."""
        capacity = len(self._dirty)
        while capacity < rows:
            capacity *= 2
        if capacity > len(self._dirty):
            for n, array in self.arrays.items():
                self.arrays[n] = _grown(array, capacity)
            self._dirty = _grown(self._dirty, capacity)

    def _pack(self, page: int) -> bytes:
        rows = slice(page * PAGE, (page + 1) * PAGE)
        return b"".join([self._layout, *(a[rows].view(np.uint8).data for a in self.arrays.values())])

    def _unpack(self, pages: Sequence[bytes]) -> dict[str, NDArray[Any]]:
        """The rows of all pages, each copied once to where it stays; of none, an empty page. Raises ForeignState where one has another layout."""
        if not pages:
            return {n: np.zeros(PAGE, d) for n, d in self.components.items()}
        arrays = {n: np.empty(len(pages) * PAGE, d) for n, d in self.components.items()}
        into = [(array.view(np.uint8).data, array.dtype.itemsize * PAGE) for array in arrays.values()]
        for page, packed in enumerate(pages):
            _check_layout(packed, self.components, self._layout)
            rows, at = memoryview(packed), len(self._layout)
            for held, size in into:
                held[page * size : (page + 1) * size] = rows[at : at + size]
                at += size
        return arrays


def _grown(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """With more rows, of zeros; as bytes, which numpy copies faster than fields. Not `np.zeros`, whose memory comes in small pages."""
    grown = np.empty(rows, array.dtype)
    octets = grown.view(np.uint8)
    octets[: array.nbytes], octets[array.nbytes :] = array.view(np.uint8), 0
    return grown


def migrated(fields: Mapping[str, bytes], written: int, components: Mapping[str, np.dtype[Any]]) -> Mapping[str, bytes]:
    """Fields of format `written` as those of `FORMAT`, one format after the other.

    Parameters
    ----------
    components
        Of this version.

    Raises
    ------
    ForeignState
        The format is newer, unknown, or the fields are not of it.
    """
    for number in range(written, FORMAT):
        if number not in MIGRATIONS:
            msg = f"the stored state is of format {number}, which this version cannot read: {_MEND}"
            raise ForeignState(msg)
        fields = MIGRATIONS[number](fields, components)
    return fields


def _from_1(fields: Mapping[str, bytes], components: Mapping[str, np.dtype[Any]]) -> dict[str, bytes]:
    """Alerts had no `id`: theirs follows from their onset, which zeros say."""
    old = _stored(fields, components, 1)
    return _relaid(fields, old, {**old, "alerts": _alerts_of(components, 2)})


def _from_2(fields: Mapping[str, bytes], components: Mapping[str, np.dtype[Any]]) -> dict[str, bytes]:
    """Silence counted from the series' own event time."""
    old = _stored(fields, components, 2)
    return _relaid(
        fields, old, {**old, "alerts": _alerts_of(components, 3)}, {"alerts.heard_at": lambda alerts: alerts["heard"]}
    )


def _from_3(fields: Mapping[str, bytes], components: Mapping[str, np.dtype[Any]]) -> dict[str, bytes]:
    """Only OTLP's series had room for a running total; which of them had one, its time says. Alerts did not remember what they were."""
    old = _stored(fields, components, 3)
    counted = "total_at" in (old["windows"].names or ())
    known_kind = {"windows.kind": lambda windows: windows["total_at"] != 0} if counted else {}
    added = {"clock": _votes, "waiting": _waiting, "feedback": lambda _, dtype: np.zeros(PAGE, dtype)}
    return _relaid(fields, old, components, known_kind, added)


def _votes(stored: Mapping[str, NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """What series would have voted: their newest time, where there is one before it that vouches for it."""
    windows, clocks = stored["windows"], np.zeros(PAGE, dtype)
    known = windows["ordinal"] > 1
    clocks["vote"] = np.where(known, windows["last"], 0)
    clocks["since"] = clocks["vote"]  # nobody is absent who has not reported for a day from here on
    clocks["said"] = known
    clocks["votes"] = known
    clocks["heard_at"] = windows["last"]
    if "decided" in (windows.dtype.names or ()):
        clocks["step"] = clocks["usual"] = np.where(windows["decided"] != 0, windows["interval"], 0)
    return clocks


def _waiting(stored: Mapping[str, NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Nothing waits yet."""
    slots = np.zeros(PAGE, dtype)
    slots["newest"] = stored["windows"]["last"]
    return slots


_LEVEL_OF_3 = np.dtype([("unused", "u1")])
"""Before there were budgets, where no level was stated there was one for all."""


_ALERTS_OF_3 = (
    "onset", "ordinal", "anomalous_at", "heard", "heard_at", "offset", "normal_since", "next_update", "suppressed_until", "peak",
    "sequence", "normal", "status", "severity", "spare", "id",
)  # fmt: skip
_CAME_WITH = {"id": 2, "heard_at": 3}


def _alerts_of(components: Mapping[str, np.dtype[Any]], number: int) -> np.dtype[Any]:
    """What was kept of an alert in format 1, 2 or 3."""
    alerts = components["alerts"]
    columns = [n for n in _ALERTS_OF_3 if _CAME_WITH.get(n, 1) <= number]
    return np.dtype([(n, "V6" if n == "spare" else alerts[n]) for n in columns])


def _stored(
    fields: Mapping[str, bytes], components: Mapping[str, np.dtype[Any]], number: int
) -> dict[str, np.dtype[Any]]:
    """The components as a format before 4 had them; which of two layouts, the pages say."""
    budget = "interval" in (components["threshold"].names or ())
    threshold = _LEVEL_OF_3 if budget else components["threshold"]
    components = {n: dtype for n, dtype in components.items() if n not in ("clock", "waiting", "feedback")}
    older = {**components, "alerts": _alerts_of(components, number), "threshold": threshold}
    kinds = (("kind",), ("kind", "total", "total_at"))
    otlp, other = ({**older, "windows": _without(components["windows"], "other", *columns)} for columns in kinds)
    pages = (packed for field, packed in fields.items() if field.startswith(_PAGE))
    return otlp if next(pages, b"").startswith(_layout(otlp)) else other


def _without(component: np.dtype[Any], *columns: str) -> np.dtype[Any]:
    """The component as it was before it had these columns."""
    return np.dtype([(n, component[n]) for n in component.names or () if n not in columns])


MIGRATIONS: dict[int, Callable[[Mapping[str, bytes], Mapping[str, np.dtype[Any]]], Mapping[str, bytes]]] = {
    1: _from_1,
    2: _from_2,
    3: _from_3,
    4: lambda fields, _: dict(fields),  # all its rows lie in pages
}
"""Format -> how its fields become those of the next, given the components of this version."""


def _relaid(
    fields: Mapping[str, bytes],
    old: Mapping[str, np.dtype[Any]],
    new: Mapping[str, np.dtype[Any]],
    begun_as: Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]] = MappingProxyType({}),
    added: Mapping[str, Callable[[Mapping[str, NDArray[Any]], np.dtype[Any]], NDArray[Any]]] = MappingProxyType({}),
) -> dict[str, bytes]:
    """Pages of components `old` as pages of `new`.

    New columns are what `begun_as` (component.column) makes of the component's old rows, else zero; new components what is `added` given the rows of all.
    """
    out, laid, to = dict(fields), _layout(old), _layout(new)
    for field in fields:
        if not field.startswith(_PAGE):
            continue
        packed = [to]
        stored = _unpacked(fields[field], old, laid)
        for name, dtype in new.items():
            if name not in stored:
                packed.append(added[name](stored, dtype).tobytes())
                continue
            rows, changed = stored[name], np.zeros(PAGE, dtype)
            if old[name] == dtype:
                changed = rows
            else:
                for column in set(old[name].names or ()) & set(changed.dtype.names or ()) - {"spare"}:
                    changed[column] = rows[column]
                for column in changed.dtype.names or ():
                    if (begin := begun_as.get(f"{name}.{column}")) is not None:
                        changed[column] = begin(rows)
            packed.append(changed.tobytes())
        out[field] = b"".join(packed)
    return out


def _layout(components: Mapping[str, np.dtype[Any]]) -> bytes:
    described = repr([(n, d.descr) for n, d in components.items()])
    return hashlib.sha256(described.encode()).digest()[:8]


def _unpacked(packed: bytes, components: Mapping[str, np.dtype[Any]], layout: bytes) -> dict[str, NDArray[Any]]:
    """The rows of each component in a page. Raises ForeignState where it has another layout."""
    _check_layout(packed, components, layout)
    rows, at = {}, len(layout)
    for name, dtype in components.items():
        rows[name] = np.frombuffer(packed, dtype, PAGE, at)
        at += dtype.itemsize * PAGE
    return rows


def _check_layout(packed: bytes, components: Mapping[str, np.dtype[Any]], layout: bytes) -> None:
    """Raise ForeignState where a page has another layout."""
    if not packed.startswith(layout) or len(packed) != len(layout) + sum(map(_SIZE, components.values())) * PAGE:
        msg = f"the stored state has another layout than this version and model: {_MEND}"
        raise ForeignState(msg)


def series_of(fields: Mapping[str, bytes]) -> list[str]:
    """Names of the series in a stored snapshot, for people who look at one without its model."""
    return [name for name in _names(fields) if name is not None]


def _names(fields: Mapping[str, bytes]) -> list[str | None]:
    """The names of all pages in order; only the last page may be short."""
    names: list[str | None] = []
    pages = {f.partition(":")[2] for f in fields if f.startswith((_NAMES, _PAGE))}
    for page in range(len(pages)):  # a page without names is a hole as well
        if len(names) != page * PAGE:
            raise KeyError(f"{_NAMES}{page - 1}")
        names += msgspec.json.decode(fields[f"{_NAMES}{page}"], type=list[str | None])
    return names
