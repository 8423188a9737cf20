"""Rolling upgrade: a state that an older version wrote goes on in this one, one of a newer version is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frozen_states import KINDS, frozen, log_of, process, stream_of

from detectors.budget import parse
from detectors.budget_threshold import BudgetThreshold
from pipeline.alerts.records import Alert, decode_alert
from pipeline.alerts.row import Life
from pipeline.errors import ForeignState
from pipeline.partition.core import PartitionCore
from pipeline.partition.loop import PartitionLoop
from pipeline.partition.stores.base import Identity, check_identity
from pipeline.partition.stores.memory import MemoryStore
from pipeline.steps.state import FORMAT, MIGRATIONS, PartitionState, _alerts_of, migrated

DATA = Path(__file__).parents[2] / "data"
FROZEN = [(kind, number) for number in range(1, FORMAT) for kind in (KINDS if number >= 3 else KINDS[:2])]


@pytest.mark.parametrize(("kind", "number"), FROZEN)
def test_a_state_of_an_older_format_goes_on_as_if_this_version_had_written_it(kind: str, number: int) -> None:
    identity, offset, log, fields = frozen(DATA / f"state_format_{number}.json", kind)
    assert identity["format"] == number
    assert log == log_of(kind)
    loaded, whole = stream_of(kind).core(0), stream_of(kind).core(0)
    loaded.state.restore(fields, written=number)
    assert np.count_nonzero(loaded.state.arrays["alerts"]["status"]) > 0
    process(whole, log[:offset], 0)
    assert plain(loaded.state) == plain(whole.state)
    assert loaded.watermark >= whole.watermark
    if number >= 4:
        assert loaded.state.snapshot(everything=True) == whole.state.snapshot(everything=True)
        assert process(loaded, log[offset:], offset) == process(whole, log[offset:], offset)
        return
    older = lives(whole)
    assert ids(loaded) == ids(whole, {name: replace(life, begun_as=0) for name, life in older.items()}) != ids(whole)
    known, begun = set(ids(loaded).values()), set(ids(whole).values())
    after, wanted = ([decode_alert(a) for a in process(core, log[offset:], offset)] for core in (loaded, whole))
    assert stories(after) == stories(wanted)  # nothing fires anew, and nothing is left out
    # What was open goes on under the id that it was published with, which knew no kind; what begins now is as it would have been.
    assert {a.id for a in after} & known
    assert [a for a in after if a.id not in known] == [a for a in wanted if a.id not in begun]


def lives(core: PartitionCore) -> dict[str, Life]:
    """Series -> its alert, of those that have one."""
    alerts = core.state.arrays["alerts"]
    return {str(core.state.names[r]): Life.of(alerts, r) for r in np.flatnonzero(alerts["status"]).tolist()}


def ids(core: PartitionCore, of: dict[str, Life] | None = None) -> dict[str, str]:
    """Ids of open alerts."""
    return {name: core.life.records.id_of(name, life) for name, life in (lives(core) if of is None else of).items()}


NEW = {"sequence", "suppressed_until"}
"""Columns of format 3 that an open alert has otherwise today: a record more where it grew worse, and no suppression that is over."""


def plain(state: PartitionState) -> dict[str, bytes]:
    """All rows, but for what alerts remember since format 4, and when whose silence began: the newest time of any series was event time."""
    alerts = state.arrays["alerts"].copy()
    for name in NEW:
        alerts[name][alerts["status"] > 0] = 0
    older = [n for n in _alerts_of(state.components, 3).names or () if n not in ("spare", "heard_at")]
    rows = {n: a.tobytes() for n, a in state.arrays.items() if n not in ("alerts", "clock")}
    return rows | {"votes": state.arrays["clock"]["vote"].tobytes()} | {n: alerts[n].tobytes() for n in older}


def stories(alerts: list[Alert]) -> list[tuple[Any, ...]]:
    """What happens, but for what no older version told."""
    return [
        (a.series, a.status, a.reason, a.severity, a.as_of, a.starts_at, a.ends_at)
        for a in alerts
        if a.change != "worse"
    ]


@pytest.mark.parametrize(("kind", "number"), FROZEN)
async def test_the_first_checkpoint_of_the_new_version_leaves_nothing_of_the_old_format(kind: str, number: int) -> None:
    written, offset, _, fields = frozen(DATA / f"state_format_{number}.json", kind)
    stream, store = stream_of(kind), MemoryStore()
    identity = Identity.model_validate(written)
    await store.save(await store.claim(stream.name, 0), offset, identity, fields, write_id="old version")

    async def owner() -> bool:
        return True

    new = identity.model_copy(update={"format": FORMAT})
    loop = PartitionLoop(stream, 0, store=store, publisher=None, still_owner=owner, identity=new)  # type: ignore[arg-type]
    assert await loop.assigned() == offset
    loop.position += 1  # as after a record that says nothing
    await loop.checkpoint()
    stored = await store.load(await store.claim(stream.name, 0))
    assert stored is not None
    assert stored.identity.format == FORMAT
    again = stream.core(0)
    again.state.restore(stored.fields)
    assert again.state.snapshot(everything=True) == loop.core.state.snapshot(everything=True)


def test_a_state_of_before_there_were_budgets_goes_on_under_one() -> None:
    _, offset, log, fields = frozen(DATA / "state_format_3.json", "metric")
    stream = replace(stream_of("metric"), threshold=BudgetThreshold(parse("1 per series per month")))
    core = stream.core(0)
    core.state.restore(fields, written=3)
    assert not core.state.arrays["threshold"]["seen"].any()
    process(core, log[offset:], offset)
    assert core.state.arrays["threshold"]["seen"].max() > 0


def test_every_older_format_has_a_way_to_the_next() -> None:
    assert sorted(MIGRATIONS) == list(range(1, FORMAT))
    with pytest.raises(ForeignState, match="format 0, which this version cannot read"):
        migrated({}, 0, {})


def test_a_newer_format_is_refused_by_name_and_an_older_one_is_not() -> None:
    own = Identity(cluster_id="c", topic_id="t", stream="s", numerics="n", format=FORMAT)
    check_identity(own.model_copy(update={"format": 1}), own)
    newer = own.model_copy(update={"format": FORMAT + 1})
    with pytest.raises(
        ForeignState, match=rf"is of format {FORMAT + 1}, this version reads up to {FORMAT}: start the newer"
    ):
        check_identity(newer, own)


@pytest.mark.parametrize(("kind", "number"), FROZEN)
def test_pages_of_another_model_are_no_pages_of_an_older_format(kind: str, number: int) -> None:
    _, _, _, fields = frozen(DATA / f"state_format_{number}.json", kind)
    other = "metric" if kind == "table" else "table"
    with pytest.raises(ForeignState, match="another layout"):
        stream_of(other).core(0).state.restore(fields, written=number)
