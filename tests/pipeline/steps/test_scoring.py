"""Who scores, and with whom together: a backlog at once, a few windows with those of others, and patience from when a pass begins."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.steps import scoring
from pipeline.steps.scoring import MemberScores, Scorer, ScoringHung


class Counting(Scorer):
    """Says what each pass was given, and takes `seconds` for it."""

    def __init__(self, executor: ThreadPoolExecutor, seconds: float = 0.0, **more: Any) -> None:
        super().__init__(SimpleNamespace(detector_name="it", detectors=[0], channels=1), executor=executor, **more)  # type: ignore[arg-type]
        self.passes: list[int] = []
        self.seconds = seconds

    def score_now(self, x: NDArray[np.float32]) -> MemberScores:
        self.passes.append(len(x))
        time.sleep(self.seconds)
        return MemberScores(x[:, 0, :1].astype(np.float64), None, None, {})


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def windows(n: int, value: float = 0.0) -> NDArray[np.float32]:
    return np.full((n, 2, 1), value, np.float32)


async def test_few_windows_go_together_and_a_backlog_by_itself(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "_PLENTY", 100)
    scorer = Counting(executor, 0.05)
    sizes = [3, 100, 4, 250, 5]
    got = await asyncio.gather(*(scorer.score(windows(n, n)) for n in sizes))
    assert [(len(s.raw), set(s.raw[:, 0])) for s in got] == [(n, {float(n)}) for n in sizes]
    assert sorted(scorer.passes) == [12, 100, 250]


async def test_whoever_queues_is_not_hung_and_whoever_hangs_is_told(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "_PLENTY", 1)
    patient = Counting(executor, 0.7, timeout=timedelta(seconds=2))
    assert (
        len(await asyncio.gather(*(patient.score(windows(2)) for _ in range(4)))) == 4
    )  # the last waits for longer than that
    hanging = Counting(executor, 1.0, timeout=timedelta(seconds=0.2))
    with pytest.raises(ScoringHung, match="scoring 7 windows with it took longer than 0 s"):
        await hanging.score(windows(7))


class Threads(Counting):
    """Says which threads the passes ran in."""

    def __init__(self, executor: ThreadPoolExecutor, **more: Any) -> None:
        super().__init__(executor, **more)
        self.threads: list[int] = []

    def score_now(self, x: NDArray[np.float32]) -> MemberScores:
        self.threads.append(threading.get_ident())
        return super().score_now(x)


async def test_passes_that_were_short_run_on_the_event_loop_and_others_do_not(executor: ThreadPoolExecutor) -> None:
    here, scorer = threading.get_ident(), Threads(executor, hung=pytest.fail)

    async def on_the_loop(n: int) -> bool:
        assert len((await scorer.score(windows(n))).raw) == n
        return scorer.threads[-1] == here

    scorer.seconds = 0.001
    assert not await on_the_loop(10)  # nobody knows yet how long it takes
    assert await on_the_loop(10)
    assert not await on_the_loop(4000)  # expected: 400 ms
    scorer.seconds = 0.02
    await on_the_loop(10)
    assert not await on_the_loop(10)
    scorer.seconds = 0.001
    await on_the_loop(10)
    assert await on_the_loop(10)


async def test_two_passes_are_never_at_a_detector_at_once(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "_PLENTY", 100)
    here, scorer = threading.get_ident(), Threads(executor, hung=pytest.fail)
    for _ in range(2):
        await scorer.score(windows(10))
    assert scorer.threads[-1] == here
    scorer.seconds = 0.1
    many = asyncio.create_task(scorer.score(windows(100)))
    await asyncio.sleep(0.02)
    scorer.seconds = 0.0
    few = asyncio.create_task(scorer.score(windows(10)))
    await asyncio.sleep(0)
    many.cancel()  # its partition was taken away; the pass goes on
    await few
    assert scorer.threads[-1] != here


async def test_a_pass_that_hangs_on_the_event_loop_is_told_by_another_thread(executor: ThreadPoolExecutor) -> None:
    told: list[ScoringHung] = []
    scorer = Counting(executor, timeout=timedelta(seconds=0.2), hung=told.append)
    for _ in range(3):
        await scorer.score(windows(7))
    await asyncio.sleep(0.5)
    assert not told  # none runs
    scorer.seconds = 0.6
    await scorer.score(windows(7))
    assert [str(hung)[:54] for hung in told] == ["scoring 7 windows with it took longer than 0 s; use a "]
