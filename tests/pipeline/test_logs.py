"""Log lines of our own and of libraries leave through one handler, in one form, without secrets."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog

from pipeline import logs


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in logs._LIBRARIES:
        logging.getLogger(name).setLevel(logging.NOTSET)


def _lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_our_events_and_the_librarys_lines_have_one_form() -> None:
    out = io.StringIO()
    logs.configure("json", stream=out)
    structlog.get_logger("pipeline.partition.loop").bind(stream="taxi").info("state loaded", offset=7)
    logging.getLogger("aiokafka.consumer").warning("lost %s", "a broker")
    logging.getLogger("aiokafka.consumer").info("chatter")
    ours, theirs = _lines(out)
    assert {k: ours[k] for k in ("event", "stream", "offset", "level", "logger")} == {
        "event": "state loaded",
        "stream": "taxi",
        "offset": 7,
        "level": "info",
        "logger": "pipeline.partition.loop",
    }
    assert (theirs["event"], theirs["level"]) == ("lost a broker", "warning")
    assert str(theirs["timestamp"]).endswith("Z")


def test_the_level_holds_for_our_events_and_debug_lets_libraries_talk() -> None:
    out = io.StringIO()
    logs.configure("json", "warning", stream=out)
    structlog.get_logger().info("quiet")
    assert out.getvalue() == ""
    logs.configure("json", "debug", stream=out)
    logging.getLogger("faust.worker").info("chatter")
    assert [line["event"] for line in _lines(out)] == ["chatter"]


def test_a_second_call_replaces_the_first_even_for_loggers_in_use() -> None:
    first, second = io.StringIO(), io.StringIO()
    log = structlog.get_logger("x")
    logs.configure("json", stream=first)
    log.info("one")
    logs.configure("console", stream=second)
    log.info("two", key="value")
    assert "one" in first.getvalue()
    assert "two" not in first.getvalue()
    assert "key=value" in second.getvalue()
    assert "\x1b" not in second.getvalue()


@pytest.mark.parametrize("form", ["console", "json"])
def test_passwords_in_addresses_do_not_reach_the_log(form: str) -> None:
    out = io.StringIO()
    logs.configure(form, stream=out)  # type: ignore[arg-type]
    structlog.get_logger().info("connecting", url="rediss://worker:hunter2@redis:6379/0")
    logging.getLogger("redis").error("cannot reach redis://:hunter2@redis")
    assert "hunter2" not in out.getvalue()
    assert "rediss://***@redis:6379/0" in out.getvalue()


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_local_variables(form: str) -> None:
    out = io.StringIO()
    logs.configure(form, stream=out)  # type: ignore[arg-type]
    password = str(7**20)
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger().exception("failed")
    assert "RuntimeError: broken" in out.getvalue()
    assert password not in out.getvalue()


def test_warnings_become_log_lines() -> None:
    out = io.StringIO()
    logs.configure("json", stream=out)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("look out", stacklevel=1)
    assert "look out" in str(_lines(out)[0]["event"])


def test_what_a_library_repeats_is_said_once_a_minute_with_how_often_that_was() -> None:
    now = [0.0]
    repeated = logs.Repeated(lambda: now[0])

    def said(text: str, *args: object, name: str = "aiokafka.client") -> str | None:
        record = logging.LogRecord(name, logging.ERROR, "", 0, text, args, None)
        return record.getMessage() if repeated.filter(record) else None

    assert said("cannot reach %s", "a") == "cannot reach a"
    assert [said("cannot reach %s", x) for x in "bcd"] == [None] * 3
    assert said("another") == "another"
    assert said("cannot reach %s", "a", name="pipeline.loop") == "cannot reach a"  # our own lines are all meant
    now[0] = 61.0
    assert said("cannot reach %s", "e") == "cannot reach e (and 3 times more like this since)"
    now[0] = 130.0
    assert said("cannot reach %s", "f") == "cannot reach f"


def test_lines_of_a_library_that_repeat_reach_the_log_once() -> None:
    out = io.StringIO()
    logs.configure("json", stream=out)
    for node in range(50):
        logging.getLogger("aiokafka").error("Unable connect to node with id %s", node)
    assert len(_lines(out)) == 1
