"""The `Stream` of what is in force: partitions of one worker may stand at different decisions, each with its settings and model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from detectors.judgement.calendar import WEEKDAYS
from detectors.model import Model
from pipeline.errors import ModelError, SettingsError
from pipeline.partition.core import PartitionCore
from pipeline.partition.deciding.decisions import InForce
from pipeline.partition.stream import Stream, create_stream
from pipeline.settings import StreamSettings
from pipeline.steps.scoring import Scorer

LOCAL = ("name", "topic", "model", "alert_topic", "dead_letter_topic", "score_topic", "decision_topic")
"""Settings of a stream that reach no result: who a worker is, and where it writes to."""


def decided(settings: StreamSettings) -> dict[str, Any]:
    """The settings that reach a result, as plain JSON; of holidays the days, whatever another worker's package says of the country."""
    found = settings.model_dump(mode="json", exclude=set(LOCAL))
    if closed := settings.closed:
        found |= {"country": "", "holidays": closed.by_year(), "rest_day": WEEKDAYS[closed.rest]}
    return found


def content_id(settings: dict[str, Any], model: str) -> str:
    """An id of settings and model: the same content has the same."""
    body = json.dumps([settings, model], sort_keys=True, separators=(",", ":"))
    return f"settings-{hashlib.sha256(body.encode()).hexdigest()[:24]}"


class Streams:
    """All that one worker runs of a stream: its own settings and model, and older or newer ones that are in force somewhere.

    Parameters
    ----------
    own
        As the worker's settings file has it.
    find_model
        (hash, path where it lay) -> the model, None where it is not at hand.
    scorer
        Makes the scorer of a model.
    """

    def __init__(
        self,
        own: Stream,
        *,
        find_model: Callable[[str, Path], Model | None] = lambda _hash, _path: None,
        scorer: Callable[[Model], Scorer] = Scorer,
    ) -> None:
        self.own = own
        self._find_model = find_model
        self._make_scorer = scorer
        self._scorers = {own.model.hash: own.scorer}
        self._made: dict[str, Stream] = {content_id(decided(own.settings), own.model.hash): own}

    def add(self, own: Stream) -> None:
        """The worker's settings file is another now."""
        self.own = own
        self._scorers[own.model.hash] = own.scorer
        self._made.setdefault(content_id(decided(own.settings), own.model.hash), own)

    def __call__(self, in_force: InForce) -> Stream:
        """The stream of what is in force.

        Raises
        ------
        ModelError
            Its model is not at hand, neither in the settings nor where it lay.
        SettingsError
            The settings are of a newer version.
        """
        if in_force.settings is None:
            return self.own
        key = content_id(in_force.settings, in_force.model)
        if (made := self._made.get(key)) is None:
            made = self._made[key] = self._make(in_force, in_force.settings)
        return made

    def core(self, in_force: InForce, partition: int) -> PartitionCore:
        """A partition that knows nothing yet, of what is in force and of its shadow. Raises what `__call__` does."""
        shadow = None if in_force.shadow is None else self(in_force.taken_over())
        return self(in_force).core(partition, shadow)

    def _make(self, in_force: InForce, settings: dict[str, Any]) -> Stream:
        name, model = self.own.name, self._model(in_force)
        local = {field: getattr(self.own.settings, field) for field in LOCAL}
        try:
            of = StreamSettings.model_validate(settings | local)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, problem["loc"]))
            msg = f"settings of stream {name} that were decided (serial {in_force.serial}) are of another version ({where}: {problem['msg']}); start that version"
            raise SettingsError(msg) from None
        if model.hash not in self._scorers:
            self._scorers[model.hash] = self._make_scorer(model)
        return create_stream(of, model, self._scorers[model.hash])

    def _model(self, in_force: InForce) -> Model:
        if in_force.model == self.own.model.hash:
            return self.own.model
        for made in self._made.values():
            if made.model.hash == in_force.model:
                return made.model
        if (found := self._find_model(in_force.model, Path(in_force.path))) is not None:
            return found
        msg = (
            f"stream {self.own.name} runs the model {in_force.model[:12]} (decision {in_force.serial}), and it is not at hand: put its file back at "
            f"{in_force.path}, or beside the model of this worker's settings"
        )
        raise ModelError(msg)
