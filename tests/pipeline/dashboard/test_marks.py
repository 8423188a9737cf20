"""What was decided about one series, and when it is silent, as the page draws it."""

from pipeline.alerts.selecting.feedback import Feedback
from pipeline.alerts.selecting.silences import calendar
from pipeline.dashboard.marks import MOST, shown
from pipeline.operations.desk import Line
from pipeline.partition.deciding.what import Acknowledge, Comment, Decision, Lift, SettingsOf, Silence, Undo, What

HOUR, DAY = 3_600_000, 86_400_000
NAME = 'cpu{host="a"}'


def decided(*whats: What, taken: dict[int, dict[int, int]] | None = None) -> list[Line]:
    """Decisions 1, 2, ..., taken by partition 3 at ten times their number where `taken` says nothing else."""
    taken = taken or {}
    return [
        Line(Decision(f"id-{n}", what, "ann", "2026-11-26T00:00:00.000Z", n), taken.get(n, {3: 10 * n}))
        for n, what in enumerate(whats, 1)
    ]


def test_decisions_that_speak_of_a_series_the_newest_first_with_the_offset_of_its_partition() -> None:
    lines = decided(
        SettingsOf({}, "", {}),
        Acknowledge("cpu*"),
        Acknowledge("disk*"),
        Feedback(NAME, "normal", 5, 7),
        Undo(4),
        Feedback("disk", "normal", 5, 7),
        Undo(6),
        taken={2: {0: 5, 3: 50}, 4: {0: 6}},
    )
    found = shown(lines, NAME, 3, 0, DAY)
    assert [(m["serial"], m["offset"]) for m in found] == [(5, 50), (4, None), (2, 50), (1, 10)]
    assert (found[1]["of"], found[1]["undone"]) == ([5, 7], True)
    assert found[2]["by"] == "ann"
    assert (found[2]["kind"], found[2]["what"]) == ("acknowledge", "acknowledge cpu*")


def test_what_can_be_taken_back_says_whether_it_was_and_a_comment_on_which_alert_it_is() -> None:
    lines = decided(
        Acknowledge("cpu*"),
        Comment(NAME, "the disk", "5f0c"),
        Comment(NAME, "all of it"),
        Comment("cpu*", "of a series of that name"),
        Undo(1),
        Undo(3),
    )
    found = {m["serial"]: m for m in shown(lines, NAME, 3, 0, DAY)}
    assert sorted(found) == [1, 2, 3, 5, 6]
    assert [found[n]["kind"] for n in (1, 3, 5)] == ["acknowledge", "comment", "undo"]
    assert [found[n]["undone"] for n in (1, 2, 3)] == [True, False, True]
    assert [found[n].get("alert") for n in (1, 2, 3)] == [None, "5f0c", ""]
    assert found[2]["what"] == f"comment on alert 5f0c of {NAME}: the disk"


def test_a_silence_says_what_it_covers_and_where_it_was_lifted() -> None:
    nightly = calendar(["daily 02:00-04:00"], "UTC")
    lines = decided(
        Silence("cpu*", 5 * HOUR, since=HOUR),
        Silence("*", 0, where={"host": "a"}, calendar=nightly),
        Silence("*", 0, where={"host": "b"}, calendar=nightly),
        Silence("cpu*", 2 * HOUR),
        Lift(2),
        Lift(3),
    )
    found = {m["serial"]: m for m in shown(lines, NAME, 3, 3 * HOUR, DAY + 3 * HOUR)}
    assert sorted(found) == [1, 2, 4, 5]
    assert found[1]["silent"] == [(3 * HOUR, 5 * HOUR)]
    assert found[2]["silent"] == [(3 * HOUR, 4 * HOUR), (DAY + 2 * HOUR, DAY + 3 * HOUR)]
    assert (found[1]["lifted"], found[2]["lifted"]) == (None, 50)
    assert found[4]["silent"] == []  # over before what is shown
    assert "silent" not in found[5]


def test_an_answer_is_bounded() -> None:
    always = calendar([f"daily {h:02}:{m:02}-{h:02}:{m + 1:02}" for h in range(24) for m in (0, 30)], "UTC")
    (mark,) = shown(decided(Silence("*", 0, calendar=always)), NAME, 3, 0, 300 * DAY)
    assert len(mark["silent"]) == MOST
    assert mark["silent"][-1][1] > 299 * DAY
    assert len(shown(decided(*[Acknowledge("*")] * (MOST + 5)), NAME, 3, 0, DAY)) == MOST
