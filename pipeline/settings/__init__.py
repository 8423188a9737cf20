"""All settings: one typed table, read once from a TOML file and the environment, secrets kept secret.

`tidewatch.toml` (or the file that TIDEWATCH_CONFIG or `--config` names) holds them; an environment variable
`TIDEWATCH_KAFKA__BROKERS` overrides `[kafka] brokers`. A file for each part of the table; `loading.py` has the whole and how it is
read, `wrong.py` says what is wrong with it, and docs/settings.md is generated from it by `reference.py`.
"""

from __future__ import annotations

from pipeline.settings.alerting import AlertSettings, ThresholdSettings
from pipeline.settings.durations import LONGEST, Duration, duration_text
from pipeline.settings.intakes import IntakeSettings
from pipeline.settings.loading import DEFAULT_FILE, Settings, config_file, load_settings, secret_file
from pipeline.settings.records import FieldSettings
from pipeline.settings.selectors import SelectSettings
from pipeline.settings.services import KafkaSettings, RedisSettings, RegistrySettings, with_brokers
from pipeline.settings.streams import StreamSettings, with_recommended
from pipeline.settings.worker import WorkerSettings

__all__ = [
    "DEFAULT_FILE",
    "LONGEST",
    "AlertSettings",
    "Duration",
    "FieldSettings",
    "IntakeSettings",
    "KafkaSettings",
    "RedisSettings",
    "RegistrySettings",
    "SelectSettings",
    "Settings",
    "StreamSettings",
    "ThresholdSettings",
    "WorkerSettings",
    "config_file",
    "duration_text",
    "load_settings",
    "secret_file",
    "with_brokers",
    "with_recommended",
]
