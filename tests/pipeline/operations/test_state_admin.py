"""What a seek does to each partition, and where it is refused."""

from __future__ import annotations

import pytest

from pipeline.errors import BrokerError, SettingsError, TidewatchError
from pipeline.kafka.offsets import Bounds, Group, require_nobody
from pipeline.operations.state_admin import configured, plan
from pipeline.settings import Settings

#            0         100             500          900
#            expired   first           stored       end
BOUNDS = {0: Bounds(100, 900), 1: Bounds(0, 50)}
STORED = {0: 500, 1: None}
AT = {0: 500, 1: 0}


def effects(targets: dict[int, int], *, fresh: bool = False) -> list[tuple[int, int, str]]:
    return [(m.partition, m.to, m.effect) for m in plan(STORED, AT, BOUNDS, targets, fresh=fresh)]


def test_forward_keeps_the_state_and_an_empty_store_begins_with_an_empty_one() -> None:
    empty = "empty state: what the model does not know is in probation"
    assert effects({1: 50, 0: 600}) == [
        (0, 600, "100 records skipped, state kept, windows start anew"),
        (1, 50, f"50 records skipped, {empty}"),
    ]
    assert effects({0: 600}, fresh=True) == [(0, 600, f"100 records skipped, {empty}")]


def test_back_is_only_possible_with_an_empty_state() -> None:
    with pytest.raises(TidewatchError, match=r"partition 0 is at 500, .* use --fresh .* under another name"):
        plan(STORED, AT, BOUNDS, {0: 499}, fresh=False)
    assert effects({0: 100}, fresh=True)[0][2].startswith("400 records scored again, empty state")


def test_who_stands_there_already_stays() -> None:
    assert effects({0: 500}) == []
    assert effects({0: 500}, fresh=True)[0][2].startswith("empty state")


@pytest.mark.parametrize("to", [99, 901])
def test_what_the_log_does_not_hold_is_refused(to: int) -> None:
    with pytest.raises(TidewatchError, match="partition 0 holds offsets 100 to 900"):
        plan(STORED, AT, BOUNDS, {0: to}, fresh=True)


def test_a_state_behind_the_logs_start_can_be_moved_to_it() -> None:
    (move,) = plan({0: 20}, {0: 100}, BOUNDS, {0: 100}, fresh=False)
    assert (move.kept, move.effect) == (True, "state kept, windows start anew")


def test_a_group_with_members_or_about_to_have_some_is_refused() -> None:
    require_nobody(Group("g", "empty", ()))
    require_nobody(Group("g", "dead", ()))
    with pytest.raises(BrokerError, match=r"group g has 2 live members \(a@h, b@h\): stop the workers first"):
        require_nobody(Group("g", "stable", ("b@h", "a@h")))
    with pytest.raises(BrokerError, match="group g is preparing rebalancing: stop the workers"):
        require_nobody(Group("g", "preparing_rebalancing", ()))


def test_a_stream_that_is_not_configured_is_named_beside_those_that_are() -> None:
    settings = Settings(streams=[{"name": "taxi", "model": "x"}])
    assert configured(settings, "taxi").name == "taxi"
    with pytest.raises(SettingsError, match=r"stream nab is not configured \(configured: taxi\)"):
        configured(settings, "nab")
