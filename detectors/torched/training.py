"""How a network is trained, so that anomalies among its windows cannot ruin it.

The loop is trimmed: of each batch, the windows with the highest losses (`trim`, by default 2 %) do not train, so that a few anomalous windows cannot teach the
network that they are normal (Rousseeuw 1984, least trimmed squares, by batch). It stops early on the trimmed validation loss and goes back to the best weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detectors.descent.epochs import Epochs
from detectors.networks import TrainingConfig


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
    told = losses.detach()
    bar = told.topk(len(told) - keep + 1).values[-1]
    kept = (told <= bar).to(losses.dtype)
    return losses.dot(kept) / kept.sum()


class Adam:
    """Adam (Kingma, Ba 2015) over all parameters as one vector, with a bound on the gradient's norm.

    `torch.optim` does the same, but its first use imports torch's compiler: 900 modules, 4 seconds of every training.
    """

    def __init__(self, network: nn.Module, how: TrainingConfig) -> None:
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._how = how
        self.steps = 0
        self.mean = torch.zeros_like(nn.utils.parameters_to_vector(self._parameters).detach())
        self.square = torch.zeros_like(self.mean)
        self._gradient, self._move = torch.zeros_like(self.mean), torch.zeros_like(self.mean)
        self._moves = self._views(self._move)
        for p, gradient in zip(self._parameters, self._views(self._gradient), strict=True):
            p.grad = gradient  # what is found is added to it: networks are small, and each call of torch counts

    def _views(self, of: Tensor) -> list[Tensor]:
        """Each parameter's part of a vector."""
        parts = torch.split(of, [p.numel() for p in self._parameters])
        return [part.view_as(p) for part, p in zip(parts, self._parameters, strict=True)]

    def step(self, rate: float) -> None:
        """Move the parameters by their gradients, and clear these."""
        gradient = self._gradient
        gradient *= (self._how.clip / (gradient.dot(gradient).sqrt_() + 1e-6)).clamp_max_(1.0)
        self.steps += 1
        self.mean.lerp_(gradient, 1.0 - 0.9)
        self.square.mul_(0.999).addcmul_(gradient, gradient, value=1.0 - 0.999)
        gradient.zero_()
        unbiased = (self.square / (1.0 - 0.999**self.steps)).sqrt_().add_(1e-8)
        torch.div(self.mean, unbiased, out=self._move).mul_(rate / (1.0 - 0.9**self.steps))
        with torch.no_grad():
            for p, by in zip(self._parameters, self._moves, strict=True):
                if self._how.weight_decay:  # apart from the gradient (Loshchilov, Hutter 2019)
                    p.mul_(1.0 - rate * self._how.weight_decay)
                p.sub_(by)


class Batch(NamedTuple):
    """Windows that train in one step."""

    x: Tensor
    """(B, T, C + F)"""
    y: Tensor
    """(B,) float32, labels; zeros for unsupervised detectors."""
    noise: torch.Generator
    """All random numbers come from it. On the CPU, so that a GPU is given the same."""


Examples = tuple[Tensor, Tensor]
"""Windows (N, T, C + F) and their labels (N,)."""


def examples(x: NDArray[np.float32], y: NDArray[np.int8] | None) -> Examples:
    """Arrays as tensors; labels of zero where there are none."""
    labels = torch.zeros(len(x)) if y is None else torch.from_numpy(y.astype(np.float32))
    return torch.from_numpy(np.ascontiguousarray(x)), labels


class Training(Epochs):
    """A training run of one network, on its device: epoch by epoch, and between two of them all that it takes to go on, as arrays.

    Parameters
    ----------
    losses, held_losses
        What each window of a batch costs, (B,): in training, and where early stopping looks.
    train, held
        What to train on, and what early stopping looks at.
    """

    def __init__(
        self,
        network: nn.Module,
        how: TrainingConfig,
        losses: Callable[[Any, Batch], Tensor],
        held_losses: Callable[[Any, Batch], Tensor],
        *,
        train: Examples,
        held: Examples,
        generator: torch.Generator,
        fingerprint: NDArray[np.uint8],
    ) -> None:
        super().__init__(how, fingerprint)
        self._network, self._losses, self._held_losses = network, losses, held_losses
        self._train, self._held = train, held
        self._optimiser = Adam(network, how)
        self._device = self._optimiser.mean.device
        self._generator, self._seed = generator, generator.initial_seed()
        self._best_weights = _weights(network)

    def take_best(self) -> None:
        """Give the network its best weights."""
        self._network.load_state_dict(self._best_weights)

    def _trained(self) -> float:
        x, y = self._train
        self._network.train()
        order = torch.randperm(len(x), generator=self._generator)[: self._how.windows_per_epoch]
        total = 0.0
        for part in torch.split(order, max(2, min(self._how.batch_size, len(order) // 16))):
            batch = Batch(x[part].to(self._device), y[part].to(self._device), self._generator)
            loss = trimmed_mean(self._losses(self._network, batch), self._how.trim)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step(self.learning_rate)
            total += float(loss.detach()) * len(part)
        return total / len(order)

    def _validated(self) -> float:
        """Trimmed loss of at most `windows_per_epoch` windows held back, evenly spread, always with the same noise."""
        x, y = self._held
        self._network.eval()
        generator = torch.Generator().manual_seed(self._seed)
        step = max(1, len(x) // self._how.windows_per_epoch)
        parts = zip(*(torch.split(of[::step].to(self._device), 1024) for of in (x, y)), strict=True)
        with torch.inference_mode():
            # Cloned: in memory of torch's own, which begins on 64 bytes (`detectors.memory`).
            losses = [
                self._held_losses(self._network, Batch(part.clone(), labels.clone(), generator))
                for part, labels in parts
            ]
            return float(trimmed_mean(torch.cat(losses), self._how.trim))

    def _keep(self) -> None:
        self._best_weights = _weights(self._network)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Epochs.arrays`."""
        return {
            **super().arrays(),
            **{f"weights.{name}": _numpy(value) for name, value in _weights(self._network).items()},
            **{f"best.{name}": _numpy(value) for name, value in self._best_weights.items()},
            "adam.mean": _numpy(self._optimiser.mean.clone()),
            "adam.square": _numpy(self._optimiser.square.clone()),
            "adam.steps": np.array([self._optimiser.steps], np.int64),
            "generator": self._generator.get_state().numpy(),
        }

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """See `Epochs.resume`."""
        super().resume(arrays)
        self._network.load_state_dict(_part(arrays, "weights.", self._device))
        self._best_weights = _part(arrays, "best.", self._device)
        self._optimiser.mean.copy_(torch.from_numpy(arrays["adam.mean"]))
        self._optimiser.square.copy_(torch.from_numpy(arrays["adam.square"]))
        self._optimiser.steps = int(arrays["adam.steps"][0])
        self._generator.set_state(torch.from_numpy(arrays["generator"]))


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
