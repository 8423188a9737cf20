"""What a look at messages makes one suspect."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.operations.previewing.preview import Preview
from pipeline.operations.previewing.suspicions import changing, restless, rising, told
from pipeline.steps.batches.records import RecordBatch


def points(values: list[float]) -> list[tuple[int, float]]:
    return [(1000 * i, v) for i, v in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "rises"),
    [
        ([float(5 * i) for i in range(40)], True),
        ([float(5 * ((i + 1) // 2)) for i in range(40)], True),  # every second step
        ([*range(100, 160), *range(3, 40)], True),  # a restart
        ([float(5 * (i // 4)) for i in range(40)], False),  # too seldom: a limit that was raised now and then
        ([7.0] * 40, False),
        ([float(i + 2 * (i % 2 == 0)) for i in range(40)], False),  # it falls
        ([float(i) for i in range(20)], False),  # too few
        ([float(i - 50) for i in range(40)], False),  # nothing counts from below zero
        ([float(i % 5) for i in range(200)], False),  # a saw, whose every tooth would be a restart
    ],
)
def test_what_only_ever_rises_may_be_a_counter(values: list[float], rises: bool) -> None:
    assert rising({'m{host="a"}': points(values)}) == ["m"] * rises


def test_pieces_are_put_in_order_and_one_series_that_falls_speaks_for_its_metric() -> None:
    up = points([float(i) for i in range(40)])
    assert rising({'m{host="a"}': up[::2] + up[1::2]}) == ["m"]
    assert rising({'m{host="a"}': up, 'm{host="b"}': points([5.0, 4.0])}) == []


def test_labels_that_change_with_each_message_and_values_written_as_texts() -> None:
    ids = {f'm{{host="a",msg="{i}-x"}}': 1 for i in range(40)}
    assert changing(ids) == (["msg"], [])
    texts = {f'm{{host="a",temp="{20 + i / 10}"}}': 2 for i in range(20)}
    assert changing(texts) == ([], ["temp"])
    assert changing({f'm{{temp="{20 + i},5"}}': 2 for i in range(20)}) == ([], ["temp"])
    bounds = {f'm{{le="{i / 10}"}}': 2 for i in range(20)}
    assert changing(bounds) == ([], [])
    hosts = {f'm{{host="h{i}"}}': 3 for i in range(40)}
    assert changing(hosts) == ([], [])


def test_of_what_somebody_says_that_it_is_a_gauge_nothing_is_suspected() -> None:
    values: list[bytes | None] = [
        b'{"series":"disk","timestamp":%d,"value":%d}' % (1_700_000_000_000 + 1000 * i, i) for i in range(60)
    ]
    n = len(values)
    batch = RecordBatch("t", 0, np.arange(n), n, [b"disk"] * n, values, np.zeros(n, np.int64))
    suspected, said = Preview("native"), Preview("native", gauge=["dis*"])
    for look in (suspected, said):
        look.take(batch)
    assert [text.partition(":")[0] for text in suspected.suspicions] == ["values that only ever rise"]
    assert said.suspicions == []


def test_what_is_as_it_should_be_is_not_told() -> None:
    assert told({"m": points([1.0, 3.0, 2.0] * 20)}, {"m": 60}) == []


def test_labels_that_are_others_after_a_restart_are_known_by_their_names() -> None:
    series = [
        'a{service.instance.id="1",telemetry.sdk.version="1.45",telemetry.sdk.name="otel",host="h"}', 'b{pod="p",podium="x"}',
    ]  # fmt: skip
    assert restless(series) == ["pod", "service.instance.id", "telemetry.sdk.version"]
    (text,) = told({}, dict.fromkeys(series, 1))
    assert text.startswith(
        "labels that are others after a restart or an upgrade: pod, service.instance.id, telemetry.sdk.version; "
    )
