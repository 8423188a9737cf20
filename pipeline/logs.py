"""Log lines: events with fields, not prose, for people at a terminal or as JSON for machines.

`configure` is called once, by the command line. Everything goes through one handler on standard error: our own structlog
events and what Faust, aiokafka and others write through the standard library, of which only warnings are let through
(below `debug`). Nothing is logged per record.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_LIBRARIES = ("faust", "mode", "aiokafka", "kafka", "asyncio", "redis", "urllib3", "matplotlib", "torch")
LOGGED_EVERY = 60.0
"""Seconds between two lines of a library that say the same: a broker that is away is told ten times a second."""
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def configure(
    form: Literal["console", "json"] = "console",
    level: Literal["debug", "info", "warning", "error"] = "info",
    *,
    stream: TextIO | None = None,
    quiet_libraries: bool = True,
) -> None:
    """Set the process's logging up; a later call replaces an earlier one.

    Parameters
    ----------
    form
        `console`: aligned columns, coloured at a terminal. `json`: one object a line.
    level
        Least severe level of our own events.
    stream
        Where lines go; standard error, so that standard output stays for results.
    quiet_libraries
        Let only warnings of libraries through (all of it at level `debug`).
    """
    out = stream if stream is not None else sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        without_credentials,
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderer(form, out)],
        )
    )
    if quiet_libraries and level != "debug":
        handler.addFilter(Repeated())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING if quiet_libraries and level != "debug" else logging.NOTSET)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # a later call of `configure` must reach loggers that were used already
    )


class Repeated(logging.Filter):
    """Lets what a library says through once a minute, however often it says it; then with how often that was.

    What is the same is told by the text before its arguments are filled in, so there are only as many as a library has.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        if record.name.partition(".")[0] not in _LIBRARIES:
            return True
        what = record.name, str(record.msg)
        at, more = self._said.get(what, (None, 0))
        now = self._clock()
        if at is not None and now - at < LOGGED_EVERY:
            self._said[what] = at, more + 1
            return False
        self._said[what] = now, 0
        if len(self._said) > _SAID:  # texts that are made anew each time
            self._said.pop(next(iter(self._said)))
        if more:
            record.msg = f"{record.getMessage()} (and {more} times more like this since)"
            record.args = ()
        return True


_SAID = 1000


def without_credentials(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Take `user:password@` out of addresses in any text of an event."""
    for name, value in event.items():
        if isinstance(value, str) and "://" in value:
            event[name] = _CREDENTIALS.sub("***", value)
    return event


def _renderer(form: Literal["console", "json"], out: TextIO) -> list[Processor]:
    if form == "json":
        return [structlog.processors.format_exc_info, without_credentials, structlog.processors.JSONRenderer()]
    # Plain tracebacks: richer ones print local variables, among them passwords.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain, pad_event_to=0)]
