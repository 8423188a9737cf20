"""Windows to raw scores: forward passes joined over partitions, off the event loop where they take long, guarded against a detector's faults.

While one forward pass runs, the windows of other partitions gather and go into the next one (`max_batch_size`,
`batch_wait`); a backlog has enough of its own, and queues. Joining changes no score: a detector's scores are bit-equal for every batch (`detectors.base`).
A pass of few windows runs on the event loop: two threads that need Python's lock by turns wait for each other longer than it takes.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import structlog
from numpy.typing import NDArray

from detectors.base import Detector, Scores
from detectors.model import Model
from pipeline.errors import TidewatchError
from pipeline.steps.bands import band_member
from pipeline.steps.batches.later import Later
from pipeline.steps.hanging import Watch

log = structlog.get_logger(__name__)

_PLENTY = 8192
"""Windows that no device scores faster together with more: they do not wait for those of others."""

_SHORT = 0.004  # s that a pass may hold up the event loop; Kafka's heartbeats have a thread of their own


class ScoringHung(TidewatchError):
    """A forward pass did not come back in time; the process ends and its restart resumes from the checkpoint."""


@dataclass(frozen=True, slots=True)
class MemberScores:
    """Raw scores (B, M) of all members; expected values and contributions (B, C) of the first member that has them.

    Where a member's raw score is a residual, the expected values are that member's, since the band is drawn around them.

    `raw` is NaN where a member could not score a window; the reason is in `faults` (index -> text).
    `each`: of rows of a table the contributions of every member, None of one that has none.
    """

    raw: NDArray[np.float64]
    expected: NDArray[np.float32] | Later | None
    contributions: NDArray[np.float32] | Later | None
    faults: dict[int, str]
    each: tuple[NDArray[np.float32] | Later | None, ...] = ()

    def part(self, start: int, stop: int) -> MemberScores:
        """Rows start..stop, as if they had been scored alone."""
        return MemberScores(
            self.raw[start:stop],
            _part(self.expected, start, stop),
            _part(self.contributions, start, stop),
            {i - start: reason for i, reason in self.faults.items() if start <= i < stop},
            tuple(_part(of, start, stop) for of in self.each),
        )


def _part(of: NDArray[np.float32] | Later | None, start: int, stop: int) -> NDArray[np.float32] | Later | None:
    return of.part(start, stop) if isinstance(of, Later) else None if of is None else of[start:stop]


def _defers(model: Model) -> bool:
    """Whether more than the raw scores is worked out for the few rows that are asked about: of tables whose members can, all of them."""
    return model.outlying is not None and all(detector.defers for detector in model.detectors)


def _deferred(model: Model, x: NDArray[np.float32]) -> tuple[Later | None, Later | None, tuple[Later | None, ...]]:
    """Expected values and contributions of the first member that has them, and the contributions of each, of windows (B, 1, C)."""

    def told(name: str, m: int) -> Later:
        detector, shape = model.detectors[m], (len(x), model.channels)

        def of(at: NDArray[np.intp]) -> NDArray[np.float32]:
            found: NDArray[np.float32] | None = getattr(_guarded(detector, x[at], 0, {}), name)
            return np.full((len(at), shape[1]), np.nan, np.float32) if found is None else found

        return Later(shape, np.float32, of)

    members = range(len(model.detectors))
    expects = [m for m in members if model.detectors[m].tells[0]]
    each = tuple(told("contributions", m) if model.detectors[m].tells[1] else None for m in members)
    expected = next((m for m in expects if m == band_member(model)), *expects[:1]) if expects else None
    return (
        None if expected is None else told("expected", expected),
        next((c for c in each if c is not None), None),
        each,
    )


def score_members(model: Model, x: NDArray[np.float32]) -> MemberScores:
    """Score windows (B, T, C + F) with every member of the model, in the calling thread."""
    raw = np.empty((len(x), len(model.detectors)))
    expected: NDArray[np.float32] | None = None
    contributions: NDArray[np.float32] | None = None
    faults: dict[int, str] = {}
    each: list[NDArray[np.float32] | None] = []
    deferred = _deferred(model, x) if _defers(model) else None
    for m, detector in enumerate(model.detectors):
        scores = _guarded(detector, x[:, -detector.config.window :], 0, faults, tell=deferred is None)
        raw[:, m] = scores.raw
        expected = scores.expected if expected is None or m == band_member(model) else expected
        contributions = scores.contributions if contributions is None else contributions
        each += [scores.contributions] if model.kind == "table" else []
    finite = np.isfinite(raw)
    if not finite.all():
        for i in np.flatnonzero(~finite.all(axis=1)):
            faults.setdefault(int(i), "the detector's score is not a number")
    if faults:
        raw[list(faults)] = np.nan
    if deferred is not None:
        return MemberScores(raw, *deferred[:2], faults, deferred[2])
    return MemberScores(raw, expected, contributions, faults, tuple(each))


def _guarded(
    detector: Detector, x: NDArray[np.float32], start: int, faults: dict[int, str], *, tell: bool = True
) -> Scores:
    """Score, and where the detector raises, halve until the offending windows are found; they get NaN.

    Running out of memory is nobody's fault: the halves are tried one after the other.
    """
    try:
        return detector.score(x) if tell else detector.score(x, tell=False)
    except Exception as error:  # it may raise anything, and one window must not stop the stream
        if len(x) <= 1:
            faults[start] = f"{detector.name} raised {type(error).__name__}: {error}"
            return Scores(np.full(len(x), np.nan))
        log.warning("detector raised, halving the batch", detector=detector.name, windows=len(x), error=repr(error))
    half = len(x) // 2
    parts = [_guarded(detector, x[a:b], start + a, faults, tell=tell) for a, b in ((0, half), (half, len(x)))]
    channels = detector.config.channels
    return Scores(
        np.concatenate([p.raw for p in parts]),
        _joined([p.expected for p in parts], [len(p.raw) for p in parts], channels),
        _joined([p.contributions for p in parts], [len(p.raw) for p in parts], channels),
    )


def _joined(
    parts: Sequence[NDArray[np.float32] | Later | None], lengths: list[int], channels: int
) -> NDArray[np.float32] | None:
    if all(p is None for p in parts):
        return None
    filled = [
        np.full((n, channels), np.nan, np.float32) if p is None else np.asarray(p)
        for p, n in zip(parts, lengths, strict=True)
    ]
    return np.concatenate(filled)


class Scorer:
    """Scores windows of one model for all partitions of a stream.

    Parameters
    ----------
    executor
        The thread of the device (torch releases the GIL); None scores in the calling thread (offline, simulation).
    timeout
        A forward pass that takes longer raises ScoringHung.
    hung
        Told of a pass that hangs on the event loop, in another thread: it must end the process. None: no pass runs there.
    """

    def __init__(
        self,
        model: Model,
        *,
        executor: ThreadPoolExecutor | None = None,
        max_batch_size: int = 65_536,
        batch_wait: timedelta = timedelta(0),
        timeout: timedelta = timedelta(seconds=60),
        hung: Callable[[ScoringHung], object] | None = None,
    ) -> None:
        self.model = model
        self._executor = executor
        self._max = max_batch_size
        self._wait = batch_wait.total_seconds()
        self._timeout = timeout.total_seconds()
        self._watch = None if hung is None else Watch(self._timeout, lambda windows: hung(self._hangs(windows)))
        self._took = math.inf, 1  # seconds and windows of the last pass
        self._away = 0  # passes that are off the event loop: a detector has one place for its windows
        self._pending: deque[tuple[NDArray[np.float32], asyncio.Future[MemberScores]]] = deque()
        self._drainer: asyncio.Task[None] | None = None

    def score_now(self, x: NDArray[np.float32]) -> MemberScores:
        """Score in the calling thread, at most `max_batch_size` windows at a time."""
        if len(x) <= self._max:
            return score_members(self.model, x)
        parts = [(at, score_members(self.model, x[at : at + self._max])) for at in range(0, len(x), self._max)]
        channels, lengths = self.model.channels, [len(p.raw) for _, p in parts]
        raw = np.concatenate([p.raw for _, p in parts])
        faults = {at + i: reason for at, p in parts for i, reason in p.faults.items()}
        if _defers(self.model):
            expected, contributions, each = _deferred(self.model, x)
            return MemberScores(raw, expected, contributions, faults, each)
        return MemberScores(
            raw,
            _joined([p.expected for _, p in parts], lengths, channels),
            _joined([p.contributions for _, p in parts], lengths, channels),
            faults,
            tuple(_joined(list(of), lengths, channels) for of in zip(*(p.each for _, p in parts), strict=True)),
        )

    async def score(self, x: NDArray[np.float32]) -> MemberScores:
        """Score windows (B, T, C + F) off the event loop; few of them together with what other partitions bring meanwhile."""
        if self._executor is None or not len(x):
            return self.score_now(x)
        if len(x) >= _PLENTY:  # handed over at once: the loop may be busy with another partition's batch for a while
            return await self._scored(self._executor, x)
        future: asyncio.Future[MemberScores] = asyncio.get_running_loop().create_future()
        self._pending.append((x, future))
        if self._drainer is None or self._drainer.done():
            self._drainer = asyncio.create_task(self._drain(self._executor), name="scorer")
        return await future

    async def _drain(self, executor: ThreadPoolExecutor) -> None:
        while self._pending:
            if self._wait and sum(len(x) for x, _ in self._pending) < self._max:
                await asyncio.sleep(self._wait)
            batch = [self._pending.popleft()]
            size = len(batch[0][0])
            while self._pending and size + len(self._pending[0][0]) <= self._max:
                batch.append(self._pending.popleft())
                size += len(batch[-1][0])
            await self._pass(executor, batch)

    async def _pass(
        self, executor: ThreadPoolExecutor, batch: list[tuple[NDArray[np.float32], asyncio.Future[MemberScores]]]
    ) -> None:
        x = batch[0][0] if len(batch) == 1 else np.concatenate([x for x, _ in batch])
        try:
            if self._watch is not None and self._is_short(len(x)):
                with self._watch.over(len(x)):
                    scores = self._timed(x)
            else:
                scores = await self._scored(executor, x)
        except Exception as error:  # handed to everybody who waits for these windows
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        at = 0
        for part, future in batch:
            if not future.done():  # its partition may have been revoked meanwhile
                future.set_result(scores.part(at, at + len(part)))
            at += len(part)

    async def _scored(self, executor: ThreadPoolExecutor, x: NDArray[np.float32]) -> MemberScores:
        """One forward pass, with patience from when it begins. Raises ScoringHung."""
        begun: list[float] = []

        def score() -> MemberScores:
            begun.append(time.monotonic())
            return self._timed(x)

        work = asyncio.get_running_loop().run_in_executor(executor, score)
        self._away += 1
        work.add_done_callback(self._back)
        while True:
            waits = self._timeout if not begun else max(begun[0] + self._timeout - time.monotonic(), 0.001)
            done, _ = await asyncio.wait([work], timeout=waits)
            if done:
                return work.result()
            if begun and time.monotonic() - begun[0] >= self._timeout:
                raise self._hangs(len(x))

    def _timed(self, x: NDArray[np.float32]) -> MemberScores:
        began = time.perf_counter()
        scores = self.score_now(x)
        self._took = time.perf_counter() - began, len(x)
        return scores

    def _back(self, _: object) -> None:
        self._away -= 1

    def _is_short(self, windows: int) -> bool:
        """Whether a pass can begin now and should be over soon, as the last one was. Where it runs changes no score."""
        seconds, before = self._took
        return not self._away and seconds * max(windows / before, 1.0) <= _SHORT

    def _hangs(self, windows: int) -> ScoringHung:
        return ScoringHung(
            f"scoring {windows} windows with {self.model.detector_name} took longer than {self._timeout:.0f} s; "
            "use a smaller worker.max_batch_size or another device"
        )
