"""The protocol holds in every order of steps, and no longer without any of the things that make it hold."""

from __future__ import annotations

import os
import re

import pytest
from model import explore

from pipeline.partition.checkpoints import Checkpoints
from pipeline.partition.loop import PartitionLoop
from pipeline.partition.outbox import Outbox
from pipeline.partition.stores.patience import Patience
from pipeline.partition.stores.redis import RedisStore


@pytest.fixture(autouse=True)
def _spin() -> None:
    if lacking := explore.missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"the model cannot be explored in CI: {lacking}", pytrace=False)
        pytest.skip(lacking)


@pytest.mark.slow
def test_no_order_of_steps_loses_an_effect_makes_it_twice_or_loses_an_alert() -> None:
    found = explore.explore(explore.QUICK)
    assert found.broken == ""
    assert found.complete
    assert found.states > 500_000  # were a process missing, there would be a handful


@pytest.mark.slow
def test_once_faults_stop_all_is_done_in_the_end() -> None:
    found = explore.explore(explore.QUICK_PROGRESS, progress=True)
    assert found.broken == ""
    assert found.complete


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(name, marks=[pytest.mark.slow, pytest.mark.nightly] if "DECISION" in faults else [])
        for name, faults in explore.VARIANTS.items()
    ],
)
def test_a_protocol_that_is_wrong_in_one_way_has_a_counterexample(variant: str) -> None:
    found = explore.counterexample(variant)
    assert "assertion violated" in found.broken
    assert "Task" in found.trace


def test_the_same_faults_break_nothing_where_nothing_is_wrong() -> None:
    found = explore.explore(explore.VARIANTS["OFFSET_APART"])
    assert (found.broken, found.complete) == ("", True)


def test_what_is_written_is_of_this_model() -> None:
    written = explore.RESULTS.read_text()
    assert f"`{explore.fingerprint()}`" in written, "the model has changed: run `make model`"
    assert "**" not in written


def test_the_page_names_functions_that_there_are() -> None:
    """Its table of correspondence rots otherwise."""
    page = (explore.MODEL.parent / "README.md").read_text()
    for owner in (PartitionLoop, Checkpoints, Outbox, Patience, RedisStore):
        names = set(re.findall(rf"`{owner.__name__}\.(\w+)`", page))
        assert names
        assert [n for n in names if not hasattr(owner, n)] == []
