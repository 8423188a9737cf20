"""All errors of Tidewatch, and how they end.

    TidewatchError                 anything below; the command line prints its one line and exits with 2
    ├── SettingsError              a setting is missing or wrong; names it and the mend
    ├── ModelError                 a model file is missing, damaged or of another shape
    ├── BrokerError                Kafka cannot be reached or refuses
    │   └── Denied                 its user lacks a right
    ├── Dropped                    a partition belongs to another worker now; ends its loop, not the process
    └── StoreError                 Redis cannot be reached or refuses; retried with back-pressure while running
        ├── Refused                a checkpoint was not written: the nonce or sequence is not the stored one
        └── ForeignState           the stored state belongs to another cluster, topic, model or settings

The packages below have their own roots, `producers.errors.ProducerError` (a data file is missing, damaged or cannot be read)
and `detectors.base.DetectorError`; the command line treats all three alike.

A bad *record* is not an error: it becomes a dead letter (`pipeline.alerts.records.DeadLetter`).
"""

from __future__ import annotations


class TidewatchError(Exception):
    """Base of all; `str(error)` is one line that names the thing and the mend."""


class SettingsError(TidewatchError):
    """A setting is missing or wrong."""


class ModelError(TidewatchError):
    """A model file is missing, damaged or does not fit the stream."""


class BrokerError(TidewatchError):
    """Kafka cannot be reached or refuses."""


class Denied(BrokerError):
    """Kafka's user lacks a right; the message names it."""


class Dropped(TidewatchError):
    """The partition belongs to another worker now; what was held of it is forgotten."""


class StoreError(TidewatchError):
    """The state store cannot be reached or refuses."""


class Refused(StoreError):
    """A checkpoint was not written because somebody else's nonce or sequence is stored."""


class ForeignState(StoreError):
    """The stored state belongs to another cluster, topic, model or settings and must not be applied."""
