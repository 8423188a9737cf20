"""Every detector of the registry passes every check; and every check fails a detector that breaks what it asks."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict

from detectors import checks
from detectors.base import Detector, DetectorConfig, DetectorError, Progress, Scores, TrainingReport
from detectors.registry import DETECTORS

CASES = [
    pytest.param(check, id=f"{name}-{check.__name__}")  # type: ignore[attr-defined]
    for name, detector in DETECTORS.items()
    for check in checks.yield_checks(detector)
]


@pytest.mark.parametrize("check", CASES)
def test_detector(check: Callable[[], None]) -> None:
    check()


class Config(DetectorConfig):
    window: int = 4


class Sound(Detector):
    """Scores by the distance from the mean of the fitted windows; everything below breaks one thing of it."""

    name = "sound"
    summary = "for tests"
    Config = Config

    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        self.mean = np.median(x, axis=0)
        return TrainingReport()

    def _score(self, x: NDArray[np.float32]) -> Scores:
        off = np.abs(x - self.mean)[:, -1].astype(np.float64)
        return Scores(off.sum(axis=1), None, off.astype(np.float32))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"mean": self.mean}

    def _load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        if arrays.keys() != {"mean"}:
            msg = f"{self.name} keeps mean, got {', '.join(arrays)}"
            raise DetectorError(msg)
        self.mean = arrays["mean"]


class Careless(Config):
    model_config = ConfigDict(extra="ignore")


class TakesAnySetting(Sound):
    Config = Careless


class Learns(Sound):
    def _score(self, x: NDArray[np.float32]) -> Scores:
        scores = super()._score(x)
        self.mean = self.mean + np.float32(0.01)
        return scores


class TossesCoins(Sound):
    def _score(self, x: NDArray[np.float32]) -> Scores:
        scores = super()._score(x)
        return Scores(scores.raw + torch.rand(1).item() * 0.0)


class WritesToItsInput(Sound):
    def score(self, x: Any) -> Scores:
        scores = super().score(x)
        x[0] = 0.0
        return scores


class OneScoreForAll(Sound):
    def _score(self, x: NDArray[np.float32]) -> Scores:
        scores = super()._score(x)
        return Scores(scores.raw, None, -scores.raw[:, None].astype(np.float32))


class LooksAtItsNeighbours(Sound):
    def _score(self, x: NDArray[np.float32]) -> Scores:
        scores = super()._score(x)
        return Scores(scores.raw * (1.0 + 1e-15 * np.arange(len(x))))


class LongConfig(DetectorConfig):
    window: int = 48


class FreeBatches(Sound):
    """What the tiles are there for: a kernel that cuts its sums into blocks by the size of whatever batch comes."""

    Config = LongConfig

    def score(self, x: Any) -> Scores:
        flat = self._checked(x, finite=False)[:, :, 0]
        parts = np.split(flat, [len(flat) % flat.shape[1]], axis=1)
        return Scores(np.sum([part.sum(axis=1) for part in parts], axis=0, dtype=np.float32).astype(np.float64))


def peeling_sum(a: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums of rows, in the way of a kernel that takes elements apart up to a cache line: other bits at other places."""
    head = -a.ctypes.data % 64 // a.itemsize % a.shape[1]
    return np.asarray(a[:, :head].sum(axis=1, dtype=np.float32) + a[:, head:].sum(axis=1, dtype=np.float32))


class Peels(Sound):
    """Its kernel is of that kind: right as long as it is given tiles."""

    Config = LongConfig

    def _score(self, x: NDArray[np.float32]) -> Scores:
        return Scores(peeling_sum(x[:, :, 0]).astype(np.float64) + super()._score(x).raw)


class PeelsWhereItLies(Peels):
    """What the buffer is there for: whatever memory the caller has."""

    def score(self, x: Any) -> Scores:
        return self._score(self._checked(x, finite=False))


class PeelsItsWeights(Sound):
    Config = LongConfig

    def _score(self, x: NDArray[np.float32]) -> Scores:
        return Scores(super()._score(x).raw + peeling_sum(self.mean.T))


class KeepsASecret(Sound):
    def _fit(self, *args: Any) -> TrainingReport:
        self.secret = 1.0
        return super()._fit(*args)

    def _score(self, x: NDArray[np.float32]) -> Scores:
        return Scores(super()._score(x).raw + getattr(self, "secret", 0.0))


class UnseededWeights(Sound):
    def _fit(self, *args: Any) -> TrainingReport:
        report = super()._fit(*args)
        self.mean = self.mean + torch.randn(1).numpy() * 1e-3
        return report


class SpreadsNaN(Sound):
    def score(self, x: Any) -> Scores:
        x = self._checked(x, finite=False)
        scores = self._score(x)
        return Scores(scores.raw + 0.0 * x.sum())


class Overflows(Sound):
    def score(self, x: Any) -> Scores:
        with np.errstate(over="ignore", invalid="ignore"):
            raw = np.square(self._checked(x, finite=False)).sum(axis=(1, 2))
        return Scores(np.where(np.isfinite(raw), raw, np.nan).astype(np.float64))


class TakesAnyShape(Sound):
    def score(self, x: Any) -> Scores:
        return Scores(np.zeros(len(x)))


class UpsideDown(Sound):
    def _score(self, x: NDArray[np.float32]) -> Scores:
        return Scores(-super()._score(x).raw)


class BelievesEverything(Sound):
    """Takes the most extreme window that it was fitted on for normal."""

    def _fit(self, x: NDArray[np.float32], *args: Any) -> TrainingReport:
        self.mean = np.stack([x.min(axis=0), x.max(axis=0)])
        return TrainingReport()

    def _score(self, x: NDArray[np.float32]) -> Scores:
        outside = np.maximum(self.mean[0] - x, x - self.mean[1])[:, -1]
        return Scores(np.maximum(outside, 0.0).sum(axis=1).astype(np.float64))


class SaysOtherwiseAlone(Sound):
    defers = True

    def _raw(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(np.nextafter(super()._score(x).raw, np.inf))


class TellsLess(Sound):
    defers = True
    tells = (True, False)


class AllAtOnce(Sound):
    def score(self, x: Any, *, tell: bool = True) -> Scores:
        scores = super().score(x)
        hoard = np.ones((len(x), 400))
        return Scores(scores.raw + 0.0 * hoard[:, 0], None, scores.contributions)


BROKEN = [
    (TakesAnySetting, checks.check_settings_round_trip, "names that they do not know"),
    (Learns, checks.check_score_is_pure, "scored twice"),
    (TossesCoins, checks.check_score_is_pure, "torch's random generator"),
    (WritesToItsInput, checks.check_score_is_pure, "wrote to its input|scored twice"),
    (OneScoreForAll, checks.check_scores_have_the_stated_shapes, "negative"),
    (LooksAtItsNeighbours, checks.check_batches_do_not_matter, "differ in their bits"),
    (FreeBatches, checks.check_batches_do_not_matter, "differ in their bits"),
    (SaysOtherwiseAlone, checks.check_raw_scores_alone_are_the_same, "1 alone: 1 of 1 raw differ in their bits"),
    (TellsLess, checks.check_raw_scores_alone_are_the_same, "tells is"),
    (PeelsWhereItLies, checks.check_places_in_memory_do_not_matter, "windows 4 bytes behind a cache line"),
    (PeelsItsWeights, checks.check_places_in_memory_do_not_matter, r"what was learnt \d+ bytes behind a cache line"),
    (KeepsASecret, checks.check_model_file_round_trip, "loaded from a model file"),
    (UnseededWeights, checks.check_same_seed_same_weights, "mean differs"),
    (SpreadsNaN, checks.check_broken_windows_get_nan_alone, "beside a window with nan"),
    (Overflows, checks.check_broken_windows_get_nan_alone, "no finite score"),
    (TakesAnyShape, checks.check_wrong_input_is_refused, "raised no"),
    (UpsideDown, checks.check_planted_anomalies_rank_first, "least planted"),
    (BelievesEverything, checks.check_anomalies_in_training_do_not_ruin_it, "rank first"),
    (AllAtOnce, checks.check_memory_is_bounded, "took"),
]


@pytest.mark.parametrize(("detector", "check", "says"), BROKEN)
def test_a_check_fails_a_detector_that_breaks_what_it_asks(
    detector: type[Detector], check: checks.Check, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detectors.registry.DETECTORS", {**DETECTORS, detector.name: detector})
    with pytest.raises(AssertionError, match=says):
        check(detector)


def test_memory_that_comes_free_while_scoring_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage in a cycle that is collected just then made the check blind once."""

    class CollectsMeanwhile(AllAtOnce):
        def score(self, x: Any) -> Scores:
            if len(x) > 10_000:
                gc.collect()
            return super().score(x)

    monkeypatch.setattr("detectors.registry.DETECTORS", {**DETECTORS, CollectsMeanwhile.name: CollectsMeanwhile})
    cycle: list[Any] = [np.ones((25_000, 400))]
    cycle.append(cycle)
    del cycle
    with pytest.raises(AssertionError, match="took"):
        checks.check_memory_is_bounded(CollectsMeanwhile)


@pytest.mark.parametrize("detector", [Sound, Peels])
def test_a_sound_detector_passes_them_all(detector: type[Detector], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.registry.DETECTORS", {**DETECTORS, "sound": detector})
    for check in checks.yield_checks(detector):
        if detector is Sound or check.__name__ in {  # type: ignore[attr-defined]
            "check_batches_do_not_matter",
            "check_places_in_memory_do_not_matter",
        }:
            check()


def test_without_the_buffer_of_their_own_the_tiles_of_a_kernel_that_peels_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The check sees what it is there for on every CPU: here the tile lies where chance has it."""
    places = itertools.cycle(range(0, 64, 4))
    monkeypatch.setattr(
        "detectors.base.aligned", lambda shape, dtype: checks._lying(np.empty(shape, dtype), next(places))
    )
    with pytest.raises(AssertionError, match="windows 4 bytes behind a cache line"):
        checks.check_places_in_memory_do_not_matter(Peels)


def test_every_check_has_a_detector_that_it_fails() -> None:
    needs_a_gpu = {"check_cpu_and_cuda_agree"}
    every = {check.__name__ for check in checks.yield_checks(Sound)}  # type: ignore[attr-defined]
    assert {check.__name__ for _, check, _ in BROKEN} == every - needs_a_gpu
