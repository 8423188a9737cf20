"""POST of JSON to a receiver that may be away: tried again, ever more slowly, until it takes it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

import aiohttp
import structlog

from pipeline.errors import SettingsError

log = structlog.get_logger(__name__)

# The receiver says that this body will never do; anything else (also 401 or 404: a setting, there or here) may be mended.
_NEVER = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY})
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 60.0
_LONGEST_LEAVE = 300.0


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
        Where to post to. User and password in it are used, and never logged.
    authorization
        Value of the Authorization header; empty: none.
    ca_file
        PEM file of the authority that signed the receiver's certificate; None: the system's.
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
        timeout: float = 10.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            msg = f"{url!r} is no address of a receiver; it begins with http:// or https://"
            raise SettingsError(msg)
        self._url = url
        self.receiver = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
        self._headers = {"Authorization": authorization} if authorization else {}
        self._ssl = _context(ca_file)
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the client."""
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout)
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
        """Post once; what is wrong is logged."""
        assert self._session is not None
        try:
            async with self._session.post(
                self._url, data=body, ssl=self._ssl, allow_redirects=False, headers={"Content-Type": "application/json"}
            ) as answer:
                if 200 <= answer.status < 300:
                    return Attempt("taken")
                problem = f"{answer.status} {(await answer.content.read(300)).decode('utf-8', 'replace')}".strip()
                after = answer.headers.get("Retry-After", "")
                never = answer.status in _NEVER
        except (aiohttp.ClientError, TimeoutError) as error:
            problem, after, never = f"{type(error).__name__}: {error}", "", False
        if never:
            log.error("refused by the receiver, skipped", receiver=self.receiver, reason=problem)
            return Attempt("refused")
        log.warning("the receiver does not take it, trying again", receiver=self.receiver, reason=problem)
        return Attempt("away", min(float(after), _LONGEST_LEAVE) if after.isdigit() else 0.0)


def _context(ca_file: Path | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        msg = f"--ca-file {ca_file}: {error}"
        raise SettingsError(msg) from error
