"""Compact batches among other records: what a decoder makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from detectors.features import FeatureEncoder
from pipeline.steps import decoding
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.records import RecordBatch
from pipeline.steps.decoding import Decoder
from producers.batches import Batch, encode
from producers.formats.base import COUNTER, Reason
from producers.records import Observation
from producers.records import encode as json

T0 = 1_404_172_800_000


def batch(values: Sequence[bytes | None], start: int = 0) -> RecordBatch:
    n = len(values)
    return RecordBatch(
        "t", 0, np.arange(start, start + 2 * n, 2), start + 2 * n, [None] * n, values, np.zeros(n, np.int64)
    )


def compact(series: str, values: Sequence[float], at: int = T0, **more: object) -> bytes:
    names = sorted(set(series))
    which = np.array([names.index(s) for s in series])
    return encode(
        Batch(names, which, at + np.arange(len(series)), np.array(values, float).reshape(len(series), -1), **more)
    )  # type: ignore[arg-type]


def rows(o: Observations) -> list[tuple[int, str, int, list[float]]]:
    return list(zip(o.offsets.tolist(), o.series, (o.timestamps - T0).tolist(), o.values.tolist(), strict=True))


@pytest.mark.parametrize("format_", ["native", "telegraf", "auto"])
def test_batches_are_read_whatever_the_format_is(format_: str) -> None:
    o, rejected = Decoder("metric", 1, format=format_).decode(
        batch([compact("aba", [1, 2, 3]), compact("c", [4])], start=8)
    )
    assert rejected == []
    assert rows(o) == [(8, "a", 0, [1.0]), (8, "b", 1, [2.0]), (8, "a", 2, [3.0]), (10, "c", 0, [4.0])]


def test_batches_and_json_keep_the_order_of_the_log() -> None:
    one = json(Observation("j", T0, 9.0))
    source = {"sources": ["s"], "positions": (np.zeros(2, np.int64), np.array([5, 6]), np.zeros(2, np.int64))}
    values = [one, compact("ab", [1, 2], **source), b"not json", one, compact("ab", [3, 4], **source), None]
    o, rejected = Decoder("metric", 1).decode(batch(values))
    assert [(at, s) for at, s, _, _ in rows(o)] == [(0, "j"), (2, "a"), (2, "b"), (6, "j"), (8, "a"), (8, "b")]
    assert [(r.index, r.reason) for r in rejected] == [(2, Reason.UNDECODABLE)]
    assert [(s.start, s.stop) for s in o.stretches] == [(1, 3), (4, 6)]


def test_of_several_channels_too_and_kinds_go_along() -> None:
    o, _ = Decoder("metric", 2).decode(batch([compact("ab", [1, 2, 3, 4])]))
    assert o.values.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    counters = compact("ab", [1, 2], kinds=np.array([0, COUNTER], np.uint8), begun=np.array([0, T0]))
    o, _ = Decoder("metric", 1).decode(batch([compact("c", [3]), counters, json(Observation("j", T0, 9.0))]))
    assert o.kinds is not None
    assert o.begun is not None
    assert (o.kinds.tolist(), o.begun.tolist()) == ([0, 0, COUNTER, 0], [0, 0, T0, 0])


def test_the_bad_part_of_a_batch_is_one_dead_letter_and_the_rest_counts() -> None:
    source = {"sources": ["s"], "positions": (np.zeros(4, np.int64), np.full(4, 7), np.arange(4))}
    bad = compact("abcd", [1, float("nan"), float("inf"), 4], **source)
    o, rejected = Decoder("metric", 1).decode(batch([compact("z", [0]), bad, compact("z", [0], at=5)]))
    assert [(at, s) for at, s, _, _ in rows(o)] == [(0, "z"), (2, "a"), (2, "d")]
    assert [(r.index, r.reason, r.detail) for r in rejected] == [
        (1, Reason.NOT_FINITE, "a value of 'b' is not finite (and 1 more points)"),
        (2, Reason.ABSURD_TIMESTAMP, "5 ms of 'z' lies outside 1971 to 2200"),
    ]
    (stretch,) = o.stretches
    assert (stretch.start, stretch.stop, stretch.number.tolist()) == (1, 3, [0, 3])


def test_what_is_no_batch_or_not_for_this_model_is_a_dead_letter_with_the_reason() -> None:
    good = compact("a", [1])
    features = FeatureEncoder(["x"], categorical=[]).fit([[1.0], [2.0]])
    cases = [
        (Decoder("metric", 1), good[:-1], Reason.UNDECODABLE, "7 bytes of values"),
        (Decoder("metric", 1), good[:4] + b"\2" + good[5:], Reason.UNDECODABLE, "version 2"),
        (Decoder("metric", 1), compact("a", [1, 2]), Reason.WRONG_CHANNELS, "2 values; 1 are expected"),
        (Decoder("table", 1, features), good, Reason.WRONG_TYPE, "JSON"),
    ]
    for decoder, value, reason, detail in cases:
        o, rejected = decoder.decode(batch([value]))
        assert len(o) == 0
        assert [(r.index, r.reason) for r in rejected] == [(0, reason)]
        assert detail in rejected[0].detail


def test_what_is_decoded_at_once_is_bounded_by_what_batches_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_BATCH_POINTS", 10)
    values = [json(Observation("j", T0, 9.0)), *(compact("abcdef", range(6)) for _ in range(4)), None]
    parts = list(Decoder("metric", 1).portions(batch(values)))
    assert [len(Decoder("metric", 1).decode(part)[0]) for part in parts] == [7, 6, 6, 6]
    assert parts[-1].next_offset == batch(values).next_offset
