"""Dead letters as values: what a letter tells of its record, which are wanted, and how far they are done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from confluent_kafka import Message, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alerts.records import DeadLetter
from pipeline.operations.dead_letters.letters import Letter, Progress, Round, Selection

Headers = list[tuple[str, bytes | None]]


def letter(offset: int = 0, reason: str = "undecodable", *, timestamp: int = 0, topic: str = "in") -> Letter:
    return Letter(2, offset, timestamp, reason, "", topic, 1, offset + 10, b"key", b"value")


def record(headers: Headers) -> Message:
    return Message(topic="in", partition=1, offset=10, key=b"key", value=b"value", headers=headers)


def written(value: bytes | None, unread: int | None = None) -> Message:
    """A dead letter as a worker writes it and Kafka gives it back."""
    sent = DeadLetter("taxi", "undecodable", "it is broken", "in", 1, 17, b"key", value, unread).message("in.dlq")
    return Message(
        topic=sent.topic,
        partition=2,
        offset=5,
        key=sent.key,
        value=sent.value,
        headers=list(sent.headers),
        timestamp=(1, 1_000),
    )


@pytest.mark.parametrize("value", [b"{", b"", None])
def test_a_letter_that_a_worker_wrote_is_read_as_it_was(value: bytes | None) -> None:
    wanted = Letter(2, 5, 1_000, "undecodable", "it is broken", "in", 1, 17, b"key", value)
    assert Letter.of(written(value)) == wanted
    assert wanted.source == ("in", 1, 17)


def test_a_letter_that_holds_only_the_head_of_its_record_says_so() -> None:
    large = Letter.of(written(b"x" * 2_000_000))
    unread = Letter.of(written(b"x", unread=9_000))
    assert large is not None
    assert unread is not None
    assert large.cut.startswith("value of 2000000 bytes, SHA-256 ")
    assert unread.cut == "value of 9000 bytes, SHA-256 ?"


@pytest.mark.parametrize("missing", ["topic", "partition", "offset"])
def test_a_message_that_names_no_record_is_no_letter(missing: str) -> None:
    name = f"tidewatch.error.{missing}"
    headers: Headers = [h for h in written(b"{").headers() or [] if h[0] != name]
    assert Letter.of(record(headers)) is None
    if missing != "topic":
        assert Letter.of(record([*headers, (name, b"first")])) is None


def test_its_record_goes_with_its_own_headers_and_where_it_was_first() -> None:
    first = letter().with_headers((("trace", b"1"), ("trace", None)))
    assert first.sent_headers == [
        ("trace", b"1"),
        ("trace", None),
        ("tidewatch.replay.topic", b"in"),
        ("tidewatch.replay.partition", b"1"),
        ("tidewatch.replay.offset", b"10"),
        ("tidewatch.replay.attempt", b"1"),
    ]
    again = replace(letter(90), source_offset=100).with_headers(tuple(first.sent_headers))
    assert again.attempt == 2
    assert again.sent_headers == [*first.sent_headers[:-1], ("tidewatch.replay.attempt", b"2")]


@pytest.mark.parametrize("attempt", [b"", b"many", b"-1", b"9" * 10, b"1.5", None])
def test_an_attempt_that_is_no_count_starts_from_the_first(attempt: bytes | None) -> None:
    assert letter().with_headers((("tidewatch.replay.attempt", attempt),)).attempt == 1


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        (Selection(), True),
        (Selection(reasons=frozenset({"undecodable", "other"})), True),
        (Selection(reasons=frozenset({"other"})), False),
        (Selection(since=datetime.fromtimestamp(5, UTC)), True),
        (Selection(since=datetime.fromtimestamp(5.001, UTC)), False),
        (Selection(places=frozenset({(2, 3)})), True),
        (Selection(places=frozenset({(3, 2)})), False),
        (Selection(others=frozenset({"in"})), False),
        (Selection(others=frozenset({"in"}), places=frozenset({(2, 3)})), False),
    ],
)
def test_a_selection_holds_what_all_its_parts_hold(selection: Selection, wanted: bool) -> None:
    assert (letter(3, timestamp=5_000) in selection) is wanted


def test_a_round_is_remembered_only_when_it_is_done_and_as_far_as_it_was_read() -> None:
    told: list[Mapping[int, int]] = []
    made = Round(told.append, [letter(3)], reached={2: 4})
    assert told == []
    made.done()
    assert told == [{2: 4}]


def test_progress_of_one_reason_leaves_the_others_and_all_reasons_take_it_up() -> None:
    progress = Progress(3)
    progress.advance(10, {"x"}, left=5)
    assert [progress.done(letter(o, "x")) for o in (4, 9, 10)] == [True, True, False]
    assert [progress.done(letter(o, "y")) for o in (4, 5, 9)] == [True, False, False]
    stored = progress.position("t", 0)
    assert (stored.offset, stored.metadata) == (5, '{"x":10}')
    assert Progress.of(stored, 0) == progress
    progress.advance(10, (), left=None)
    assert progress == Progress(10)


@given(
    st.lists(st.sampled_from("xyz"), min_size=1, max_size=12),
    st.lists(st.tuples(st.sets(st.sampled_from("xyz")), st.integers(0, 12)), max_size=6),
)
def test_whatever_runs_there_were_each_letter_is_dealt_with_once(
    reasons: list[str], runs: list[tuple[set[str], int]]
) -> None:
    progress, dealt = Progress(0), []
    for wanted, to in [*runs, (set(), len(reasons))]:
        letters = [letter(o, r) for o, r in enumerate(reasons[:to])][progress.base :]
        undone = [x for x in letters if not progress.done(x)]
        dealt += [x.offset for x in undone if not wanted or x.reason in wanted]
        left = [x.offset for x in undone if wanted and x.reason not in wanted]
        progress.advance(max(to, progress.base), wanted, min(left, default=None))
        progress = Progress.of(progress.position("t", 0), 0)
    assert sorted(dealt) == list(range(len(reasons)))


def test_what_a_stranger_committed_counts_for_its_offset_only() -> None:
    assert Progress.of(TopicPartition("t", 0, 7, "not ours"), 3) == Progress(7)
    assert Progress.of(TopicPartition("t", 0, -1001), 3) == Progress(3)
