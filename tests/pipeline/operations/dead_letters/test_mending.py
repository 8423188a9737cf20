"""Lines of dead letters: what is not touched is sent as it came, and what is wrong with a line is said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import TidewatchError
from pipeline.operations.dead_letters.letters import Letter
from pipeline.operations.dead_letters.mending import apply, lines_of, read_lines


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
