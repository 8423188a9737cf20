"""What the detectors built of torch share: numerics, and a training loop that anomalies among its windows cannot ruin.

A network detector says three things: how its network is built, what one window costs in training, and how a window is
judged. The rest is here. The loop is trimmed: of each batch, the windows with the highest losses (`trim`, by default
5 %) do not train, so that a few anomalous windows cannot teach the network that they are normal (Rousseeuw 1984, least
trimmed squares, by batch). It stops early on the trimmed validation loss and goes back to the best weights.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from detectors.base import Detector, DetectorConfig, DetectorError, Progress, Scores, TrainingReport


class TrainingConfig(BaseModel):
    """How a network is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(40, ge=1)
    """At most this many passes."""
    windows_per_epoch: int = Field(8192, ge=1)
    """At most this many windows, drawn anew for each epoch: what bounds the time of an epoch."""
    batch_size: int = Field(128, ge=2)
    learning_rate: float = Field(2e-3, gt=0)
    """Of Adam; halved when the validation loss has not fallen for half the patience."""
    weight_decay: float = Field(0.0, ge=0)
    patience: int = Field(6, ge=1)
    """Epochs without a better validation loss after which training ends."""
    trim: float = Field(0.05, ge=0, lt=0.5)
    """Share of each batch, the windows with the highest losses, that does not train."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of a gradient."""


class NetworkConfig(DetectorConfig):
    """Settings of a detector built of torch."""

    training: TrainingConfig = TrainingConfig()


@contextmanager
def reproducible(seed: int) -> Iterator[torch.Generator]:
    """Run a block with deterministic algorithms, without TF32 and with seeded weights; yields a generator for noise.

    What torch is set to outside the block is left as it was.
    """
    # cuBLAS reads it when it starts; without it torch refuses deterministic matrix products on CUDA.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        try:
            yield torch.Generator().manual_seed(seed)
        finally:
            torch.use_deterministic_algorithms(before)


def trimmed_mean(losses: Tensor, trim: float) -> Tensor:
    """Mean of `losses` (B,) without the highest share `trim`; gradients flow to the others alone."""
    keep = max(1, round(len(losses) * (1.0 - trim)))
    if keep == len(losses):
        return losses.mean()
    bar = losses.detach().sort().values[keep - 1]
    kept = (losses.detach() <= bar).to(losses.dtype)
    return (losses * kept).sum() / kept.sum()


class NetworkDetector(Detector):
    """A detector whose weights are a torch module's. Subclasses implement `_build`, `_losses` and `_judge`."""

    Config = NetworkConfig
    config: NetworkConfig
    cuda_tile = 8192

    def __init__(self, config: DetectorConfig | None = None) -> None:
        super().__init__(config)
        self._network: nn.Module | None = None

    @abstractmethod
    def _build(self) -> nn.Module:
        """Return the untrained network; torch's global generator is seeded."""

    @abstractmethod
    def _losses(self, network: Any, x: Tensor, generator: torch.Generator) -> Tensor:
        """What each window of `x` (B, T, C + F) costs in training: (B,)."""

    @abstractmethod
    def _judge(self, network: Any, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return raw scores (B,), expected values and contributions (B, C) of windows `x` (B, T, C + F)."""

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
            self.tile = self.cuda_tile
        else:
            self.tile = type(self).tile
        self.device = device
        if self._network is not None:
            self._network.to(device)
        return self

    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        if validation is None:
            held_back = max(1, len(x) // 10)
            x, validation = x[:-held_back], x[-held_back:]
        with reproducible(self.config.seed) as generator:
            network = self._build().to(self.device)
            report = self._train(network, x, validation, generator, on_progress)
        self._network = network.eval()
        return report

    def _train(
        self,
        network: nn.Module,
        x: NDArray[np.float32],
        validation: NDArray[np.float32],
        generator: torch.Generator,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        how = self.config.training
        windows, held = torch.from_numpy(x), torch.from_numpy(validation)
        optimiser = torch.optim.Adam(network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay)
        slower = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=how.patience // 2)
        best, best_weights = float("inf"), _weights(network)
        report = TrainingReport()
        for epoch in range(1, how.epochs + 1):
            train_loss = self._epoch(network, windows, optimiser, generator)
            loss = self._validate(network, held)
            slower.step(loss)
            report.epochs = epoch
            report.train_loss.append(train_loss)
            report.validation_loss.append(loss)
            if loss < best:
                best, best_weights, report.best_epoch = loss, _weights(network), epoch
            if on_progress is not None:
                on_progress(Progress(epoch, how.epochs, train_loss, loss))
            if epoch - report.best_epoch >= how.patience:
                report.stopped_early = True
                break
        if report.best_epoch == 0:
            msg = (
                f"{self.name}: the loss is not a number from the first epoch on; scale the input or lower learning_rate"
            )
            raise DetectorError(msg)
        network.load_state_dict(best_weights)
        return report

    def _epoch(
        self, network: nn.Module, windows: Tensor, optimiser: torch.optim.Optimizer, generator: torch.Generator
    ) -> float:
        how = self.config.training
        network.train()
        order = torch.randperm(len(windows), generator=generator)[: how.windows_per_epoch]
        total = 0.0
        for part in torch.split(order, how.batch_size):
            loss = trimmed_mean(self._losses(network, windows[part].to(self.device), generator), how.trim)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), how.clip)
            optimiser.step()
            total += float(loss.detach()) * len(part)
        return total / len(order)

    def _validate(self, network: nn.Module, held: Tensor) -> float:
        """Trimmed loss of at most `windows_per_epoch` windows held back, evenly spread, always with the same noise."""
        how = self.config.training
        network.eval()
        generator = torch.Generator().manual_seed(self.config.seed)
        spread = held[:: max(1, len(held) // how.windows_per_epoch)]
        with torch.inference_mode():
            parts = [self._losses(network, part.to(self.device), generator) for part in torch.split(spread, 1024)]
            return float(trimmed_mean(torch.cat(parts), how.trim))

    def _score(self, x: NDArray[np.float32]) -> Scores:
        with torch.inference_mode():
            raw, expected, contributions = self._judge(self.network, torch.from_numpy(x).to(self.device))
        return Scores(
            raw.cpu().numpy().astype(np.float64),
            None if expected is None else expected.cpu().numpy(),
            None if contributions is None else contributions.cpu().numpy(),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The network's weights, by their names in torch."""
        return {name: value.cpu().numpy() for name, value in self.network.state_dict().items()}

    def _load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        with reproducible(self.config.seed):
            network = self._build()
        wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        given = {name: value.shape for name, value in arrays.items()}
        if wanted != given:
            wrong = sorted(n for n in wanted.keys() | given.keys() if wanted.get(n) != given.get(n))
            msg = f"{self.name}: {wrong[0]} is {given.get(wrong[0])}, its settings ask for {wanted.get(wrong[0])}"
            raise DetectorError(msg)
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
        self._network = network.to(self.device).eval()


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
