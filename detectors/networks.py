"""What the detectors built of torch share: numerics, and a training loop that anomalies among its windows cannot ruin.

A network detector says three things: how its network is built, what one window costs in training, and how a window is
judged. The rest is here. The loop is trimmed: of each batch, the windows with the highest losses (`trim`, by default
2 %) do not train, so that a few anomalous windows cannot teach the network that they are normal (Rousseeuw 1984, least
trimmed squares, by batch). It stops early on the trimmed validation loss and goes back to the best weights.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from detectors.base import Detector, DetectorConfig, DetectorError, Progress, Scores, TrainingReport
from detectors.capturing import Judged, captured
from detectors.checkpoint import fingerprint
from detectors.compiling import NETWORKS, compiled
from detectors.convolution import CausalConv
from detectors.numerics import limited_threads
from detectors.programs import Program


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


@contextmanager
def reproducible(seed: int) -> Iterator[torch.Generator]:
    """Run a block with deterministic algorithms, without TF32 and with seeded weights; yields a generator for noise.

    What torch is set to outside the block is left as it was.
    """
    # cuBLAS reads it when it starts; without it torch refuses deterministic matrix products on CUDA.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_deterministic_debug_mode()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # `use_deterministic_algorithms` says the same to the compiler too, and imports it: seconds of every training.
        torch.set_deterministic_debug_mode("error")
        try:
            yield torch.Generator().manual_seed(seed)
        finally:
            torch.set_deterministic_debug_mode(before)


def trimmed_mean(losses: Tensor, trim: float) -> Tensor:
    """Mean of `losses` (B,) without the highest share `trim`; gradients flow to the others alone."""
    keep = max(1, round(len(losses) * (1.0 - trim)))
    if keep == len(losses):
        return losses.mean()
    bar = losses.detach().sort().values[keep - 1]
    kept = (losses.detach() <= bar).to(losses.dtype)
    return (losses * kept).sum() / kept.sum()


class Adam:
    """Adam (Kingma, Ba 2015) over all parameters as one vector, with a bound on the gradient's norm.

    `torch.optim` does the same, but its first use imports torch's compiler: 900 modules, 4 seconds of every training.
    """

    def __init__(self, network: nn.Module, how: TrainingConfig) -> None:
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._sizes = [p.numel() for p in self._parameters]
        self._how = how
        self.learning_rate = how.learning_rate
        self.steps = 0
        self.mean = torch.zeros_like(nn.utils.parameters_to_vector(self._parameters).detach())
        self.square = torch.zeros_like(self.mean)

    def step(self) -> None:
        """Move the parameters by their gradients, and clear these."""
        gradient = torch.cat(
            [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in self._parameters]
        )
        for p in self._parameters:
            p.grad = None
        gradient *= (self._how.clip / (gradient.norm() + 1e-6)).clamp_max(1.0)
        self.steps += 1
        self.mean.lerp_(gradient, 1.0 - 0.9)
        self.square.lerp_(gradient.square(), 1.0 - 0.999)
        unbiased = (self.square / (1.0 - 0.999**self.steps)).sqrt_().add_(1e-8)
        move = self.mean / unbiased * (self.learning_rate / (1.0 - 0.9**self.steps))
        with torch.no_grad():
            for p, by in zip(self._parameters, torch.split(move, self._sizes), strict=True):
                # Decay apart from the gradient (Loshchilov, Hutter 2019).
                p.mul_(1.0 - self.learning_rate * self._how.weight_decay).sub_(by.view_as(p))


class _Run:
    """A training run between two epochs: all that it takes to go on, as arrays."""

    def __init__(
        self, network: nn.Module, optimiser: Adam, generator: torch.Generator, fingerprint: NDArray[np.uint8]
    ) -> None:
        self.network = network
        self.optimiser = optimiser
        self.generator = generator
        self.fingerprint = fingerprint
        self.report = TrainingReport()
        self.best_weights = _weights(network)

    def train_loss(self, loss: float) -> None:
        self.report.epochs += 1
        self.report.train_loss.append(loss)

    def validation_loss(self, loss: float, patience: int) -> None:
        """Keep the weights if they are the best so far, else lower the learning rate, in the end stop."""
        report = self.report
        best = report.validation_loss[report.best_epoch - 1] if report.best_epoch else float("inf")
        report.validation_loss.append(loss)
        if loss < best:
            report.best_epoch, self.best_weights = report.epochs, _weights(self.network)
        stale = report.epochs - report.best_epoch
        if stale and stale % max(1, patience // 2) == 0:
            self.optimiser.learning_rate *= 0.5
        report.stopped_early = stale >= patience

    def arrays(self) -> dict[str, NDArray[Any]]:
        report = self.report
        return {
            **{f"weights.{name}": _numpy(value) for name, value in _weights(self.network).items()},
            **{f"best.{name}": _numpy(value) for name, value in self.best_weights.items()},
            "adam.mean": _numpy(self.optimiser.mean.clone()),
            "adam.square": _numpy(self.optimiser.square.clone()),
            "adam.rate": np.array([self.optimiser.learning_rate]),
            "counts": np.array([self.optimiser.steps, report.best_epoch, report.stopped_early], np.int64),
            "train_loss": np.array(report.train_loss),
            "validation_loss": np.array(report.validation_loss),
            "generator": self.generator.get_state().numpy(),
            "fingerprint": self.fingerprint,
        }

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from `arrays`; raises DetectorError where they are of another run."""
        given = arrays.get("fingerprint")
        if given is None or not np.array_equal(given, self.fingerprint):
            msg = "the training checkpoint is of other settings or other data; delete it to start anew"
            raise DetectorError(msg)
        device = self.optimiser.mean.device
        self.network.load_state_dict(_part(arrays, "weights.", device))
        self.best_weights = _part(arrays, "best.", device)
        self.optimiser.mean.copy_(torch.from_numpy(arrays["adam.mean"]))
        self.optimiser.square.copy_(torch.from_numpy(arrays["adam.square"]))
        self.optimiser.learning_rate = float(arrays["adam.rate"][0])
        self.optimiser.steps, self.report.best_epoch, stopped = (int(n) for n in arrays["counts"])
        self.report.stopped_early = bool(stopped)
        self.report.train_loss = arrays["train_loss"].tolist()
        self.report.validation_loss = arrays["validation_loss"].tolist()
        self.report.epochs = len(self.report.train_loss)
        self.generator.set_state(torch.from_numpy(arrays["generator"]))


Examples = tuple[Tensor, Tensor]
"""Windows (N, T, C + F) and their labels (N,)."""


def examples(x: NDArray[np.float32], y: NDArray[np.int8] | None) -> Examples:
    """Arrays as tensors; labels of zero where there are none."""
    labels = torch.zeros(len(x)) if y is None else torch.from_numpy(y.astype(np.float32))
    return torch.from_numpy(np.ascontiguousarray(x)), labels


def _part(arrays: Mapping[str, NDArray[Any]], prefix: str, device: torch.device) -> dict[str, Tensor]:
    """Weights by name, from the arrays whose names begin with `prefix`."""
    return {
        name.removeprefix(prefix): torch.from_numpy(np.array(a)).to(device)
        for name, a in arrays.items()
        if name.startswith(prefix)
    }


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _numpy(value: Tensor) -> NDArray[Any]:
    return np.asarray(value.cpu().numpy())


class Batch(NamedTuple):
    """Windows that train in one step."""

    x: Tensor
    """(B, T, C + F)"""
    y: Tensor
    """(B,) float32, labels; zeros for unsupervised detectors."""
    noise: torch.Generator
    """All random numbers come from it. On the CPU, so that a GPU is given the same."""


class NetworkDetector(Detector):
    """A detector whose weights are a torch module's. Subclasses implement `_build`, `_losses` and `_judge`."""

    Config = NetworkConfig
    config: NetworkConfig
    cuda_tile = 8192
    cuda_other_tiles = (256,)
    captured: ClassVar[bool] = False
    """Whether `_judge` does the same operations for all windows of one shape, whatever is in them: on a GPU one graph (`detectors.capturing`)."""

    def __init__(self, config: DetectorConfig | None = None) -> None:
        super().__init__(config)
        self._network: nn.Module | None = None
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

    def _program(self, network: Any) -> Program | None:
        """What `_judge` does, as a program for the CPU; None: torch does it there too."""
        return None

    def prepare(self) -> None:
        """See `Detector.prepare`."""
        if self._compiled is not None:
            compiled(NETWORKS)

    @property
    def network(self) -> nn.Module:
        """The trained network, in evaluation mode."""
        if self._network is None:
            msg = f"{self.name} has no network yet: call fit first, or load a model file"
            raise DetectorError(msg)
        return self._network

    def to(self, device: str) -> Self:
        """Move to `cpu`, `cuda` or `cuda:N`; returns itself.

        Raises
        ------
        DetectorError
            The device is not there.
        """
        if device.startswith("cuda"):
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
        return self

    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        train, held = self._split(x, y, validation)
        with reproducible(self.config.seed) as generator:
            network = self._build()
            self._prepare(network, train[0])
            network.to(self.device)
            report = self._train(network, train, held, generator, on_progress)
        self._take(network)
        return report

    def _take(self, network: nn.Module) -> None:
        self._network, self._passes = network.to(self.device).eval(), {}
        for module in network.modules():
            if isinstance(module, CausalConv):
                module.fold()
            elif isinstance(module, nn.RNNBase):
                module.flatten_parameters()  # else a GPU gathers them anew in each pass
        self._wide = any(w[0].numel() > ALONE for w in network.parameters() if w.dim() > 1)
        with torch.no_grad():
            self._compiled = None if self._wide or self.device != "cpu" else self._program(network)

    def _split(
        self, x: NDArray[np.float32], y: NDArray[np.int8] | None, validation: NDArray[np.float32] | None
    ) -> tuple[Examples, Examples]:
        """Windows and labels to train on, and those that early stopping looks at."""
        if validation is not None:
            return examples(x, None), examples(validation, None)
        if y is None:  # the last tenth: windows overlap, and a random tenth would be known already
            held_back = max(1, len(x) // 10)
            return examples(x[:-held_back], None), examples(x[-held_back:], None)
        # A tenth of each class.
        order = np.random.default_rng(self.config.seed).permutation(len(x))
        held = np.concatenate([order[y[order] == label][::10] for label in (0, 1)])
        rest = np.setdiff1d(order, held)
        return examples(x[rest], y[rest]), examples(x[held], y[held])

    def _train(
        self,
        network: nn.Module,
        train: Examples,
        held: Examples,
        generator: torch.Generator,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        how = self.config.training
        both = [of.numpy() for of in (*train, *held)]
        run = _Run(network, Adam(network, how), generator, fingerprint(self.config, *both))
        if self.checkpoint is not None:
            run.resume(self.checkpoint)
        report = run.report
        while report.epochs < how.epochs and not report.stopped_early:
            run.train_loss(self._epoch(network, train, run.optimiser, generator))
            run.validation_loss(self._validate(network, held), how.patience)
            self.checkpoint = run.arrays()
            if on_progress is not None:
                on_progress(Progress(report.epochs, how.epochs, report.train_loss[-1], report.validation_loss[-1]))
        self.checkpoint = None
        if report.best_epoch == 0:
            msg = f"{self.name}: no epoch has a loss that is a number; scale the input or lower learning_rate"
            raise DetectorError(msg)
        network.load_state_dict(run.best_weights)
        return report

    def _epoch(self, network: nn.Module, train: Examples, optimiser: Adam, generator: torch.Generator) -> float:
        how = self.config.training
        network.train()
        x, y = train
        order = torch.randperm(len(x), generator=generator)[: how.windows_per_epoch]
        total = 0.0
        for part in torch.split(order, max(2, min(how.batch_size, len(order) // 16))):
            batch = Batch(x[part].to(self.device), y[part].to(self.device), generator)
            loss = trimmed_mean(self._losses(network, batch), how.trim)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(loss.detach()) * len(part)
        return total / len(order)

    def _validate(self, network: nn.Module, held: Examples) -> float:
        """Trimmed loss of at most `windows_per_epoch` windows held back, evenly spread, always with the same noise."""
        how = self.config.training
        network.eval()
        generator = torch.Generator().manual_seed(self.config.seed)
        step = max(1, len(held[0]) // how.windows_per_epoch)
        parts = zip(*(torch.split(of[::step].to(self.device), 1024) for of in held), strict=True)
        with torch.inference_mode():
            # Cloned: in memory of torch's own, which begins on 64 bytes (`detectors.memory`).
            losses = [self._held_losses(network, Batch(x.clone(), y.clone(), generator)) for x, y in parts]
            return float(trimmed_mean(torch.cat(losses), how.trim))

    def _all(self, x: NDArray[np.float32]) -> Scores:
        return super()._all(x) if self._compiled is None else Scores(*self._compiled.run(x))

    def _score(self, x: NDArray[np.float32]) -> Scores:
        with torch.inference_mode(), limited_threads(1 if self._wide else torch.get_num_threads()):
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
            shape = windows, self.config.window, self.width
            self._passes[windows] = captured(self.network, self._judge, shape, self.device) or eager
        return self._passes[windows]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The network's weights, by their names in torch."""
        return {name: value.cpu().numpy() for name, value in self.network.state_dict().items()}

    def _load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        network = self._skeleton()
        wanted = {name: (*value.shape, str(value.dtype)) for name, value in network.state_dict().items()}
        given = {name: (*value.shape, f"torch.{value.dtype}") for name, value in arrays.items()}
        if wanted != given:
            wrong = sorted(n for n in wanted.keys() | given.keys() if wanted.get(n) != given.get(n))
            msg = f"{self.name}: {wrong[0]} is {given.get(wrong[0])}, its settings ask for {wanted.get(wrong[0])}"
            raise DetectorError(msg)
        network.load_state_dict(
            {name: torch.tensor(value) for name, value in arrays.items()},
            assign=True,  # in torch's memory: on 64 bytes
        )
        self._take(network)

    def _skeleton(self) -> nn.Module:
        """Return the network without memory for its weights: settings may come from a file, and ask for anything."""
        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                return self._build()
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            msg = f"{self.name}: its settings describe no network: {str(error).splitlines()[0]}"
            raise DetectorError(msg) from error
