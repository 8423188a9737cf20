"""Compact batches: what is written is read, and any other bytes are `Damaged`, soon."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from producers.batches import (
    MAGIC,
    MAX_OBSERVATIONS,
    Batch,
    Damaged,
    anew,
    count,
    decode,
    encode,
    is_batch,
    split,
)

T0 = 1_404_172_800_000
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    n, channels = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    names = draw(st.lists(NAMES, min_size=1, max_size=n, unique=True))
    sources = draw(st.lists(NAMES, max_size=3, unique=True))

    def column(of: st.SearchStrategy[int], dtype: type = np.int64) -> np.ndarray:
        return np.array(draw(st.lists(of, min_size=n, max_size=n)), dtype)

    place = st.integers(0, (1 << 62) - 1)
    return Batch(
        names,
        column(st.integers(0, len(names) - 1), np.intp),
        column(INT64),
        np.array(draw(st.lists(st.floats(), min_size=n * channels, max_size=n * channels))).reshape(n, channels),
        kinds=draw(st.sampled_from([None, column(st.integers(0, 2), np.uint8)])),
        begun=draw(st.sampled_from([None, column(INT64)])),
        sources=sources,
        positions=(column(st.integers(0, len(sources) - 1)), column(place), column(place)) if sources else None,
    )


def same(one: Batch, other: Batch) -> bool:
    def of(batch: Batch) -> list[object]:
        n = len(batch)
        columns = [
            batch.series, batch.timestamps, batch.kinds if batch.kinds is not None else np.zeros(n, np.uint8),
            batch.begun if batch.begun is not None else np.zeros(n, np.int64), *(batch.positions or ()),
        ]  # fmt: skip
        return [list(batch.names), list(batch.sources), batch.values.tobytes(), *(c.tolist() for c in columns)]

    return of(one) == of(other)


@given(batches())
def test_what_is_written_is_read(batch: Batch) -> None:
    value = encode(batch)
    assert is_batch(value)
    assert count(value) == len(batch)
    assert same(decode(value), batch)


def test_the_bytes_are_those_of_the_specification() -> None:
    """A change of any of them is a new version: what is on topics must be read for years."""
    batch = Batch(["a", "bé"], np.array([0, 1, 0]), np.array([T0, T0 + 1, T0 + 300]), np.array([[1.0], [2.0], [-0.5]]),
                  sources=["raw/x/3"], positions=(np.zeros(3, np.int64), np.array([7, 7, 8]), np.array([0, 1, 0])))  # fmt: skip
    expected = b"".join(
        [
            struct.pack("<4sBxHIIIII", b"\xffTWB", 1, 1, 3, 2, 5, 1, 7),
            "a\0bé".encode(),
            b"raw/x/3",
            struct.pack("<Bq3B", 1, 0, 0, 1, 0),  # series
            struct.pack("<Bq3H", 2, T0, 0, 1, 300),  # time
            struct.pack("<Bq", 0, 0),  # kind
            struct.pack("<Bq", 0, 0),  # begun
            struct.pack("<Bq", 0, 0),  # source
            struct.pack("<Bq3B", 1, 7, 0, 0, 1),  # offset
            struct.pack("<Bq3B", 1, 0, 0, 1, 0),  # number
            struct.pack("<3d", 1.0, 2.0, -0.5),
        ]
    )
    assert encode(batch) == expected
    assert same(decode(expected), batch)


WHOLE = encode(
    Batch(["a", "b"], np.array([0, 1, 0]), T0 + np.arange(3), np.ones((3, 1)), np.array([0, 1, 2], np.uint8),
          np.array([T0, 0, 0]), ["s", "t"], (np.array([0, 1, 0]), np.array([3, 3, 4]), np.zeros(3, np.int64)))
)  # fmt: skip


@given(st.binary(max_size=200))
@example(b"")
@example(MAGIC)
def test_any_bytes_are_a_batch_or_damaged(value: bytes) -> None:
    for bytes_ in (value, MAGIC + value, MAGIC + b"\1" + value):
        with suppress(Damaged):
            decode(bytes_)
        assert 0 <= count(bytes_) <= len(bytes_)


@given(st.data())
@settings(max_examples=60)
def test_a_batch_with_a_byte_changed_or_cut_is_one_or_damaged(data: st.DataObject) -> None:
    value = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    for bytes_ in (bytes(value), bytes(value[: data.draw(st.integers(0, len(value)))]), bytes(value) + b"\0"):
        try:
            batch = decode(bytes_)
        except Damaged:
            continue
        n = len(batch)
        assert batch.values.shape[0] == n == len(batch.timestamps) <= len(bytes_) // 8
        assert 0 <= batch.series.min() <= batch.series.max() < len(batch.names)
        assert batch.kinds is None or batch.kinds.max() < 3
        assert batch.positions is None or batch.positions[0].max() < len(batch.sources)
    for stop in range(len(WHOLE)):  # no shorter one is whole
        with pytest.raises(Damaged):
            decode(WHOLE[:stop])


def test_what_a_small_message_says_of_its_size_is_not_believed() -> None:
    """Columns may be constant, values may not: the last ones bound the message, before anything is made."""
    head = struct.pack("<4sBxHIIIII", MAGIC, 1, 1, MAX_OBSERVATIONS, 1, 1, 0, 0) + b"a"
    constant = struct.pack("<Bq", 0, 0) * 4
    with pytest.raises(Damaged, match="too early"):
        decode(head + constant)
    many = struct.pack("<4sBxHIIIII", MAGIC, 1, 1, MAX_OBSERVATIONS + 1, 1, 1, 0, 0) + b"a" + constant
    with pytest.raises(Damaged, match="too many"):
        decode(many + bytes(8 * (MAX_OBSERVATIONS + 1)))
    assert count(head + constant) < 10


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 513, "é" * 257])
def test_a_name_that_cannot_be_read_is_not_written(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be named"):
        encode(Batch([name], np.zeros(1, np.intp), np.full(1, T0), np.ones((1, 1))))


@given(batches(), st.integers(1, 200))
def test_the_pieces_of_a_batch_are_the_batch(batch: Batch, most: int) -> None:
    pieces = [decode(encode(piece)) for piece in split(batch, most)]
    together = [
        (p.names[s], t, v.tobytes()) for p in pieces for s, t, v in zip(p.series, p.timestamps, p.values, strict=True)
    ]
    assert together == [
        (batch.names[s], t, v.tobytes()) for s, t, v in zip(batch.series, batch.timestamps, batch.values, strict=True)
    ]
    if batch.positions is not None:
        positions = [
            (p.sources[s], o, n)
            for p in pieces
            if p.positions is not None
            for s, o, n in zip(*p.positions, strict=True)
        ]
        assert positions == [(batch.sources[s], o, n) for s, o, n in zip(*batch.positions, strict=True)]
    assert all(len(set(p.series.tolist())) == len(p.names) for p in pieces)


@given(batches())
def test_what_is_sent_again_on_purpose_says_no_position(batch: Batch) -> None:
    again = decode(anew(encode(batch)))
    assert (again.sources, again.positions) == ((), None)
    assert same(again, replace(batch, sources=(), positions=None))


@pytest.mark.parametrize("value", [b"", b"{}", WHOLE[:-1]])
def test_what_is_no_batch_is_sent_again_as_it_is(value: bytes) -> None:
    assert anew(value) == value
