"""A network's pass on a GPU as one CUDA graph: its kernels are launched by one call, not each by Python.

Our networks are small: on an H200 a TCN's pass took 4.7 ms for one window and 2.8 for 65,536, all but the last of it launches (`benchmarks/gpu.py`). The kernels
are the same, in the same order; that their bits are the same is looked at with noise, and where they are not, or nothing can be captured, the pass stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

Judged = tuple[Tensor, Tensor | None, Tensor | None]
"""Raw scores (B,), expected values and contributions (B, C)."""

_RUNS = 3
"""Of each noise: whatever looks at what it runs would change its mind by then."""
_WARM = 3
"""Passes before the capture: libraries set themselves up in them, which none may do in a capture."""


def captured(
    network: nn.Module, judge: Callable[[Any, Tensor], Judged], shape: tuple[int, int, int], device: str
) -> Callable[[Tensor], Judged] | None:
    """`judge` for windows (B, T, C + F) of one shape on a GPU; None where that would not give the same bits.

    Parameters
    ----------
    network
        In evaluation mode, on that GPU.
    judge
        What it does must not depend on the values, only on their shape.
    """
    try:
        with torch.cuda.device(device), torch.inference_mode():
            given = torch.zeros(shape, device=device)
            beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(_WARM):
                    judge(network, given)
            torch.cuda.current_stream().wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            # Of this thread alone: another may be scoring with another network meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                out = judge(network, given)
    except Exception:  # whatever a driver says of it
        return None
    lock = Lock()

    def run(x: Tensor) -> Judged:
        with lock:  # one place for what goes in and comes out, and one stream: in order
            given.copy_(x)
            graph.replay()
            raw, expected, shares = (None if of is None else of.clone() for of in out)
        assert raw is not None
        return raw, expected, shares

    with torch.inference_mode():
        return run if same_bits(lambda x: judge(network, x), run, [x.to(device) for x in noises(shape)]) else None


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
