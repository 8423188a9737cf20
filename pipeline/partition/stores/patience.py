"""Waiting for what a partition cannot go on without: the state store, a schema registry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from pipeline.errors import Refused, StoreError
from producers.errors import RegistryError

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Seconds between two tries; each wait is twice the one before."""


STORE, REGISTRY = "state store", "schema registry"
"""What may be waited for."""


class Patience:
    """Calls a store, or a registry, until it answers; meanwhile the caller takes no records (back-pressure).

    Parameters
    ----------
    waiting
        Told whether somebody waits, when that changes, and for which of the two.
    """

    def __init__(
        self,
        sleep: Callable[[float], Awaitable[None]],
        waiting: Callable[[bool, str], None],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._sleep = sleep
        self._waiting = waiting
        self._log = log

    async def __call__(self, call: Callable[[], Awaitable[T]], *, failed: StoreError | None = None) -> T:
        """Return what the call returns once the store answers; `failed`: what came of it the first time.

        Raises
        ------
        Refused
            The store has answered: no.
        """
        wait, away = FIRST_WAIT, ""
        while True:
            try:
                if (before := failed) is not None:
                    failed = None
                    raise before
                result = await call()
            except Refused:
                raise
            except (StoreError, RegistryError) as error:
                away = STORE if isinstance(error, StoreError) else REGISTRY
                self._log.warning(f"{away} does not answer, waiting", reason=str(error), retry_in=wait)
                self._waiting(True, away)
                await self._sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
            else:
                if away:
                    self._waiting(False, away)
                return result
