"""What becomes of intakes when the settings change while they run: those that are others now end in order, and go on as the new settings say.

    settings file ──changed (mtime), SIGHUP──▶ read anew ──▶ ends in order: all is acknowledged, offsets committed ──▶ starts at these offsets

So a changed mapping (how records are read, and what series are called) begins, of each source, at the offset that is committed; the log says which.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from pipeline.errors import SettingsError, TidewatchError
from pipeline.settings import IntakeSettings, Settings, load_settings
from pipeline.watched import Watched

log = structlog.get_logger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at the settings file."""

_READING = 1
"""Another number where the same settings read the same record otherwise, into other observations or in another order."""
_MAPPING = ("format", "fields", "channels", "drop_labels", "series")
_PATIENCE = 9.0  # s to end in order


def mapping_of(intake: IntakeSettings) -> str:
    """An id of how records become observations, part of each source's name: a position counts only among what was read the same way."""
    content = json.dumps([_READING, intake.model_dump(mode="json", include=set(_MAPPING))], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


class Running:
    """The intakes that run, each a task with what it was started with.

    Parameters
    ----------
    run
        Runs one until the event is set; what it raises is its own business.
    """

    def __init__(self, run: Callable[[Settings, IntakeSettings, asyncio.Event], Coroutine[Any, Any, None]]) -> None:
        self._run = run
        self._of: dict[str, tuple[object, asyncio.Event, asyncio.Task[None]]] = {}

    async def become(self, settings: Settings, wanted: Sequence[IntakeSettings]) -> Mapping[str, list[str]]:
        """Those that are wanted, and no others; returns by what became of them the names of those that are not as they were."""
        new = {intake.name: _what_it_is(settings, intake) for intake in wanted}
        told: dict[str, list[str]] = {"ended": [], "changed": [], "added": []}
        for name, (what, _, _) in self._of.items():
            if new.get(name) != what:
                told["changed" if name in new else "ended"].append(name)
        await self._end(told["ended"] + told["changed"])
        for intake in wanted:
            if intake.name not in self._of:
                if intake.name not in told["changed"]:
                    told["added"].append(intake.name)
                stopping = asyncio.Event()
                task = asyncio.create_task(self._run(settings, intake, stopping))
                self._of[intake.name] = new[intake.name], stopping, task
        return {what: names for what, names in told.items() if names}

    async def end(self) -> None:
        """All, in order, within some seconds."""
        await self._end(list(self._of))

    async def _end(self, names: Sequence[str]) -> None:
        of = [self._of[name] for name in names]
        for _, stopping, _ in of:
            stopping.set()
        if tasks := [task for _, _, task in of]:
            _, pending = await asyncio.wait(tasks, timeout=_PATIENCE)
            for task in pending:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for name in names:
            del self._of[name]


def _what_it_is(settings: Settings, intake: IntakeSettings) -> object:
    """All that an intake is made of and that may change under it; what says how to reach Kafka waits for the process's next start."""
    stream = next(s for s in settings.streams if s.name == intake.stream)
    outputs = stream.input_topic, stream.dlq, stream.alert_topic, stream.decision_topic, stream.score_topic
    return intake, outputs, settings.registry


async def follow(
    file: Path | None,
    settings: Settings,
    running: Running,
    wanted: Callable[[Settings], Sequence[IntakeSettings]],
    asked: asyncio.Event,
    *,
    fits: Callable[[Settings], str] = lambda _: "",
) -> None:
    """Let what runs be as the settings say, whenever their file is another, until cancelled.

    Parameters
    ----------
    file
        None: there is none to watch.
    asked
        Set it to have them read now.
    fits
        Why they cannot be taken; empty: they can.
    """
    watched = Watched(lambda: () if file is None else (file,))
    while True:
        await asyncio.sleep(LOOK_EVERY)
        if not (watched.changed() or asked.is_set()):
            continue
        asked.clear()
        try:
            new = await asyncio.to_thread(load_settings, file)
            if told := fits(new):
                raise SettingsError(told)
        except TidewatchError as error:
            log.error("new settings are not taken, the intakes stay as they are", reason=str(error))  # noqa: TRY400  one line
            continue
        own = {"kafka": settings.kafka, "worker": settings.worker}
        settings = new.model_copy(update=own)
        if changed := await running.become(settings, wanted(settings)):
            log.info("intakes are as the settings say now", **changed)
