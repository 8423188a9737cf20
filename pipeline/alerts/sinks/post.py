"""POST of JSON to a receiver that may be away: tried again, ever more slowly, until it takes it."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import aiohttp
import structlog

from pipeline.addresses import receiver
from pipeline.errors import SettingsError

log = structlog.get_logger(__name__)

# The receiver says that this body will never do; anything else (also 401 or 404: a setting, there or here) may be mended.
_NEVER = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY})
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 60.0
_LONGEST_LEAVE = 300.0
_LONGEST_PATIENCE = 300.0
_CONNECTED_WITHIN = 10.0
_REASON_WITHIN = 1.0  # s; what a receiver says of its refusal is worth no longer wait
_REASON_BYTES = 300


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt ended, and for how many seconds the receiver asked to be left alone."""

    outcome: Literal["taken", "refused", "away"]
    retry_after: float = 0.0


class Poster:
    """An HTTP client for one receiver; an async context manager.

    Parameters
    ----------
    url
        Where to post to. Only its scheme, host and port are ever logged: what else stands in it may be secret.
    authorization
        Value of the Authorization header; empty: none.
    ca_file
        PEM file of the authority that signed the receiver's certificate; None: the system's.
    timeout
        Seconds that the receiver has for its answer. One that takes longer has perhaps acted already, and gets the same again: so
        after each time-out it has twice as long, up to five minutes, for all that follows.
    sleep
        Waits between attempts.

    Raises
    ------
    SettingsError
        The address is no http(s) address, or the file cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        authorization: str = "",
        ca_file: Path | None = None,
        timeout: float = 30.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        try:
            self.receiver = receiver(url)  # no path: Slack's, for one, is a secret
        except ValueError as error:
            msg = f"the receiver's address cannot be used: {error}"
            raise SettingsError(msg) from None
        self._url = url
        self._headers = {"Authorization": authorization} if authorization else {}
        self._ssl = _context(ca_file)
        self._patience = timeout
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the client."""
        self._session = aiohttp.ClientSession(
            headers={"Accept-Encoding": "identity", **self._headers},
            auto_decompress=False,  # only the head of what a receiver says is read, and never unpacked
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()

    async def post(self, body: bytes) -> bool:
        """Post until the receiver takes it; False where it says that it never will take this body."""
        wait = _FIRST_WAIT
        while (attempt := await self.attempt(body)).outcome == "away":
            await self._sleep(max(wait, attempt.retry_after))
            wait = min(wait * 2, _LONGEST_WAIT)
        return attempt.outcome == "taken"

    async def attempt(self, body: bytes) -> Attempt:
        """Post once; what is wrong is logged. The status alone decides, however the rest of the answer goes."""
        assert self._session is not None
        timeout = aiohttp.ClientTimeout(total=self._patience, sock_connect=_CONNECTED_WITHIN)
        try:
            async with self._session.post(
                self._url,
                data=body,
                ssl=self._ssl,
                allow_redirects=False,
                timeout=timeout,
                headers={"Content-Type": "application/json"},
            ) as answer:
                if 200 <= answer.status < 300:
                    return Attempt("taken")
                problem = f"{answer.status} {await _reason(answer)}".strip()
                if 300 <= answer.status < 400:
                    problem = (
                        f"{answer.status}: it redirects, and is not followed; name the address that it redirects to"
                    )
                after = retry_after(answer.headers.get("Retry-After", ""), answer.headers.get("Date", ""))
                never = answer.status in _NEVER
        except aiohttp.ConnectionTimeoutError:
            problem, after, never = f"no connection within {_CONNECTED_WITHIN:g} s", 0.0, False
        except TimeoutError:
            problem, after, never = (
                f"no answer within {self._patience:g} s; where it needs longer, raise --timeout",
                0.0,
                False,
            )
            self._patience = max(self._patience, min(self._patience * 2, _LONGEST_PATIENCE))
        except (aiohttp.ClientError, OSError) as error:
            why = (
                "" if "/" in str(error) else f": {_printable(str(error))}"
            )  # some of aiohttp's errors repeat the address
            problem, after, never = f"{type(error).__name__}{why}", 0.0, False
        if never:
            log.error("refused by the receiver, skipped", receiver=self.receiver, reason=problem)
            return Attempt("refused")
        log.warning("the receiver does not take it, trying again", receiver=self.receiver, reason=problem)
        return Attempt("away", after)


def retry_after(text: str, answered: str = "") -> float:
    """Seconds that a Retry-After header asks for, 0 to 300: it holds seconds or a date (RFC 9110); 0 where it is neither.

    Parameters
    ----------
    answered
        The answer's own Date, so that a receiver whose clock is off is understood all the same.

    >>> retry_after("7"), retry_after("99999999999999999999"), retry_after("-1"), retry_after("soon")
    (7.0, 300.0, 0.0, 0.0)
    >>> retry_after("Wed, 21 Oct 2015 07:28:30 GMT", "Wed, 21 Oct 2015 07:28:00 GMT")
    30.0
    """
    text = text.strip()
    if re.fullmatch("[0-9]+", text):
        return min(float(text), _LONGEST_LEAVE)  # a float takes any number of digits
    until = _date(text)
    if until is None:
        return 0.0
    return min(max((until - (_date(answered) or datetime.now(UTC))).total_seconds(), 0.0), _LONGEST_LEAVE)


def _date(text: str) -> datetime | None:
    """An HTTP date; None where it is none."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError, IndexError):  # the last two: for some that are no dates at all
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


async def _reason(answer: aiohttp.ClientResponse) -> str:
    """The head of what the receiver says, if it comes soon."""
    said = b""
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(_REASON_WITHIN):
            said = await answer.content.read(_REASON_BYTES)
    return _printable(said.decode("utf-8", "replace"))


def _printable(text: str) -> str:
    """On one line, and without what would move a terminal's cursor."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def _context(ca_file: Path | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        msg = f"--ca-file {ca_file}: {error}"
        raise SettingsError(msg) from error
