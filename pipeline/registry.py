"""The schema registry of the settings, and what is fetched from it for those that are no worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from pipeline.settings import RegistrySettings
from producers.formats.registry.client import Registry
from producers.formats.registry.schemas import Schema, Unknown

Batch = TypeVar("Batch", contravariant=True)


class Learner(Protocol[Batch]):
    """Who reads values with schemas: `pipeline.steps.decoding.Decoder`."""

    def missing(self, batch: Batch, /) -> set[int]:
        """Ids of schemas that are not at hand."""

    def learn(self, found: Mapping[int, Schema | Unknown], /) -> None:
        """Take what was found."""


def registry_of(settings: RegistrySettings) -> Registry | None:
    """The registry; None where none is set."""
    if not settings.url:
        return None
    return Registry(
        settings.url,
        username=settings.username,
        password=settings.password.get_secret_value(),
        token=settings.token.get_secret_value(),
        ca_file=settings.ca_file,
        timeout=settings.timeout.total_seconds(),
    )


def learn_now(decoder: Learner[Batch], batch: Batch, registry: Registry | None) -> None:
    """Fetch the schemas that a batch needs. Raises RegistryError where the registry cannot be asked."""
    while registry is not None and (ids := decoder.missing(batch)):
        decoder.learn(registry.fetch_now(ids))
