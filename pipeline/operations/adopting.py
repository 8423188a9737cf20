"""From what a file or a topic showed to a stream that runs: a model file, and the stream in the settings file that names it.

What stands in a settings file stays as it is, comments too; of the stream's table only what was chosen is replaced, and from when on a score is anomalous:
that is the choice's also where it chose the default. The file is replaced at once, after the whole of it was read as settings.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import AoT, Table

from detectors import model_file
from detectors.model import Model
from pipeline.errors import SettingsError
from pipeline.operations.deciding import differences
from pipeline.partition.deciding.what import SettingsOf
from pipeline.partition.streams import decided
from pipeline.settings import DEFAULT_FILE, Settings, StreamSettings, config_file, load_settings
from pipeline.settings.reference import plain

_READING = ("format", "counter", "gauge", "channels", "fields", "max_series", "probation")
"""Settings by which records are read, as they were when they were scored; and what holds for series that a model does not know."""
STATED = ("false_alarms", "level", "method")
"""Settings that say from when on a score is anomalous: one that was chosen takes the place of the others."""


@dataclass(frozen=True)
class Adopted:
    """A stream as it stands in a settings file that is not there yet: `keep` puts it in its place.

    Attributes
    ----------
    added
        Whether the stream is new to the settings.
    stays
        Settings that were in the stream's table, not chosen, and other than by default: what was scored was scored without them.
    """

    stream: str
    topic: str
    file: Path
    model: Path
    settings: Settings
    added: bool
    stays: tuple[str, ...]
    _beside: Path
    _model_is_new: bool

    def keep(self) -> None:
        """Let the settings file be the new one."""
        self._beside.replace(self.file)

    def drop(self) -> None:
        """Leave everything as it was."""
        _remove(self._beside, self.model, new=self._model_is_new)


def adopt(
    model: Model, chosen: Mapping[str, Any], *, name: str, topic: str, form: str = "", config: Path | None = None
) -> Adopted:
    """Write a model file, and beside the settings file the settings with the stream that uses it.

    Parameters
    ----------
    chosen
        Settings of a stream: what was scored with.
    name, topic
        Of the stream; the one of the settings that reads `topic`, itself or by an intake, is meant where there is one. "": the topic follows from the name.
    form
        Format of the topic's records, of a new stream.

    Raises
    ------
    SettingsError
        The file cannot be written, is no settings file, or has a stream of this name on another topic.
    ModelFileError
        The model file cannot be written.
    """
    file = config or config_file() or DEFAULT_FILE
    before = load_settings(config)
    fed = {i.stream for i in before.intake if topic and i.reads(topic)}  # from a raw topic
    there = next((s for s in before.streams if s.input_topic == topic or s.name in fed), None) or next(
        (s for s in before.streams if s.name == name), None
    )
    if there is not None and topic and there.input_topic != topic and there.name not in fed:
        msg = (
            f"{file}: stream {name} reads {there.input_topic}, not {topic}; give the new one another name with --stream"
        )
        raise SettingsError(msg)
    name = there.name if there is not None else name
    model_path, model_is_new = _saved(model, file.parent, name)
    beside = file.with_name(f".{file.name}.new")
    new = {"name": name} | ({"topic": topic} if topic else {}) | ({"format": form} if form else {})
    try:
        document = tomlkit.parse(file.read_text(encoding="utf-8")) if file.is_file() else tomlkit.document()
        _put(_table(document, new, file, added=there is None), {"model": model_path.name, **plain(dict(chosen))})
        beside.write_text(tomlkit.dumps(document), encoding="utf-8")
        if file.is_file():
            beside.chmod(file.stat().st_mode)
        settings = load_settings(beside)
    except (OSError, SettingsError) as error:
        _remove(beside, model_path, new=model_is_new)
        if isinstance(error, SettingsError):
            raise
        msg = f"{file}: cannot be written: {error.strerror or error}"
        raise SettingsError(msg) from error
    stream = next(s for s in settings.streams if s.name == name)
    stays = () if there is None else _unchosen(stream, chosen)
    return Adopted(name, stream.input_topic, file, model_path, settings, there is None, stays, beside, model_is_new)


def _unchosen(stream: StreamSettings, chosen: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings that reach what a stream says of a value, and are neither chosen nor the default."""
    bare = StreamSettings.model_validate({"name": stream.name, "model": stream.model, **chosen})
    both = [decided(of) for of in (bare, stream)]
    return tuple(
        n for n in differences(*(SettingsOf(of, "", {}) for of in both)) if n.partition(".")[0] not in _READING
    )


def _saved(model: Model, folder: Path, name: str) -> tuple[Path, bool]:
    """A model file of its own, and whether it was not there before: those that streams run with are not touched."""
    new = folder / f".{name}.{os.getpid()}.tidewatch"
    saved = model_file.save(model, new)
    path = folder / f"{name}-{saved.hash[:8]}.tidewatch"
    there = path.is_file()
    new.replace(path)
    return path, not there


def _remove(beside: Path, model: Path, *, new: bool) -> None:
    """Take back what was written; the model of before, which the stream may run with, stays."""
    beside.unlink(missing_ok=True)
    if new:
        model.unlink(missing_ok=True)


def _table(document: tomlkit.TOMLDocument, new: Mapping[str, str], file: Path, *, added: bool) -> Table:
    """The stream's table in the document, a new one where it is added. Raises SettingsError where it cannot be found."""
    tables = document.setdefault("streams", tomlkit.aot())
    found: list[Table] = [t for t in tables if t.get("name") == new["name"]] if isinstance(tables, AoT) else []
    if found:
        return found[0]
    if not added or not isinstance(tables, AoT):
        msg = f"{file}: there is no [[streams]] of the name {new['name']} in it (the environment sets it?); set model and threshold where it stands"
        raise SettingsError(msg)
    table = tomlkit.table()
    table.update(new)
    tables.append(table)
    added_one: Table = tables[-1]
    return added_one


def _put(table: Table, chosen: Mapping[str, Any]) -> None:
    if "threshold" in table and not set(STATED) & set(chosen.get("threshold", {})):
        for stated in STATED:
            table["threshold"].pop(stated, None)
    for key, value in chosen.items():
        if not isinstance(value, Mapping):
            table[key] = value
            continue
        inner = table.setdefault(key, tomlkit.table())
        if key == "threshold" and set(STATED) & set(value):
            for stated in STATED:
                inner.pop(stated, None)
        inner.update(value)
