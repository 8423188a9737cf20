"""docs/settings.md, generated from the typed table, so that no setting can lack its sentence; and settings as TOML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from inspect import cleandoc
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import tomli_w
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.settings import IntakeSettings, Settings, StreamSettings, duration_text

_HEAD = """\
# Settings

<!-- Generated from pipeline/settings/ by `make docs`; do not edit. -->

Tidewatch reads its settings once, at start-up: from the TOML file that `--config` or `TIDEWATCH_CONFIG` names (else
`./tidewatch.toml` where there is one), and over it from environment variables. `tidewatch config show` prints what holds,
secrets masked; `tidewatch doctor` tries it. A setting that does not exist is an error, not a shrug.

A secret (a password, a token, the Redis address) may come from a file of its own, as Docker and Kubernetes mount them: its
environment variable with `_FILE` at the end names it, `TIDEWATCH_KAFKA__SASL_PASSWORD_FILE=/run/secrets/kafka`.

Durations are written `200ms`, `90s`, `5m`, `6h`, `7d`; a bare number is seconds. Calibrated scores are -log10 of the tail
probability in the series' own history, 0 to 12: 3 is one in a thousand.
"""

_EXAMPLE = """\
```toml
[kafka]
brokers = "kafka-1:9092,kafka-2:9092"

[redis]
url = "redis://redis:6379/0"

[[streams]]
name = "payments"
model = "models/payments.tidewatch"   # relative to this file

[streams.alerts]
hold = "10m"
```
"""


def reference() -> str:
    """The whole of docs/settings.md."""
    sections = [_HEAD, _EXAMPLE]
    for name, field in Settings.model_fields.items():
        if name not in ("streams", "intake"):
            sections.append(_section(f"[{name}]", f"TIDEWATCH_{name.upper()}__", _table_of(field)))
    sections.append(_section("[[streams]]", "", StreamSettings))
    for name, field in StreamSettings.model_fields.items():
        if _is_table(field.annotation):
            sections.append(_section(f"[streams.{name}]", "", _table_of(field)))
        elif (one := _one_of(field.annotation)) is not None:
            sections.append(_section(f"[[streams.{name}]]", "", one))
    sections.append(_section("[[intake]]", "", IntakeSettings))
    for name, field in IntakeSettings.model_fields.items():
        if _is_table(field.annotation):
            sections.append(_section(f"[intake.{name}]", "", _table_of(field)))
    return "\n".join(sections)


def shown(settings: Settings) -> str:
    """The settings that hold, as TOML; secrets are masked, and what is not set is left out."""
    return tomli_w.dumps(plain(settings.model_dump()))


def as_toml(tables: dict[str, Any]) -> str:
    """Settings to be written to a file, as TOML; durations and paths as people write them, lists of tables one after the other."""
    plainly = plain(tables)
    lists = {name: of for name, of in plainly.items() if isinstance(of, list) and of and isinstance(of[0], dict)}
    texts = [tomli_w.dumps({name: of for name, of in plainly.items() if name not in lists})]
    for name, of in lists.items():
        texts += [tomli_w.dumps({name: table}).replace(f"[{name}]\n", f"[[{name}]]\n", 1) for table in of]
    return "\n".join(text for text in texts if text)


def masked_url(url: str) -> str:
    """An address without its password.

    >>> masked_url("redis://worker:secret@redis:6379/0")
    'redis://worker:***@redis:6379/0'
    """
    front, question, query = url.partition("?")
    scheme, _, rest = front.partition("://")
    credentials, at, hosts = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    shown = f"{scheme}://{f'{user}:***' if colon else user}{at}{hosts}"
    return shown + question + re.sub(r"(?<=password=)[^&]*", "***", query)


def _section(title: str, prefix: str, table: type[BaseModel]) -> str:
    lines = [f"## `{title}`", "", cleandoc(table.__doc__ or ""), ""]
    if prefix:
        lines += [f"Environment variables: `{prefix}` and the setting's name in capitals.", ""]
    elif title.startswith("[["):
        name = title.strip("[]")
        lines += [
            f"One such table per {name.removesuffix('s')}. As environment variable: `TIDEWATCH_{name.upper()}`, a JSON list.",
            "",
        ]
    lines += ["| setting | default | meaning |", "|---|---|---|"]
    lines += [f"| `{n}` | {_default(f)} | {_meaning(f)} |" for n, f in _own_fields(table)]
    return "\n".join([*lines, ""])


def _own_fields(table: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    return ((n, f) for n, f in table.model_fields.items() if not _is_table(f.annotation))


def _is_table(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _one_of(annotation: Any) -> type[BaseModel] | None:
    """The table that a list of tables holds."""
    inner = get_args(annotation)[0] if get_origin(annotation) is tuple else None
    return inner if _is_table(inner) else None


def _table_of(field: FieldInfo) -> type[BaseModel]:
    annotation = field.annotation
    assert isinstance(annotation, type)
    assert issubclass(annotation, BaseModel)
    return annotation


def _default(field: FieldInfo) -> str:
    default = field.default
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, timedelta):
        return f"`{duration_text(default)}`"
    if default in ((), {}):
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`" if default not in (None, "") else "none"


def _meaning(field: FieldInfo) -> str:
    text = field.description or ""
    if get_origin(field.annotation) is Literal:
        text += f" One of {', '.join(f'`{choice}`' for choice in get_args(field.annotation))}."
    return text.replace("|", "\\|")


def plain(value: Any) -> Any:
    """Only what TOML knows."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump())
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return masked_url(secret) if "://" in secret else "***" if secret else ""
    if isinstance(value, timedelta):
        return duration_text(value)
    return str(value) if isinstance(value, Path) else value
