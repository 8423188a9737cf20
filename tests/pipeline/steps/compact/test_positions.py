"""What a partition remembers of sources: nothing counts twice, however often it is written and however the log is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.steps.batches.observations import Stretch
from pipeline.steps.compact import positions as module
from pipeline.steps.compact.positions import Positions


def stretch(start: int, *rows: tuple[str, int, int]) -> Stretch:
    names = tuple(dict.fromkeys(source for source, _, _ in rows))
    columns = [np.array(c, np.int64) for c in zip(*((names.index(s), o, n) for s, o, n in rows), strict=True)]
    return Stretch(start, start + len(rows), names, *columns)


def unseen(positions: Positions, message: int, *rows: tuple[str, int, int]) -> list[bool]:
    new = positions.unseen([stretch(0, *rows)], np.full(len(rows), message))
    return [True] * len(rows) if new is None else new.tolist()


def test_what_is_not_behind_the_newest_was_seen() -> None:
    p = Positions()
    assert unseen(p, 0, ("a", 7, 0), ("b", 3, 5), ("a", 7, 1)) == [True] * 3
    assert unseen(p, 1, ("a", 7, 0), ("a", 7, 1), ("a", 7, 2), ("a", 9, 0)) == [False, False, True, True]
    assert unseen(p, 2, ("b", 3, 5), ("b", 3, 6), ("a", 9, 0)) == [False, True, False]
    assert (p.newest("a"), p.newest("b"), p.newest("c")) == ((9, 0), (3, 6), (-1, -1))


def test_messages_of_one_poll_see_each_other() -> None:
    p = Positions()
    new = p.unseen(
        [stretch(1, ("a", 1, 0), ("a", 2, 0)), stretch(3, ("a", 2, 0), ("a", 3, 0))], np.array([4, 5, 5, 6, 6])
    )
    assert new is not None
    assert new.tolist() == [True, True, True, False, True]


Row = tuple[str, int, int]


@given(st.data())
def test_each_observation_counts_once_whoever_wrote_it_and_however_often(data: st.DataObject) -> None:
    """Writers that write the same, each from a place of its own on, in rising position: a zombie, its successor, a restart."""
    log = {s: [(s, o, n) for o in range(4) for n in range(o % 3 + 1)] for s in "ab"}
    written: list[list[Row]] = []
    ahead = dict.fromkeys(log, 0)  # how far any writer has come: nobody begins behind it
    for _ in range(data.draw(st.integers(1, 6))):
        of = data.draw(st.sampled_from("ab"))
        start = data.draw(st.integers(0, ahead[of]))
        stop = data.draw(st.integers(start, len(log[of])))
        ahead[of] = max(ahead[of], stop)
        if start < stop:
            written.append(log[of][start:stop])
    p, counted = Positions(), []
    for i, rows in enumerate(written):
        counted += [row for row, new in zip(rows, unseen(p, i, *rows), strict=True) if new]
    assert sorted(counted) == sorted(row for s in log for row in log[s][: ahead[s]])
    again = Positions.stored(p.fields(everything=True))
    assert [again.newest(s) for s in log] == [p.newest(s) for s in log]


def test_the_table_is_bounded_and_forgets_whom_it_has_not_heard_of_for_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SOURCES", 3)
    p = Positions()
    for i, source in enumerate("abcad"):
        unseen(p, i, (source, i, 0))
    assert len(p) == 3
    assert [p.newest(s) for s in "abcd"] == [(3, 0), (-1, -1), (2, 0), (4, 0)]


def test_only_pages_that_changed_are_written_and_they_are_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    p = Positions()
    unseen(p, 0, *((s, 1, 0) for s in "abcde"))
    stored = p.fields(everything=False)
    assert sorted(stored) == ["sources:0", "sources:1", "sources:2"]
    p.clean()
    unseen(p, 1, ("d", 1, 0))
    assert p.fields(everything=False) == {}
    unseen(p, 2, ("d", 2, 0))
    stored |= (changed := p.fields(everything=False))
    assert list(changed) == ["sources:1"]
    assert stored == p.fields(everything=True)
    again = Positions.stored(stored)
    assert again.fields(everything=True) == stored
    assert again.newest("d") == (2, 0)
    del stored["sources:0"]
    with pytest.raises(KeyError):
        Positions.stored(stored)
