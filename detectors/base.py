"""The contract of a detector: arrays in, scores out. A high score means anomalous, always.

Everything a detector needs to know of the outside is in the array it is given; it never sees Kafka, Redis, a clock or a
series' name. Scaling per series, calibration, thresholds and alerts happen around it (`detectors.model`,
`pipeline.partition.loop`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from detectors.compiling import Kernel, compiled
from detectors.memory import aligned
from detectors.numerics import threads_now

FloatArray = NDArray[np.float32] | NDArray[np.float64]


Width = Annotated[int, Field(ge=1, le=1_000_000)]
"""Units of a layer, or filters of a convolution."""

LARGEST = 1e6
"""Scaled values beyond it are taken as this: no detector's arithmetic overflows, and nothing normal is so large."""
PASS = 200
"""What a forward pass costs whatever is in it, in windows: for the networks of the default 0.2 to 0.3 ms."""


class DetectorError(ValueError):
    """A detector was given something that it cannot use; the message names the thing and the mend."""


class NotFittedError(DetectorError):
    """`score` was called before `fit`."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What a detector says of B windows.

    Attributes
    ----------
    raw : (B,) float64
        High means anomalous. The unit is the detector's own; `detectors.calibration` makes it comparable.
    expected : (B, C) float32 or None
        The value that the detector expected at the last position of each window, in the (scaled) unit of its input.
        None where the detector has no notion of it.
    contributions : (B, C) float32 or None
        How much each channel added to `raw`; not negative.
    """

    raw: NDArray[np.float64]
    expected: NDArray[np.float32] | None = None
    contributions: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a training run, handed to `fit`'s `on_progress` (a progress bar, a learning curve)."""

    epoch: int
    epochs: int
    train_loss: float
    validation_loss: float | None


@dataclass(slots=True)
class TrainingReport:
    """What a training run did; its curves are kept so that they can be drawn."""

    epochs: int = 0
    best_epoch: int = 0
    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    stopped_early: bool = False


class DetectorConfig(BaseModel):
    """Settings of one detector; a subclass per detector adds its own. Kept in the model file's header."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(1, ge=1, le=1_000_000)
    """T: observations in a window, the last one being the observation that is judged. 1 = a row of a table."""
    channels: int = Field(1, ge=1, le=1_000_000)
    """C: channels that are judged."""
    covariates: int = Field(0, ge=0, le=1_000_000)
    """F: further channels that are known, not judged (time of day); they follow the C in the array."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seeds weights, shuffling and any noise; the same seed gives the same weights."""


class Detector(ABC):
    """Base of all detectors. Public verbs check shapes; `_fit` and `_score` compute.

    A subclass sets `name`, `summary`, `Config` and implements `_fit`, `_score`, `arrays` and `_load_arrays`.

    Scoring is a function: it changes nothing, and equal windows get bit-equal scores whatever stands beside them in the
    batch and wherever they lie in memory. `score` sees to that by running forward passes in tiles of one fixed shape, the last
    one padded by repeating its last window, and of a larger or smaller one where that is shown to give the same bits (free batch sizes change the last bits of up to 38 % of scores). A tile is copied into a
    buffer that begins on a cache line: some kernels sum in another order where it does not (`detectors.memory`).
    """

    name: ClassVar[str]
    """As in the registry, on the command line and in alerts: lower case, hyphens."""
    summary: ClassVar[str]
    """One line for `tidewatch detectors`."""
    Config: ClassVar[type[DetectorConfig]] = DetectorConfig
    version: ClassVar[int] = 1
    """Raised when the meaning of the scores changes; part of every alert's id."""
    tile: int = 256
    """Windows per forward pass on the CPU: small enough that a batch of one is quick, large enough to be fast."""
    other_tiles: tuple[int, ...] = ()
    """Windows of other forward passes, for fewer or more windows; each divides `tile` or is a multiple of it, and is taken only where this machine gives the same bits."""
    cuda_tile: ClassVar[int] = 256
    """Windows per forward pass on a GPU; `to` puts it in `tile`'s place."""
    cuda_other_tiles: ClassVar[tuple[int, ...]] = ()
    """`other_tiles` on a GPU."""
    kernels: ClassVar[tuple[Kernel, ...]] = ()
    """What of its scoring is compiled."""
    kinds: ClassVar[frozenset[Literal["windows", "rows"]]] = frozenset({"windows"})
    """Where it can be used: windows of metrics (T > 1), rows of tables (T = 1), or both."""
    defers: ClassVar[bool] = False
    """Whether `_raw` says the raw scores alone in less time, so that the rest can be asked for later, of few windows, on any thread."""
    supervised: ClassVar[bool] = False
    """Whether `fit` needs labels."""
    learns: ClassVar[bool] = True
    """Whether `fit` looks at its windows. One that does not is calibrated on all training rows."""
    fixed_window: ClassVar[bool] = False
    """Whether its window means something, a season say, so that no shorter one will do where there are few rows."""
    residual: bool = False
    """Whether `raw` is the distance between the last position and `expected`, the root of its mean square over the
    channels: then a band can be drawn around `expected`."""
    unit_test_params: ClassVar[Mapping[str, Any]] = {}
    """Small settings with which `detectors.checks` builds one."""
    unit_test_skips: ClassVar[frozenset[str]] = frozenset()
    """Names of checks that cannot hold for it, each with a reason beside it."""

    def __init__(self, config: DetectorConfig | None = None) -> None:
        self.config = config if config is not None else self.Config()
        self.fitted = False
        self.device = "cpu"
        self._equal_bits: dict[tuple[int, int], bool] = {}
        """Whether tiles of another size give the bits of `tile`, by size and torch's threads; found when the first could be taken."""
        self.checkpoint: Mapping[str, NDArray[Any]] | None = None
        """While `fit` runs: all that it takes to go on after this epoch, renewed before `on_progress`. Set before `fit`,
        training goes on from there and ends with the same weights as if it had never stopped. None for detectors whose
        fitting is quick."""

    @property
    def tells(self) -> tuple[bool, bool]:
        """Whether `score` says what is expected, and contributions, of a detector that `defers`."""
        return True, True

    @property
    def width(self) -> int:
        """Channels of the input array: C + F."""
        return self.config.channels + self.config.covariates

    @property
    def by_torch(self) -> bool:
        """Whether torch has a part in its scores, on the device it is on."""
        return False

    @property
    def gains_by_gpu(self) -> bool:
        """Whether a GPU would score its windows faster than the CPU that it is on, once there are hundreds of them in a batch."""
        return False

    def to(self, device: str) -> Detector:
        """Move to `cpu`, `cuda` or `cuda:N`; returns itself. Detectors without tensors stay where they are."""
        self.device = device
        return self

    def prepare(self) -> None:
        """Compile what the first score would wait for."""
        for kernel in self.kernels:
            compiled(kernel)

    def fit(
        self,
        x: FloatArray,
        y: NDArray[np.int8] | None = None,
        *,
        validation: FloatArray | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> TrainingReport:
        """Learn what is normal from windows `x` (N, T, C + F), scaled; supervised detectors from labels `y` (N,) too.

        Parameters
        ----------
        validation
            (V, T, C + F) windows that early stopping looks at; without them the last tenth of `x` serves.

        Raises
        ------
        DetectorError
            Wrong shape, fewer than two windows, values that are not finite, labels missing or not wanted.
        """
        x = self._checked(x, finite=True)
        if len(x) < 2:
            msg = f"{self.name}: {len(x)} windows to fit on; at least 2 are needed (give more training rows)"
            raise DetectorError(msg)
        if self.supervised and y is None:
            msg = f"{self.name} is supervised: fit needs labels y of shape ({len(x)},)"
            raise DetectorError(msg)
        if y is not None and (not self.supervised or y.shape != (len(x),)):
            msg = (
                f"{self.name}: labels of shape {y.shape} for {len(x)} windows"
                if self.supervised
                else f"{self.name} is unsupervised and takes no labels"
            )
            raise DetectorError(msg)
        if self.supervised and validation is not None:
            msg = f"{self.name} is supervised and holds back a tenth of its windows itself: give no validation"
            raise DetectorError(msg)
        report = self._fit(x, y, None if validation is None else self._checked(validation, finite=True), on_progress)
        self.fitted, self._equal_bits = True, {}
        return report

    def score(self, x: FloatArray, *, tell: bool = True) -> Scores:
        """Score windows `x` (B, T, C + F), scaled as the windows that it was fitted on.

        Parameters
        ----------
        tell
            False: nothing but the raw scores is wanted; a detector that `defers` takes less time then. They are the same.

        Returns
        -------
        Scores
            `raw` (B,), and `expected`, `contributions` (B, C) where the detector has them. A window that holds NaN or
            infinity gets a raw score of NaN, nothing else of the batch is touched by it.

        Raises
        ------
        NotFittedError, DetectorError
            Not fitted; wrong shape.
        """
        if not self.fitted:
            msg = f"{self.name} has not been fitted: call fit first, or load a model file"
            raise NotFittedError(msg)
        x = self._checked(x, finite=False)
        x, broken = _tamed(x)
        scores = self._all(x) if tell or not self.defers else self._tiled(x, self._raw_alone)
        scores.raw[broken] = np.nan
        return scores

    def _raw_alone(self, x: NDArray[np.float32]) -> Scores:
        return Scores(self._raw(x))

    def _raw(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """The raw scores of `_score`, by bits, where it `defers`."""
        return self._score(x).raw

    def _all(self, x: NDArray[np.float32]) -> Scores:
        """Score windows that are finite."""
        return self._tiled(x, self._score)

    def _tiled(self, x: NDArray[np.float32], score: Callable[[NDArray[np.float32]], Scores]) -> Scores:
        """Score windows tile by tile."""
        B, C = len(x), self.config.channels
        raw = np.empty(B, np.float64)
        expected: NDArray[np.float32] | None = None
        contributions: NDArray[np.float32] | None = None
        for start, n, tile in self._tiles(x):
            tile[:n] = x[start : start + n]
            tile[n:] = tile[n - 1]
            scores = score(tile)
            raw[start : start + n] = scores.raw[:n]
            if scores.expected is not None:
                if expected is None:
                    expected = np.empty((B, C), np.float32)
                expected[start : start + n] = scores.expected[:n]
            if scores.contributions is not None:
                if contributions is None:
                    contributions = np.empty((B, C), np.float32)
                contributions[start : start + n] = scores.contributions[:n]
        return Scores(raw, expected, contributions)

    def _tiles(self, x: NDArray[np.float32]) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
        """Where each tile begins in windows (B, T, C + F), how many of them it takes, and its buffer, which is used again."""
        size = start = 0
        tile = x
        while start < len(x):
            if (wanted := self._size(len(x) - start)) != size:
                size = wanted
                tile = aligned((size, *x.shape[1:]), np.float32)  # of this call: several threads may score
            yield start, min(size, len(x) - start), tile
            start += size

    def _size(self, left: int) -> int:
        """Windows of the next forward pass, of so many that are left: those at which each costs least."""
        sizes = sorted((self.tile, *self.other_tiles), key=lambda size: (size + PASS) / min(size, left))
        return next(size for size in sizes if self._is_exact(size))

    def _is_exact(self, size: int) -> bool:
        """Whether tiles of another size give the bits of `tile`: kernels are chosen by shapes, never by values, so noise tells."""
        if size == self.tile:
            return True
        at = size, threads_now()
        if at not in self._equal_bits:
            few, many = sorted((size, self.tile))
            noise = aligned((many, self.config.window, self.width), np.float32)
            noise[:] = np.random.default_rng(0).normal(size=noise.shape)
            part = aligned((few, *noise.shape[1:]), np.float32)
            whole, equal = self._score(noise), True
            for start in range(0, many, few):
                part[:] = noise[start : start + few]
                scores = self._score(part)
                for name in ("raw", "expected", "contributions"):
                    one, other = getattr(whole, name), getattr(scores, name)
                    equal &= one is None or one[start : start + few].tobytes() == other.tobytes()
            self._equal_bits[at] = equal
        return self._equal_bits[at]

    @abstractmethod
    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport: ...

    @abstractmethod
    def _score(self, x: NDArray[np.float32]) -> Scores:
        """Score exactly one tile: `x` is (tile, T, C + F), finite, contiguous, on 64 bytes, and used again for the next tile."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that was learnt, by name: what the model file holds beside `config`."""

    @abstractmethod
    def _load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None: ...

    @classmethod
    def from_arrays(cls, config: DetectorConfig, arrays: Mapping[str, NDArray[Any]]) -> Detector:
        """Rebuild a fitted detector; scores are bit-equal to those of the one that `arrays` came from."""
        detector = cls(config)
        detector.adopt(arrays)
        return detector

    def adopt(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what another of the same settings learnt, and be fitted."""
        self._load_arrays(arrays)
        self.fitted, self._equal_bits = True, {}

    def _checked(self, x: FloatArray, *, finite: bool) -> NDArray[np.float32]:
        T, W = self.config.window, self.width
        if x.ndim != 3 or x.shape[1:] != (T, W):
            msg = f"{self.name} takes windows of shape (B, {T}, {W}), got {x.shape}"
            raise DetectorError(msg)
        out = np.ascontiguousarray(x, dtype=np.float32)
        if not finite:
            return out
        tame, broken = _tamed(out)
        if broken.any():
            msg = (
                f"{self.name}: window {int(np.argmax(broken))} holds a value that is not finite; "
                "drop or fill it before fitting"
            )
            raise DetectorError(msg)
        return tame


def _tamed(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Windows (B, T, C + F) fit for arithmetic, and which of them (B,) are not finite; those become zeros."""
    if not x.size or (x.min() >= -LARGEST and x.max() <= LARGEST):  # as nearly always; of NaN neither is so
        return x, np.zeros(len(x), np.bool_)
    broken = np.asarray(~np.isfinite(x).all(axis=(1, 2)))
    tame = np.clip(x, -LARGEST, LARGEST)
    tame[broken] = 0.0
    return tame, broken
