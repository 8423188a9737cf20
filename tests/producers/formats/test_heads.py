"""What series are called is kept; that shows in nothing but time."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from producers.formats import influx, telegraf
from producers.formats.base import Parsed, Unusable
from producers.formats.heads import Heads

PARTS = st.lists(
    st.sampled_from(["cpu", ",", "=", " ", "a", "1", "1.5", "96i", "t", "nan", "1_0", "1e999", "-.", "\\t", "\\", '"', "\xa0", "x y", "1714564800000000000", "\n", "value", "٣"]),
    max_size=24,
).map("".join)  # fmt: skip
LINES = st.builds(
    "{},host={} {}={} {}".format, *[PARTS] * 4, st.sampled_from(["1714564800000000000", "1", "x", "٣", ""])
)


def outcome(value: bytes) -> object:
    try:
        parsed: Parsed = influx.parse(value)
    except Unusable as error:
        return str(error)
    return parsed.points, parsed.skipped, [str(error) for error in parsed.refused]


@given(PARTS | LINES)
@example("cpu,host=a b=1,c=2 1714564800000000000")
@example("cpu,host=a b=1,c=2, 1714564800000000000")
@example("cpu,host b=1 1714564800000000000")
@example("cpu,host=a b=1,c=x,d=2 1714564800000000000")
@example("cpu b=1e999 1714564800000000000")
@example("cpu b=1_0 1714564800000000000")
@example("cpu value=1,b==2 1714564800000000000")
def test_lines_that_are_plain_are_read_as_all_are(line: str) -> None:
    quickly = outcome(line.encode())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(influx, "_read_plain", lambda *_: False)
        assert outcome(line.encode()) == quickly


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=5), st.integers(), st.none()), max_size=3))
def test_tags_are_read_strictly_though_they_are_looked_at_once(tags: dict[str, object]) -> None:
    message = {"name": "cpu", "tags": tags, "timestamp": 1_714_564_800, "fields": {"user": 1.0, "value": 2}}
    value = json.dumps(message).encode()
    if not all(isinstance(tag, str) for tag in tags.values()):
        for of in (value, b'{"metrics":[%s]}' % value):
            with pytest.raises(Unusable, match=r"wrong type: Expected `str`.*`\$\.(metrics\[.*\]\.)?tags"):
                telegraf.parse(of)
        return
    once, again = telegraf.parse(value).points, telegraf.parse(value).points
    assert once == again == telegraf.parse(b'{"metrics":[%s]}' % value).points
    assert [p.series.partition("{")[0] for p in once] == ["cpu_user", "cpu"]


def test_those_who_make_up_names_fill_no_memory() -> None:
    heads: Heads[str] = Heads(lambda key: (key, {}), len)
    heads.most = 100
    for i in range(1000):
        head = heads.of(f"m{i}")
        for field in range(3):
            assert heads.named(head, f"f{field}") == (f"m{i}_f{field}", 0)
        assert len(heads) <= 100
    assert heads.of("x" * 2000).metric == "x" * 2000
    assert "x" * 2000 not in heads._of
