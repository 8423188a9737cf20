"""The stream: what happens between an observation on a Kafka topic and an alert on another, and all that people need around it.

The folders follow the way of a record, each above what it uses; `make lint` holds the order:

    commands/     one file per verb of `tidewatch`; cli.py lists them
    dashboard/    the page                        demo/    the main job in a minute
    app.py        the only place where a worker is put together
    operations/   doctor, stored states, dead letters, metrics and health      offline/  the same steps over files
    partition/    the life of one partition: batches in, alerts out, checkpoints; knows no Kafka
    alerts/       the life of an alert, its records, and those who read them
    kafka/        everything that speaks to a broker
    steps/        pure arrays: decode, windows, scores, state
    settings/, embedded/, addresses.py, errors.py, logs.py     the ground

Begin with `pipeline.partition.core` (the steps in order), then `pipeline.partition.loop`. docs/architecture.md walks through all of it.
As a library: `score_dataset`, `train`, `plot`, `AlertSubscriber` and what else `__all__` lists; docs/library.md shows them in use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import detectors  # noqa: F401  # before any module here loads torch: it sets how MKL sums

__all__ = [
    "Alert",
    "AlertSubscriber",
    "ScoredRows",
    "TidewatchError",
    "compare",
    "load_settings",
    "plot",
    "score_dataset",
    "train",
]

_HOME = {
    "score_dataset": "pipeline.offline.scorefile",
    "train": "pipeline.offline.scoring.ready",
    "compare": "pipeline.offline.comparing",
    "ScoredRows": "pipeline.offline.scoring.rows",
    "plot": "pipeline.offline.picture",
    "AlertSubscriber": "pipeline.alerts.subscribe",
    "Alert": "pipeline.alerts.records",
    "load_settings": "pipeline.settings",
    "TidewatchError": "pipeline.errors",
}
"""Where each name is made; it is brought when it is first asked for."""

if TYPE_CHECKING:
    from pipeline.alerts.records import Alert
    from pipeline.alerts.subscribe import AlertSubscriber
    from pipeline.errors import TidewatchError
    from pipeline.offline.comparing import compare
    from pipeline.offline.picture import plot
    from pipeline.offline.scorefile import score_dataset
    from pipeline.offline.scoring.ready import train
    from pipeline.offline.scoring.rows import ScoredRows
    from pipeline.settings import load_settings
else:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
