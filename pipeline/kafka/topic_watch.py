"""Whether input topics are still those that the states belong to: asked at the start, and here while a worker runs.

Kafka tells nobody that a topic was deleted. Its partitions fall silent, and under a new topic of the same name old offsets seem to fit:
states would go on with records of another log.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Self

from pipeline.errors import BrokerError, ForeignState, TidewatchError

EVERY = 5.0
"""Seconds between two looks."""

LOOKS = 3
"""So often in a row a topic must be missing: a broker that has only just started may not know all topics yet."""


class TopicWatch:
    """Looks from a thread of its own until it finds something or its context ends.

    Parameters
    ----------
    ask
        Topic -> id of those that exist, "" where that is not told; BrokerError where Kafka does not answer, which is others' business.
    known
        Topic -> its stream, and the id that its states belong to.
    found
        Told once, in that thread, of what a worker must not go on with.
    """

    def __init__(
        self,
        ask: Callable[[], Mapping[str, str]],
        known: Mapping[str, tuple[str, str]],
        found: Callable[[TidewatchError], None],
        *,
        every: float = EVERY,
    ) -> None:
        self._ask = ask
        self._known = known
        self._found = found
        self._every = every
        self._missing: Counter[str] = Counter()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        # A daemon, and not waited for: Kafka may take longer to answer than a worker may take to stop.
        threading.Thread(target=self._run, name="topic watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def look(self) -> TidewatchError | None:
        """Ask once; what a worker must not go on with."""
        try:
            now = self._ask()
        except BrokerError:
            return None
        for topic, (stream, own) in self._known.items():
            self._missing[topic] = 0 if topic in now else self._missing[topic] + 1
            if self._missing[topic] == LOOKS:
                msg = (
                    f"topic {topic} is no more (deleted?), and the state of stream {stream} belongs to it: create it again (`tidewatch topics "
                    f"create`) and run `tidewatch state reset {stream}` to start anew, or take the stream out of the settings"
                )
                return BrokerError(msg)
            if own and now.get(topic, own) not in (own, ""):
                msg = (
                    f"topic {topic} was deleted and created again while this worker ran, and the state of stream {stream} belongs to the "
                    f"old one: run `tidewatch state reset {stream}` to start anew"
                )
                return ForeignState(msg)
        return None

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            if (error := self.look()) is not None:
                with suppress(RuntimeError):  # the worker's event loop has ended meanwhile
                    self._found(error)
                return
