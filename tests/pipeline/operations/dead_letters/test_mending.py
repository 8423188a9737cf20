"""Lines of dead letters: what is not touched is sent as it came, and what is wrong with a line is said."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import TidewatchError
from pipeline.operations.dead_letters.mending import apply, lines_of, read_lines
from pipeline.operations.dead_letters.reading import Letter, Progress


def letter(
    offset: int = 0, reason: str = "undecodable", key: bytes | None = None, value: bytes | None = None
) -> Letter:
    return Letter(2, offset, 0, reason, "", "in", 1, offset + 10, key, value)


@given(st.none() | st.binary(), st.none() | st.binary() | st.just(b"null"))
def test_a_line_left_as_it_is_sends_the_same_bytes(key: bytes | None, value: bytes | None) -> None:
    letters = [letter(5, key=key, value=value)]
    assert apply(read_lines(lines_of(letters), "here"), letters) == letters


def test_lines_are_one_each_whatever_the_bytes_are() -> None:
    letters = [letter(i, value=v) for i, v in enumerate([b"a\nb", b"\xe2\x80\xa8", b"\x0b\x0c\x1c\x85", b'"\\'])]
    assert apply(read_lines(lines_of(letters), "here"), letters) == letters


@pytest.mark.parametrize(
    ("changed", "sent"),
    [
        ({"value": "text"}, b"text"),
        ({"value": {"a": [1, None]}}, b'{"a":[1,null]}'),
        ({"value": 5}, b"5"),
        ({"value": None}, None),
        ({"value": None, "value_base64": "/w=="}, b"\xff"),
    ],
)
def test_values_are_text_or_json_or_base64(changed: dict[str, object], sent: bytes | None) -> None:
    line = json.loads(lines_of([letter(value=b"x")])) | changed
    (mended,) = apply(read_lines(json.dumps(line).encode(), "here"), [letter(value=b"x")])
    assert mended.value == sent


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "here, line 2 is no dead letter"),
        (b'{"reason": "x"}', "here, line 2 is no dead letter as --export writes it: .*dead_letter"),
        (b'{"dead_letter": [0], "reason": "x"}', "here, line 2"),
        (b"\xff", "here, line 2"),
    ],
)
def test_a_line_that_is_none_is_named(line: bytes, says: str) -> None:
    with pytest.raises(TidewatchError, match=says):
        read_lines(b"\n" + line, "here")


def test_base64_that_is_none_names_the_letter() -> None:
    lines = read_lines(b'{"dead_letter": [2, 0], "reason": "x", "value_base64": "?"}', "here")
    with pytest.raises(TidewatchError, match="dead letter 2:0 is not base64"):
        apply(lines, [letter()])


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
