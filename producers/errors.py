"""Errors of the producers; `str(error)` is one line that names the thing and the mend."""


class ProducerError(Exception):
    """Base of all errors of this package."""


class DataError(ProducerError):
    """A data file is missing, damaged or cannot be read; names the file, and the row and column where there is one."""


class DeliveryError(ProducerError):
    """Kafka did not take all records."""


class ConnectionFailed(ProducerError):
    """Kafka cannot be reached, or refuses the topic."""


class RegistryError(ProducerError):
    """The schema registry cannot be asked now: it does not answer, refuses, or what answers is none."""
