"""What a topic holds as series to train on, in its stream's format: of counters the rates."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from pipeline.errors import BrokerError
from pipeline.kafka import history
from pipeline.settings import KafkaSettings
from pipeline.steps.batches.records import RecordBatch
from producers.records import Observation, encode

T = 1_714_564_800_000


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch):
    def reading(values: list[bytes], cut: int = 100, partitions: int = 1, **options: object) -> history.History:
        """Values as they were sent without keys: each to the next of the partitions, which are read one after the other."""

        def batches(*_: object) -> Iterator[RecordBatch]:
            for partition in range(partitions):
                lie = values[partition::partitions]
                for start in range(0, len(lie), cut):
                    some = lie[start : start + cut]
                    n = len(some)
                    yield RecordBatch("t", partition, np.arange(n), n, [None] * n, some, np.zeros(n, np.int64))

        monkeypatch.setattr(history, "connect_admin", lambda _: None)
        monkeypatch.setattr(history, "read_to_the_end", batches)
        return history.read_history(KafkaSettings(), "t", **{"format": "auto"} | options)  # type: ignore[arg-type]

    return reading


@pytest.fixture
def read(held):
    def reading(values: list[bytes], cut: int, partitions: int = 1, **options: object):
        series = held(values, cut, partitions, **options).series
        return {name: (times.tolist(), values[:, 0].tolist()) for name, (times, values) in series.items()}

    return reading


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("cut", [1, 2, 100])
def test_counters_are_trained_on_by_their_rates_however_they_are_read(read, cut: int, partitions: int) -> None:
    totals = [60.0, 120.0, 240.0, 30.0, 90.0]  # the fourth after a restart
    lines = [b"m_total,host=a value=%f %d" % (v, T + 60_000 * i) for i, v in enumerate(totals)]
    gauges = [b"load,host=a value=%f %d" % (v, T + 60_000 * i) for i, v in enumerate(totals)]
    found = read(
        [line for pair in zip(lines, gauges, strict=True) for line in pair],
        cut,
        partitions,
        format="influx",
        counter=["m_*"],
    )
    minutes = [T + 60_000 * i for i in range(5)]
    assert found == {
        'load{host="a"}': (minutes, totals),
        'm_total{host="a"}': ([minutes[1], minutes[2], minutes[4]], [1.0, 2.0, 1.0]),
    }


def test_native_series_are_as_they_are(read) -> None:
    values = [encode(Observation("a_total", T + i, float(i))) for i in range(3)]
    assert read(values, 2) == {"a_total": ([T, T + 1, T + 2], [0.0, 1.0, 2.0])}


def native(*values: object) -> bytes:
    return json.dumps({"timestamp": T, "series": "a", "values": values}).encode()


def test_what_is_no_observation_is_told(read) -> None:
    good = encode(Observation("a", T, 1.0))
    with pytest.raises(
        BrokerError, match=r"none of its 3 records is an observation: 3 undecodable \(t\[0\] at 0: no format"
    ):
        read([b"x"] * 3, 1)
    with pytest.raises(BrokerError, match="t holds no record; send some first"):
        read([], 1)
    assert read([b"x", good, b"x"], 1) == {"a": ([T], [1.0])}  # a batch of nothing else ended it with a traceback


def test_how_many_values_there_are_is_told_by_the_records(held) -> None:
    found = held([native(1.0, 2.0), b"{", native(3.0, 4.0)])
    assert (found.kind, found.channels, found.format) == ("metric", 2, "native")
    assert found.series["a"][1].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    [note] = found.notes
    assert "1 of 3 records is no observation and left out, as a stream would: 1 undecodable (t[0] at 1" in note
    rows = held([native(1.0, "tcp"), native(3.0, "udp")])
    assert (rows.kind, rows.channels) == ("table", 2)
    assert rows.series["a"][1].tolist() == [[1.0, "tcp"], [3.0, "udp"]]
    assert held([native(1.0, 2.0)], kind="table").kind == "table"
    read: list[int] = []
    held([native(1.0, 2.0)] * 5, cut=2, on_read=read.append)
    assert read == [2, 4, 5]
    with pytest.raises(BrokerError, match=r"2 values; 3 are expected.*--channels"):
        held([native(1.0, 2.0)], channels=3)
