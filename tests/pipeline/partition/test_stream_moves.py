"""Series that move when partitions are added, and what is held again of series whose history is gone."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import patch

import numpy as np
import pytest
from aiokafka.partitioner import murmur2
from frozen_states import MINUTE, log_of, process, stream_of

from pipeline.alerts.attention import ORDINAL_BASE
from pipeline.alerts.records import Alert, decode_alert
from pipeline.alerts.row import FIRING, PENDING
from pipeline.partition.core import PartitionCore
from pipeline.partition.deciding.carrying import applied
from pipeline.partition.deciding.decisions import InForce
from pipeline.partition.deciding.growth import Growth
from pipeline.partition.stream import create_stream
from pipeline.partition.streams import Streams
from pipeline.steps.batches.observations import Observations

T0 = 1_000_000 * MINUTE
SERIES = ("s0", "s1", "s2", "s3", "s4")


def home(series: str, partitions: int) -> int:
    return (int(murmur2(series.encode())) & 0x7FFFFFFF) % partitions


def grown(kind: str, before: int, after: int) -> tuple[PartitionCore, set[str], list[Alert]]:
    """Partition 0 with all the frozen series, once the topic has grown."""
    core = stream_of(kind).core(0)
    process(core, log_of(kind)[:155], 0)
    held = {name for name in core.state.names if name}
    assert held == set(SERIES)
    return core, held, added(core, before, after)


def added(core: PartitionCore, before: int, after: int) -> list[Alert]:
    growth = Growth(before).hear(after, end=155, offset=155)
    assert growth.next is not None
    return applied(core, InForce(1, growth=growth), growth.next, Streams(core.stream)).alerts


@pytest.mark.parametrize("kind", ["metric", "table"])
def test_series_at_home_elsewhere_are_forgotten_and_their_alerts_end_as_moved(kind: str) -> None:
    open_before = stream_of(kind).core(0)
    process(open_before, log_of(kind)[:155], 0)
    status = {n: open_before.state.arrays["alerts"]["status"][open_before.state.row_of(n)] for n in SERIES}
    reasons = {PENDING: "withdrawn", FIRING: "moved"}
    core, held, alerts = grown(kind, 1, 2)  # of one partition, every series is at home
    gone = {name for name in SERIES if home(name, 2) != 0}
    assert gone
    assert gone < held
    assert {name for name in core.state.names if name} == held - gone
    ended = {(n, "resolved", reasons[status[n]]) for n in gone if status[n]}
    assert {(a.series, a.status, a.reason) for a in alerts} == ended
    assert ended
    assert added(core, 1, 2) == []
    assert {name for name in core.state.names if name} == held - gone


def test_where_series_do_not_lie_by_the_hash_of_their_name_nothing_is_done() -> None:
    strangers = sum(home(name, 3) != 0 for name in SERIES)
    assert strangers > 1
    core, held, alerts = grown("metric", 3, 6)
    assert alerts == []
    assert {name for name in core.state.names if name} == held


def test_series_that_had_come_before_the_worker_heard_of_it_hide_none_of_those_that_moved() -> None:
    names = [f"n{k}" for k in range(400)]
    here = [n for n in names if home(n, 4) == 1]
    came = [n for n in names if home(n, 4) != 1 and home(n, 6) == 1]
    assert len(here) < 0.9 * (len(here) + len(came))
    frozen = stream_of("metric")
    of = create_stream(frozen.settings.model_copy(update={"max_series": 1000}), frozen.model)
    for strangers, moved in ((0, {n for n in here if home(n, 6) != 1}), (100, set[str]())):
        core = of.core(1)
        others = [n for n in names if home(n, 4) != 1 and home(n, 6) != 1][:strangers]
        core.state.rows_of([*here, *came, *others])
        added(core, 4, 6)
        assert {*here, *came, *others} - {n for n in core.state.names if n} == moved


def test_rows_of_a_series_that_came_again_never_have_the_id_of_an_alert_before() -> None:
    core, _, _ = grown("table", 1, 2)
    assert core.state.scalars[ORDINAL_BASE] > 0
    before = {a.id for a in _alerts("table", 0, 155)}
    after = [decode_alert(body) for body in process(core, log_of("table")[:155], 155)]
    begun = {a.id for a in after if a.sequence == 0}
    assert begun
    assert not begun & before


def _alerts(kind: str, first: int, last: int) -> list[Alert]:
    return [decode_alert(body) for body in process(stream_of(kind).core(0), log_of(kind)[first:last], first)]


def test_a_series_that_was_not_heard_of_since_is_held_for_its_alert_even_beyond_the_limit() -> None:
    told = {a.series: a for a in _alerts("metric", 0, 155)}
    open_ = {series for series, a in told.items() if a.status != "resolved"}
    assert open_
    core = stream_of("metric").core(0)
    core.state.max_series = 1
    core.state.rows_of(["another"])
    assert core.take_up(told) == (sorted(open_), [])
    assert {name for name in core.state.names if name} == {"another", *open_}
    rows = [core.state.row_of(name) for name in sorted(open_)]
    assert np.all(core.state.arrays["admission"]["training"][rows] == 4)  # as any new one of this model


def test_a_series_that_comes_back_goes_on_until_it_was_forgotten_and_is_a_new_one_then() -> None:
    frozen = stream_of("metric")
    policy = frozen.settings.alerts.model_copy(update={"absent_after": timedelta(minutes=10)})
    update = {"idle_after": timedelta(minutes=300), "alerts": policy}
    of = create_stream(frozen.settings.model_copy(update=update), frozen.model)
    for away, ordinal in ((200, 350), (500, 150)):
        core, told = of.core(0), list[Alert]()
        rows = [
            (n, T0 + m * MINUTE) for m in range(350 + away) for n in "abcx" if n != "x" or not 200 <= m < 200 + away
        ]
        chance = np.random.default_rng(0).normal(10, 1, len(rows))
        with patch("pipeline.partition.core.EVICT_EVERY", 64):
            for _, settled in core.process(
                Observations(
                    np.arange(len(rows)), [r[0] for r in rows], np.array([r[1] for r in rows]), chance[:, None]
                )
            ):
                told += settled.alerts
        ends = [a.change for a in told if a.series == "x" and a.kind == "no data" and a.status == "resolved"]
        assert ends == ["normal" if away < 300 else "gone"]
        row = core.state.row_of("x")
        assert int(core.state.arrays["windows"]["ordinal"][row]) == ordinal
