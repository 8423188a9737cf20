"""One embedded broker of each kind for all tests that need no more than topics of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.embedded import servers


@pytest.fixture(scope="session")
def embedded_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers; each test makes topics of its own."""
    with servers.start_kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server.address


@pytest.fixture(scope="session")
def tansu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same of the broker that serves where Apache Kafka cannot be had."""
    with servers.start_tansu(tmp_path_factory.mktemp("tansu")) as server:
        yield server.address
