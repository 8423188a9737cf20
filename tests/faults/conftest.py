"""Three brokers and one undisturbed run for the whole suite; a World and a Redis of its own for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from faults.recording import DENSE, Recording, record, train
from faults.world import Outcome, World
from kafka_fixtures import PATIENCE, QUICK_CLEANERS, broker, skip_or_fail


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Three brokers of 400 MB heap each: one may be lost."""
    module: ModuleType = broker
    if missing := module.missing_tools():
        skip_or_fail(missing)
    brokers = module.Cluster(brokers=3, heap_mb=400, properties=QUICK_CLEANERS, patience=PATIENCE)
    try:
        try:
            brokers.start()
        except module.KafkaSlow:  # nothing is missing
            raise
        except module.KafkaUnavailable as error:
            skip_or_fail(str(error))
        yield brokers
    finally:
        brokers.stop()


@pytest.fixture(scope="session")
def recording(data_dir: Path) -> Recording:
    """The log."""
    return record()


@pytest.fixture(scope="session")
def model(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model file."""
    return train(tmp_path_factory.mktemp("model") / "small.model")


@pytest.fixture(scope="session")
def dense_model(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model file with a dense autoencoder in the LSTM's place."""
    return train(tmp_path_factory.mktemp("model") / "dense.model", DENSE)


@pytest.fixture
def new_world(cluster: Any, recording: Recording, model: Path, tmp_path: Path) -> Iterator[Callable[..., World]]:
    """`new_world(checkpoint_every="5s")`: settings of the workers; `persistent=True`: Redis keeps a file; `file`: the model's."""
    with ExitStack() as worlds:

        def make(*, file: Path = model, **settings: Any) -> World:
            folder = tmp_path / f"world-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            return worlds.enter_context(World(cluster.bootstrap, file, recording, folder, **settings))

        yield make


@pytest.fixture
def world(new_world: Callable[..., World]) -> World:
    """A World with the suite's usual settings."""
    return new_world()


@pytest.fixture(scope="session")
def reference(cluster: Any, recording: Recording, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What one worker that nothing happens to makes of the log."""
    folder = tmp_path_factory.mktemp("reference")
    with World(cluster.bootstrap, model, recording, folder) as world:
        world.feed()
        world.start()
        outcome = world.finish()
    assert outcome.observations == len(recording) - recording.garbage
    assert len(outcome.letters) == recording.garbage
    assert len({alert for alert, _ in outcome.alerts}) >= 24
    assert not outcome.torn
    assert not outcome.repeated
    return outcome
