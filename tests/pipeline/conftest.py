"""One embedded broker for all tests that need no more than topics of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.embedded import servers


@pytest.fixture(scope="session")
def embedded_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a broker in memory; each test makes topics of its own."""
    with servers.start_kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server.address
