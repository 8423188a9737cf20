"""A network's pass as one call of torch's interpreter: it lets go of Python's lock once, not around each of some thirty operations.

Beside other threads that work in Python each operation would wait for the lock again, up to the switch interval of 5 ms: a worker's scoring thread waited for
it two thirds of its time. The operations are the same, in the same order, without fusion; that their bits are the same is looked at with noise, and where they are
not, or torch cannot trace any more (it is deprecated there in favour of compilers, which have other bits and take a minute), the pass stays as it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Judged = tuple[Tensor, Tensor | None, Tensor | None]
"""Raw scores (B,), expected values and contributions (B, C)."""

_jit: Any = torch.jit  # ships no types
_RUNS = 3
"""Of each noise: an interpreter that looks at what it runs would change its mind by then."""


class _Pass(nn.Module):
    def __init__(self, network: nn.Module, judge: Callable[[Any, Tensor], Judged]) -> None:
        super().__init__()
        self.network = network
        self._judge = judge

    def forward(self, x: Tensor) -> Judged:
        return self._judge(self.network, x)


def traced(
    network: nn.Module, judge: Callable[[Any, Tensor], Judged], shape: tuple[int, int, int]
) -> Callable[[Tensor], Judged] | None:
    """`judge` for windows (B, T, C + F) of one shape; None where that would not give the same bits.

    Parameters
    ----------
    network
        In evaluation mode, on the CPU.
    judge
        What it does must not depend on the values, only on their shape.
    """
    noise = noises(shape)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: Any = _jit.trace(_Pass(network, judge), noise[0], check_trace=False)
    except Exception:  # whatever a later torch says of it
        return None

    def run(x: Tensor) -> Judged:
        with _jit.optimized_execution(False):
            raw, expected, shares = made(x)
            return raw, expected, shares

    with torch.inference_mode():
        return run if same_bits(lambda x: judge(network, x), run, noise) else None


def noises(shape: tuple[int, int, int]) -> list[Tensor]:
    """Windows of usual and of large values."""
    generator = torch.Generator().manual_seed(0)
    return [scale * torch.randn(shape, generator=generator) for scale in (1.0, 30.0)]


def same_bits(plain: Callable[[Tensor], Judged], other: Callable[[Tensor], Judged], given: list[Tensor]) -> bool:
    """Whether another pass says of these windows what the plain one does, time and again."""
    for x in given:
        wanted = [_bytes(of) for of in plain(x)]
        if any([_bytes(of) for of in other(x)] != wanted for _ in range(_RUNS)):
            return False
    return True


def _bytes(of: Tensor | None) -> bytes | None:
    return None if of is None else of.cpu().numpy().tobytes()
