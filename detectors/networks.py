"""What the detectors built of torch share: how one is described, trained and scored, on the CPU and on a GPU.

A network detector says three things: how its network is built, what one window costs in training, and how a window is judged. The rest is here, and in
`detectors.torched`, which is brought only when torch is needed. Where a detector's pass is a program of compiled steps (`detectors.programs`), and it says which
shapes its weights have, scoring on the CPU never needs it; where it says by which loss it is trained (`trained_by`), training does not either (`detectors.descent`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from detectors.base import Detector, DetectorConfig, DetectorError, Progress, Scores, TrainingReport
from detectors.checkpoint import fingerprint
from detectors.compiling import NETWORKS, compiled
from detectors.descent.folding import folded, size
from detectors.numerics import limited_threads, threads_now
from detectors.programs import Program, Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from detectors.descent.epochs import Epochs
    from detectors.descent.folding import Shapes
    from detectors.descent.training import Walk
    from detectors.torched.capturing import Judged
    from detectors.torched.training import Batch, Examples


class TrainingConfig(BaseModel):
    """How a network is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(60, ge=1)
    """At most this many passes."""
    windows_per_epoch: int = Field(4096, ge=1)
    """At most this many windows, drawn anew for each epoch: what bounds the time of an epoch."""
    batch_size: int = Field(128, ge=2)
    """Windows of a step; fewer where an epoch would have less than 16 steps."""
    learning_rate: float = Field(3e-3, gt=0)
    """Of Adam; halved whenever the validation loss has not fallen for half the patience."""
    weight_decay: float = Field(0.0, ge=0)
    patience: int = Field(10, ge=1)
    """Epochs without a better validation loss after which training ends."""
    trim: float = Field(0.02, ge=0, lt=0.5)
    """Share of each batch, the windows with the highest losses, that does not train."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of a gradient."""


class NetworkConfig(DetectorConfig):
    """Settings of a detector built of torch."""

    training: TrainingConfig = TrainingConfig()


ALONE = 512
"""A network that sums more products than this for one value is scored by one thread: MKL splits longer sums among threads,
and then the last bits depend on how many there are (measured: 784 inputs to 100 units, 2 and 3 threads)."""

GPU_GAINS = 100_000
"""Products a window from which a GPU pays. On an H200 a pass over a live batch took it a millisecond whatever the network, in which one core computes
all three of the default for a hundred series (`benchmarks/gpu.py`: 48 inputs, an LSTM of 32 units step by step 201,000, 3.5 times as fast there; an
autoencoder over 240 values 70,000, a fifth as fast, and faster from a thousand windows on)."""


class NetworkDetector(Detector):
    """A detector whose weights are a torch module's. Subclasses implement `_build`, `_losses` and `_judge`, and may `_program` and `_shapes`."""

    Config = NetworkConfig
    config: NetworkConfig
    cuda_tile = 8192
    cuda_other_tiles = (256,)
    captured: ClassVar[bool] = False
    """Whether `_judge` does the same operations for all windows of one shape, whatever is in them: on a GPU one graph (`detectors.torched.capturing`)."""

    def __init__(self, config: DetectorConfig | None = None) -> None:
        super().__init__(config)
        self._network: nn.Module | None = None
        self._loaded: Mapping[str, NDArray[Any]] | None = None
        """Weights that no network was built of yet."""
        self._wide = False
        self._passes: dict[int, Callable[[Tensor], Judged]] = {}
        self._compiled: Program | None = None

    @abstractmethod
    def _build(self) -> nn.Module:
        """Return the untrained network; torch's global generator is seeded."""

    @abstractmethod
    def _losses(self, network: Any, batch: Batch) -> Tensor:
        """What each window of a batch costs in training: (B,)."""

    def _held_losses(self, network: Any, batch: Batch) -> Tensor:
        """What early stopping looks at, (B,): the same, unless a detector knows better."""
        return self._losses(network, batch)

    def _prepare(self, network: Any, x: Tensor) -> None:
        """Give the untrained network what it takes from the training windows (N, T, C + F) as a whole."""

    @abstractmethod
    def _judge(self, network: Any, x: Tensor) -> Judged:
        """Return raw scores (B,), expected values and contributions (B, C) of windows `x` (B, T, C + F)."""

    def _program(self, program: Program, weights: Weights) -> Program | None:
        """Put into a program for the CPU what `_judge` does with folded weights (`detectors.descent.folding`); None: torch does it there too."""
        return None

    def _shapes(self) -> dict[str, tuple[int, ...]] | None:
        """Name -> shape of the network's weights, float32, without building it; None: torch must be asked."""
        return None

    @property
    def trained_by(self) -> int | None:
        """The loss of `detectors.programs` that `_losses` is, of what the program gives; None: torch trains it."""
        return None

    @property
    def by_torch(self) -> bool:
        """See `Detector.by_torch`."""
        return self._compiled is None

    @property
    def gains_by_gpu(self) -> bool:
        """See `Detector.gains_by_gpu`: what torch would do on the CPU too, and what has many products."""
        return self._compiled is None or self._compiled.products >= GPU_GAINS

    def prepare(self) -> None:
        """See `Detector.prepare`."""
        if self._compiled is not None:
            compiled(NETWORKS)
        else:
            _ = self.network

    @property
    def network(self) -> nn.Module:
        """The trained network, in evaluation mode."""
        if self._network is None:
            if self._loaded is None:
                msg = f"{self.name} has no network yet: call fit first, or load a model file"
                raise DetectorError(msg)
            import torch

            with torch.inference_mode(False):  # where a score asks for it first: such weights would serve nothing else
                self._network = self._ready(self._filled(self._skeleton(), self._loaded))
        return self._network

    def to(self, device: str) -> Self:
        """Move to `cpu`, `cuda` or `cuda:N`; returns itself.

        Raises
        ------
        DetectorError
            The device is not there.
        """
        if device.startswith("cuda"):
            import torch

            if not torch.cuda.is_available():
                msg = f"{self.name}: no CUDA device here for device = {device!r}; use cpu or auto"
                raise DetectorError(msg)
            # Ten bits of mantissa would cost the agreement of CPU and GPU.
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False
            self.tile, self.other_tiles = self.cuda_tile, self.cuda_other_tiles
        else:
            self.tile, self.other_tiles = type(self).tile, type(self).other_tiles
        self.device, self._equal_bits = device, {}
        if self._network is not None:
            self._take(self._network)
        elif self._loaded is not None:
            self._settle()
        return self

    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        if y is None and (walk := self._walk()) is not None:
            return self._descended(walk, *((x, validation) if validation is not None else _cut(x)), on_progress)
        from detectors.torched.training import Training, reproducible

        train, held = self._split(x, y, validation)
        whose = fingerprint(self.config, *(of.numpy() for of in (*train, *held)))
        with reproducible(self.config.seed) as generator:
            network = self._build()
            self._prepare(network, train[0])
            network.to(self.device)
            run = Training(
                network,
                self.config.training,
                self._losses,
                self._held_losses,
                train=train,
                held=held,
                generator=generator,
                fingerprint=whose,
            )
            self._go_through(run, on_progress)
        run.take_best()
        self._take(network)
        return run.report

    def _walk(self) -> Walk | None:
        """How the network is trained on the CPU without torch; None: torch trains it."""
        shapes, loss = self._shapes(), self.trained_by
        if shapes is None or loss is None or self.device != "cpu" or self.sums_long(shapes):
            return None
        from detectors.descent.traced import Traced
        from detectors.descent.training import Walk

        traced = Traced(self.config.channels, self.width)
        return Walk.of(shapes, loss, traced, self._program, self.config.training.batch_size)

    def _descended(
        self,
        walk: Walk,
        train: NDArray[np.float32],
        held: NDArray[np.float32],
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        """Train without torch."""
        from detectors.descent.training import Descent

        whose = fingerprint(self.config, train, held, np.frombuffer(b"without torch", np.uint8))
        run = Descent(walk, self.config.training, self.config.seed, train, held, whose)
        self._go_through(run, on_progress)
        self._network, self._loaded = None, run.best
        self._settle()
        return run.report

    def _go_through(self, run: Epochs, on_progress: Callable[[Progress], None] | None) -> None:
        """All epochs that are left of a run, each kept in `checkpoint`."""
        if self.checkpoint is not None:
            run.resume(self.checkpoint)
        while not run.done:
            run.epoch()
            self.checkpoint = run.arrays()
            if on_progress is not None:
                on_progress(run.progress)
        self.checkpoint = None
        if run.report.best_epoch == 0:
            msg = f"{self.name}: no epoch has a loss that is a number; scale the input or lower learning_rate"
            raise DetectorError(msg)

    def _take(self, network: nn.Module) -> None:
        """Score with this network from now on."""
        self._network, self._loaded = self._ready(network), None
        self._settle()

    def _settle(self) -> None:
        """Make ready what scores on this device, once the weights are known."""
        weights, self._passes = self.arrays(), {}
        self._wide = self.sums_long({name: of.shape for name, of in weights.items()})
        if self._wide or self.device != "cpu":
            self._compiled = None
            return
        self._compiled = self._program(Program(self.config.channels, self.width), folded(weights))

    @staticmethod
    def sums_long(shapes: Shapes) -> bool:
        """Whether weights of these shapes sum more products for one value than `ALONE`."""
        return any(size(shape[1:]) > ALONE for shape in shapes.values() if len(shape) > 1)

    def _ready(self, network: nn.Module) -> nn.Module:
        """The network on its device, in evaluation mode, with all that is worked out once."""
        from torch import nn

        from detectors.torched.convolution import CausalConv

        network = network.to(self.device).eval()
        for module in network.modules():
            if isinstance(module, CausalConv):
                module.fold()
            elif isinstance(module, nn.RNNBase):
                module.flatten_parameters()  # else a GPU gathers them anew in each pass
        return network

    def _split(
        self, x: NDArray[np.float32], y: NDArray[np.int8] | None, validation: NDArray[np.float32] | None
    ) -> tuple[Examples, Examples]:
        """Windows and labels to train on, and those that early stopping looks at."""
        from detectors.torched.training import examples

        if validation is not None:
            return examples(x, None), examples(validation, None)
        if y is None:
            first, last = _cut(x)
            return examples(first, None), examples(last, None)
        # A tenth of each class.
        order = np.random.default_rng(self.config.seed).permutation(len(x))
        held = np.concatenate([order[y[order] == label][::10] for label in (0, 1)])
        rest = np.setdiff1d(order, held)
        return examples(x[rest], y[rest]), examples(x[held], y[held])

    def _all(self, x: NDArray[np.float32]) -> Scores:
        return super()._all(x) if self._compiled is None else Scores(*self._compiled.run(x))

    def _score(self, x: NDArray[np.float32]) -> Scores:
        import torch

        with torch.inference_mode(), limited_threads(1 if self._wide else threads_now()):
            raw, expected, contributions = self._pass(len(x))(torch.from_numpy(x).to(self.device))
        return Scores(
            raw.cpu().numpy().astype(np.float64),
            None if expected is None else expected.cpu().numpy(),
            None if contributions is None else contributions.cpu().numpy(),
        )

    def _pass(self, windows: int) -> Callable[[Tensor], Judged]:
        """`_judge` for so many of them."""
        eager = partial(self._judge, self.network)
        if self.device == "cpu" or not self.captured:
            return eager
        if windows not in self._passes:
            from detectors.torched.capturing import captured

            shape = windows, self.config.window, self.width
            self._passes[windows] = captured(self.network, self._judge, shape, self.device) or eager
        return self._passes[windows]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The network's weights, by their names in torch."""
        if self._loaded is not None:
            return dict(self._loaded)
        return {name: value.cpu().numpy() for name, value in self.network.state_dict().items()}

    def _load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        if (shapes := self._shapes()) is not None:
            self._check(arrays, {name: (*shape, "float32") for name, shape in shapes.items()})
            self._network, self._loaded = None, {name: np.array(of) for name, of in arrays.items()}
            self._settle()
            return
        network = self._skeleton()
        self._check(
            arrays,
            {
                name: (*value.shape, str(value.dtype).removeprefix("torch."))
                for name, value in network.state_dict().items()
            },
        )
        self._take(self._filled(network, arrays))

    def _check(self, arrays: Mapping[str, NDArray[Any]], wanted: dict[str, tuple[Any, ...]]) -> None:
        """Raise DetectorError where arrays are not of these shapes and types."""
        given = {name: (*value.shape, str(value.dtype)) for name, value in arrays.items()}
        if wanted != given:
            wrong = sorted(n for n in wanted.keys() | given.keys() if wanted.get(n) != given.get(n))
            msg = f"{self.name}: {wrong[0]} is {given.get(wrong[0])}, its settings ask for {wanted.get(wrong[0])}"
            raise DetectorError(msg)

    @staticmethod
    def _filled(network: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> nn.Module:
        import torch

        network.load_state_dict(
            {name: torch.tensor(value) for name, value in arrays.items()},
            assign=True,  # in torch's memory: on 64 bytes
        )
        return network

    def _skeleton(self) -> nn.Module:
        """Return the network without memory for its weights: settings may come from a file, and ask for anything."""
        import torch

        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                return self._build()
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            msg = f"{self.name}: its settings describe no network: {str(error).splitlines()[0]}"
            raise DetectorError(msg) from error


def _cut(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Windows to train on, and the last tenth: windows overlap, and of a random tenth the others would know."""
    held_back = max(1, len(x) // 10)
    return x[:-held_back], x[-held_back:]
