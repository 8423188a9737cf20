"""Series that are called otherwise than their labels say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.formats.base import series_name
from producers.formats.naming import check_template, labels_of, renamed

LABEL = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,8}", fullmatch=True)


@given(st.dictionaries(LABEL, st.text(max_size=8), max_size=4))
def test_labels_are_read_as_they_were_written(labels: dict[str, str]) -> None:
    assert labels_of(series_name("cpu", labels)) == ("cpu", labels)


@pytest.mark.parametrize("name", ["cpu", "cpu{", "cpu{}", 'cpu{a="1"', 'cpu{a="1"}x', "cpu{a=1}", 'a{b="c"}{d="e"}'])
def test_a_name_that_has_no_labels_is_all_name(name: str) -> None:
    assert labels_of(name) == (name, {})


def test_a_series_without_a_name_is_called_by_its_labels() -> None:
    """One of channels whose metrics are called as the channels are."""
    series = '{host="a",pod="b"}'
    assert labels_of(series) == ("", {"host": "a", "pod": "b"})
    for dropped, template, name in ((["pod"], "", '{host="a"}'), ([], "{host}", "a"), (["pod", "host"], "", series)):
        of = renamed(dropped, template)
        assert of is not None
        assert of([series]) == [name]


def test_a_pod_that_restarts_goes_on_as_the_same_series() -> None:
    of = renamed(["pod", "instance"], "")
    assert of is not None
    before, after = 'cpu{pod="api-7f9-x2",service="api"}', 'cpu{pod="api-7f9-k4",service="api"}'
    assert of([before, after, "load", 'up{instance="1"}']) == ['cpu{service="api"}', 'cpu{service="api"}', "load", "up"]


def test_a_template_names_series_that_have_its_labels_and_leaves_others() -> None:
    of = renamed(["pod"], "{service}/{metric}")
    assert of is not None
    assert of(['cpu{pod="a",service="api"}', 'cpu{pod="a"}', "cpu", 'cpu{service="{metric}"}']) == [
        "api/cpu",
        "cpu",
        "cpu",
        "{metric}/cpu",
    ]


def test_where_nothing_is_said_nothing_is_renamed() -> None:
    assert renamed((), "") is None


@pytest.mark.parametrize("template", ["cpu", "{}", "{service", "a}{metric}", "{{metric}}"])
def test_what_is_no_template_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="is no name for series"):
        check_template(template)
    check_template("{service}/{metric}")
