"""The whole table, and how it is read: arguments over the environment over files of secrets over the settings file."""

from __future__ import annotations

import json
import os
import tomllib
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as PydanticSettingsError

from pipeline.errors import SettingsError
from pipeline.settings.intakes import IntakeSettings
from pipeline.settings.services import KafkaSettings, RedisSettings, RegistrySettings
from pipeline.settings.streams import StreamSettings
from pipeline.settings.topics import crossed_topics, wrong_intakes
from pipeline.settings.worker import WorkerSettings
from pipeline.settings.wrong import in_words

DEFAULT_FILE = Path("tidewatch.toml")
FILE_VARIABLE = "TIDEWATCH_CONFIG"


class Settings(BaseSettings):
    """The whole table."""

    model_config = SettingsConfigDict(
        env_prefix="TIDEWATCH_", env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    streams: tuple[StreamSettings, ...] = ()
    intake: tuple[IntakeSettings, ...] = ()

    def intake_group(self, intake: IntakeSettings) -> str:
        """The consumer group of an intake."""
        return f"{self.worker.group}.intake.{intake.name}"

    @field_validator("intake")
    @classmethod
    def _intakes_fit(cls, intakes: tuple[IntakeSettings, ...], others: ValidationInfo) -> tuple[IntakeSettings, ...]:
        if "streams" in others.data and (told := next(wrong_intakes(others.data["streams"], intakes), "")):
            raise ValueError(told)
        registry = others.data.get("registry")
        if registry is not None and not registry.url and (of := [i.name for i in intakes if i.format == "registry"]):
            msg = f"intake {of[0]} has the format registry, and registry.url names none"
            raise ValueError(msg)
        return intakes

    @field_validator("streams")
    @classmethod
    def _fit_together(cls, streams: tuple[StreamSettings, ...], others: ValidationInfo) -> tuple[StreamSettings, ...]:
        names = [s.name for s in streams]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            msg = f"two streams have the same name: {', '.join(twice)}"
            raise ValueError(msg)
        if told := next(crossed_topics(streams), ""):
            raise ValueError(told)
        registry = others.data.get("registry")
        if registry is not None and not registry.url and (of := [s.name for s in streams if s.format == "registry"]):
            msg = f"stream {of[0]} has the format registry, and registry.url names none"
            raise ValueError(msg)
        return streams

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments before environment before files of secrets before the settings file."""
        if isinstance(env_settings, EnvSettingsSource):  # these name files, not settings
            names = {variable.lower() for variable in _secret_variables().values()}
            env_settings.env_vars = {k: v for k, v in env_settings.env_vars.items() if k.lower() not in names}
        files = InitSettingsSource(settings_cls, _secret_files())
        return init_settings, env_settings, files, InitSettingsSource(settings_cls, _file_content(config_file()))


def secret_file(variable: str) -> str:
    """The secret in the file that an environment variable names, without the line break at its end; empty where none is named.

    Raises SettingsError where it cannot be read.
    """
    if not (named := os.environ.get(variable)):
        return ""
    try:
        return Path(named).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"{variable}: {named} cannot be read: {why}") from error


def _secret_variables() -> dict[tuple[str, str], str]:
    """(table, setting) -> the variable that may name a file with it, for every setting that is a secret."""
    return {
        (table, name): f"TIDEWATCH_{table}__{name}_FILE".upper()
        for table, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for name, setting in field.annotation.model_fields.items()
        if setting.annotation is SecretStr
    }


def _secret_files() -> dict[str, dict[str, str]]:
    """The secrets that come from files of their own, as tables."""
    found: dict[str, dict[str, str]] = {}
    for (table, name), variable in _secret_variables().items():
        if secret := secret_file(variable):
            found.setdefault(table, {})[name] = secret
    return found


_chosen: ContextVar[Path | None] = ContextVar("_chosen", default=None)


def load_settings(file: Path | None = None) -> Settings:
    """Read the settings once: the environment over `file` (or the file of `config_file`) over the defaults.

    Raises
    ------
    SettingsError
        The named file does not exist or is not TOML; a setting is unknown, missing or wrong.
    """
    token = _chosen.set(file)
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(in_words(error, Settings, config_file())) from None  # it holds what was given, also secrets
    except PydanticSettingsError:
        msg = f"{_not_json()} holds no JSON (mend it, or set its settings one by one, TIDEWATCH_KAFKA__BROKERS)"
        raise SettingsError(msg) from None  # the error's cause holds what stands there
    finally:
        _chosen.reset(token)


def _not_json() -> str:
    """The environment variables of whole tables that hold no JSON."""
    wrong = []
    for field in Settings.model_fields:
        for name, value in os.environ.items():
            if name.upper() == f"TIDEWATCH_{field}".upper():
                try:
                    json.loads(value)
                except ValueError:
                    wrong.append(name)
    return ", ".join(wrong) or "an environment variable TIDEWATCH_..."


def config_file() -> Path | None:
    """The file that settings are read from: chosen, named by TIDEWATCH_CONFIG, or ./tidewatch.toml where there is one.

    Raises SettingsError where a file is named that does not exist.
    """
    named = _chosen.get() or os.environ.get(FILE_VARIABLE)
    if not named:
        return DEFAULT_FILE if DEFAULT_FILE.is_file() else None
    file = Path(named)
    if not file.is_file():
        msg = f"settings file {file} does not exist; name another with --config or {FILE_VARIABLE}"
        raise SettingsError(msg)
    return file


def _file_content(file: Path | None) -> dict[str, Any]:
    """What the TOML file says; paths of model files in it are relative to its folder."""
    if file is None:
        return {}
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"settings file {file} is not TOML: {error}"
        raise SettingsError(msg) from error
    streams = content.get("streams")
    for stream in streams if isinstance(streams, list) else []:
        if isinstance(stream, dict) and isinstance(stream.get("model"), str):
            stream["model"] = file.parent / stream["model"]
    return content
