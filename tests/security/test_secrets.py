"""Canaries in every secret setting: none of them is ever printed, logged, counted or raised."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import BaseModel, SecretStr, ValidationError
from security.servers import clean_environment, small_model, tidewatch

from pipeline.cli import one_line
from pipeline.errors import SettingsError, TidewatchError
from pipeline.kafka.clients import connect_admin
from pipeline.operations.metrics import WorkerMetrics
from pipeline.partition.stores.redis import RedisStore
from pipeline.settings import Settings, load_settings

CANARY = "c4n4ry"
NAMES = ("password", "secret", "token", "credential", "authorization")


def secrets() -> dict[str, str]:
    """Environment variable -> canary, for every secret that there is."""
    found = {}
    for table, field in Settings.model_fields.items():
        inner = field.annotation
        for name, setting in (
            inner.model_fields.items() if isinstance(inner, type) and issubclass(inner, BaseModel) else ()
        ):
            if setting.annotation is SecretStr:
                found[f"TIDEWATCH_{table}__{name}".upper()] = f"{CANARY}-{table}-{name}-0123456789"
    url = found["TIDEWATCH_REDIS__URL"]
    return found | {"TIDEWATCH_REDIS__URL": f"redis://user:{url}@127.0.0.1:1/0"}


def test_everything_whose_name_says_secret_is_one() -> None:
    for table, field in Settings.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            for name, setting in inner.model_fields.items():
                assert setting.annotation is SecretStr or not any(n in name for n in NAMES), f"{table}.{name}"
    assert len(secrets()) >= 4


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    small_model(tmp_path)
    (tmp_path / "tidewatch.toml").write_text('[[streams]]\nname = "s"\nmodel = "small.model"\n')
    values = secrets() | {
        "TIDEWATCH_KAFKA__BROKERS": "127.0.0.1:1",
        "TIDEWATCH_KAFKA__SASL_USERNAME": "user",
        "TIDEWATCH_KAFKA__REQUEST_TIMEOUT": "500ms",
        "TIDEWATCH_REGISTRY__USERNAME": "user",
        "TIDEWATCH_REDIS__TIMEOUT": "500ms",
        "TIDEWATCH_WORKER__LOG_LEVEL": "debug",
        "TIDEWATCH_CONFIG": str(tmp_path / "tidewatch.toml"),
    }
    del values["TIDEWATCH_REGISTRY__TOKEN"]  # stands in place of user and password
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


def test_a_token_in_the_place_of_a_password_is_shown_in_no_form(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"TIDEWATCH_REGISTRY__{name}")
    monkeypatch.setenv("TIDEWATCH_REGISTRY__TOKEN", secrets()["TIDEWATCH_REGISTRY__TOKEN"])
    settings = load_settings()
    assert settings.registry.token.get_secret_value().startswith(CANARY)
    for text in (repr(settings), settings.model_dump_json(), f"{settings.model_dump()}"):
        assert CANARY not in text


def test_settings_show_none_in_any_form(environment: dict[str, str]) -> None:
    settings = load_settings()
    assert settings.kafka.sasl_password.get_secret_value().startswith(CANARY)
    for text in (
        repr(settings),
        str(settings),
        settings.model_dump_json(),
        f"{settings.model_dump()}",
        f"{settings.redis!r}",
    ):
        assert CANARY not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "protocol"),
    [
        ("config show", "SASL_SSL"),
        ("worker", "SASL_PLAINTEXT"),
        ("worker", "SSL"),
        ("doctor", "SASL_SSL"),
        ("state show s", "PLAINTEXT"),
    ],
)
def test_no_command_prints_one_with_servers_away_and_logs_at_debug(
    environment: dict[str, str], tmp_path: Path, verb: str, protocol: str
) -> None:
    said = tidewatch(*verb.split(), cwd=tmp_path, **environment, TIDEWATCH_KAFKA__SECURITY_PROTOCOL=protocol)
    assert CANARY not in said.stdout + said.stderr
    assert said.stdout + said.stderr
    assert said.returncode in (0, 2), said.stderr


async def test_errors_of_servers_that_are_away_hold_none_not_even_in_a_traceback(environment: dict[str, str]) -> None:
    settings = load_settings()
    told = []
    for protocol in ("SASL_PLAINTEXT", "SASL_SSL"):
        kafka = settings.kafka.model_copy(update={"security_protocol": protocol})
        try:
            connect_admin(kafka)
        except TidewatchError as error:
            told += [*traceback.format_exception(error), repr(error)]
    store = RedisStore(settings.redis)
    try:
        await store.claim("s", 0)
    except TidewatchError as error:
        told += [*traceback.format_exception(error), repr(error), repr(store)]
    await store.close()
    assert len(told) > 5
    assert CANARY not in "".join(told)


def test_metrics_hold_none(environment: dict[str, str]) -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry)
    assert CANARY.encode() not in generate_latest(registry)


@pytest.mark.parametrize("text", [
    f'[kafka]\nsasl_password = ["{CANARY}"]', f'[kafka]\nsasl_pasword = "{CANARY}"', f'[redis]\nurl = {{a = "{CANARY}"}}',
    f'[worker]\nmetrics_token = 1\nmetrics_tokens = "{CANARY}"', f'[kafka]\nkey_password = "{CANARY}',
])  # fmt: skip
def test_a_secret_in_the_wrong_place_is_not_repeated_by_the_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises((ValidationError, SettingsError)) as told:
        load_settings(tmp_path / "wrong.toml")
    assert CANARY not in one_line(told.value)
    said = tidewatch("config", "show", "--config", "wrong.toml", cwd=tmp_path)
    assert said.returncode == 2
    assert CANARY not in said.stdout + said.stderr


def test_secrets_come_from_files_and_the_environment_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(clean_environment().keys() ^ os.environ.keys()):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "password").write_text("from a file: ü \n")
    (tmp_path / "t.toml").write_text('[kafka]\nsasl_password = "from the settings file"\nsasl_username = "u"\n')
    monkeypatch.setenv("TIDEWATCH_KAFKA__SASL_PASSWORD_FILE", str(tmp_path / "password"))
    read = load_settings(tmp_path / "t.toml").kafka
    assert (read.sasl_password.get_secret_value(), read.sasl_username) == ("from a file: ü ", "u")
    monkeypatch.setenv("TIDEWATCH_KAFKA__SASL_PASSWORD", "from the environment")
    assert load_settings(tmp_path / "t.toml").kafka.sasl_password.get_secret_value() == "from the environment"
    monkeypatch.setenv("TIDEWATCH_KAFKA__SASL_PASSWORD_FILE", str(tmp_path / "nothing"))
    with pytest.raises(
        SettingsError, match=r"TIDEWATCH_KAFKA__SASL_PASSWORD_FILE: .*nothing cannot be read: No such file"
    ):
        load_settings(tmp_path / "t.toml")


def test_a_name_that_is_no_secret_has_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEWATCH_KAFKA__BROKERS_FILE", "x")
    with pytest.raises(SettingsError, match="brokers_file"):
        load_settings(None)
