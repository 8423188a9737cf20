"""Waiting for a store that does not answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from pipeline.errors import Refused, StoreError

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Seconds between two tries; each wait is twice the one before."""


class Patience:
    """Calls a store until it answers; meanwhile the caller takes no records (back-pressure).

    Parameters
    ----------
    waiting
        Told whether somebody waits, when that changes.
    """

    def __init__(
        self,
        sleep: Callable[[float], Awaitable[None]],
        waiting: Callable[[bool], None],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._sleep = sleep
        self._waiting = waiting
        self._log = log

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what the call returns once the store answers.

        Raises
        ------
        Refused
            The store has answered: no.
        """
        wait = FIRST_WAIT
        while True:
            try:
                result = await call()
            except Refused:
                raise
            except StoreError as error:
                self._log.warning("state store does not answer, waiting", reason=str(error), retry_in=wait)
                self._waiting(True)
                await self._sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
            else:
                if wait > FIRST_WAIT:
                    self._waiting(False)
                return result
