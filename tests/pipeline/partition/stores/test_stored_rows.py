"""A partition's rows, in pages and beside them, through a real Redis server: checkpoints, snapshots of earlier ones, packed and not."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from pipeline.embedded.servers import start_redis
from pipeline.partition.stores.base import Identity
from pipeline.partition.stores.redis import RedisStore
from pipeline.settings import RedisSettings
from pipeline.steps.state import PAGE, PartitionState
from pipeline.steps.stored.pieces import folded

IDENTITY = Identity(cluster_id="c", topic_id="t", stream="taxi", numerics="cpu", format=4)
COMPONENTS = {"windows": np.dtype([("values", "<f8", (3,)), ("count", "<i4")])}


@pytest.mark.embedded
async def test_what_is_loaded_is_what_was_held_and_so_is_each_snapshot(tmp_path: Path) -> None:
    chance, state = random.Random(5), PartitionState(COMPONENTS, max_series=10_000)
    with start_redis(tmp_path) as server:
        store = RedisStore(RedisSettings(url=SecretStr(server.url)))
        claim, kept = await store.claim("taxi", 0), {}
        for n in range(60):
            share = 1.0 if n in (0, 41) else chance.choice((0.003, 0.02, 0.1))
            names = [f"s{i}" for i in range(20 * PAGE + 3 * n) if chance.random() < share]
            rows, _ = state.rows_of(names)
            state.arrays["windows"]["count"][rows] = n
            state.touch(rows)
            if n % 9 == 5:
                state.drop(chance.sample(range(20 * PAGE), 3))
            state.scalars["n"], everything = n, n == 50
            changed, snapshot = state.snapshot(everything=everything), n if n % 7 == 3 else None
            claim = await store.save(
                claim, n, IDENTITY, changed, write_id=f"w{n}", replace=everything, snapshot=snapshot
            )
            state.clean(everything=everything)
            if snapshot is not None:
                kept[n] = state.snapshot(everything=True)
            if n % 13 == 12:  # a restart
                claim = await store.claim("taxi", 0)
                stored, held = await store.load(claim), state.snapshot(everything=True)
                assert stored is not None
                assert any(name.startswith("rows:") for name in stored.fields)
                state = PartitionState(COMPONENTS, max_series=10_000)
                state.restore(stored.fields)
                assert state.snapshot(everything=True) == folded(stored.fields) == held
        for packed in (False, True):
            while packed and await store.pack(claim):
                pass
            snapshots = await store.snapshots("taxi", 0)
            assert [s.at for s in snapshots] == list(kept)
            for told in snapshots:
                found = await store.snapshot("taxi", 0, told.number)
                assert found is not None
                assert folded(found.fields) == kept[told.at]
        last = await store.peek("taxi", 0)
        assert last is not None
        assert folded(last.fields) == state.snapshot(everything=True)
        await store.close()
