"""What the last bits of a score depend on: named, so that states can be compared, and held still where that can be done.

MKL multiplies the matrices of torch on x86. It chooses its kernels by the CPU, and some of them sum in another order where a
matrix does not begin on a cache line (seen on AMD's family 26: a layer of 8 outputs). Its strict mode (`MKL_CBWR`, "conditional
numerical reproducibility") makes the order of sums independent of where a matrix lies and of how many threads there are, at no
cost in time. MKL reads it once, so it is set before torch is loaded: by `import detectors`, which `import pipeline` does too.
Where MKL does not offer the branch that is asked for (AMD's family 25) it chooses one itself, and is strict all the same. What a user has set stays.

The judgement (`detectors.judgement`) is compiled without anything that would change the order of its sums; its logarithms are those of the
system's C library. What else is compiled (`detectors.kernels`) calls numpy's. The networks of the default are programs of compiled steps whose bits are
the same on every CPU (`detectors.programs`); torch has a part in those of the other networks, and on a GPU in all: only then it is loaded, and named.

Builds of torch without MKL (ARM) ignore all this; there the tiles of `detectors.base`, which lie on cache lines, hold alone.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

CBWR = "MKL_CBWR"

_AVX512 = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})
"""What MKL's AVX-512 branch asks of a CPU."""

CHOICES = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "NPY_DISABLE_CPU_FEATURES",
    "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES",
    "NUMBA_DISABLE_JIT",
    "NUMBA_DISABLE_INTEL_SVML",
)
"""Variables by which a user chooses kernels of torch, oneDNN, numpy and Numba: part of the numerics where they are set."""

_DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
"""NVIDIA's, Windows' below WSL, AMD's."""

_torch_came_first = False
_wanted_threads: int | None = None


def hold() -> None:
    """Set MKL's strict mode for this process and its children, unless the user chose one, or torch is loaded already."""
    global _torch_came_first
    if CBWR in os.environ or (mode := strict_mode()) is None:
        return
    if "torch" in sys.modules:  # MKL may have read it, or not: then nobody could say what holds
        _torch_came_first = True
        return
    os.environ[CBWR] = mode


def strict_mode() -> str | None:
    """MKL's strict mode for this CPU; None where there is no MKL, or no strict mode for what the CPU has."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return None
    flags = _flags()
    if flags >= _AVX512:
        return "AVX512,STRICT"
    return "AVX2,STRICT" if flags >= {"avx2", "fma"} else None


def _flags() -> frozenset[str]:
    """What the CPU can do, as Linux tells; elsewhere what every x86 CPU of the last ten years can."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset({"avx2", "fma"})
    return frozenset(next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), ()))


def describe(device: str, *, by_torch: bool = True) -> str:
    """What the last bits of a score depend on, on `cpu`, `cuda` or `cuda:N`: device or CPU features, MKL's mode, versions.

    Parameters
    ----------
    by_torch
        Whether torch has a part in it (`Detector.by_torch`); if not it is not loaded for this.
    """
    import numpy as np

    if device.startswith("cuda"):
        import torch

        return f"{torch.cuda.get_device_name(device)} torch-{torch.__version__} {_compiled()} float32"
    chosen = "".join(f" {name}={os.environ[name]}" for name in CHOICES if os.environ.get(name))
    theirs = _capability()
    if by_torch:
        import torch

        has_mkl = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        theirs = f"{torch.backends.cpu.get_cpu_capability()} {_mkl(has_mkl)} torch-{torch.__version__}"
    return f"{platform.machine()} {theirs} numpy-{np.__version__} {_compiled()} float32{chosen}"


def _capability() -> str:
    """The widest vectors of this CPU."""
    flags = _flags()
    return "AVX512" if flags >= _AVX512 else "AVX2" if flags >= {"avx2", "fma"} else "DEFAULT"


def gpu_there() -> bool:
    """Whether torch sees a GPU. Where Linux has no device file of any driver there is none, and torch need not be loaded to say so."""
    if "torch" not in sys.modules and sys.platform == "linux" and not any(Path(file).exists() for file in _DRIVERS):
        return False
    import torch

    return torch.cuda.is_available()


def use_threads(threads: int) -> None:
    """Let torch use so many threads in this process: now, or from when it is loaded."""
    global _wanted_threads
    _wanted_threads = threads
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)


def wanted_threads() -> int | None:
    """What `use_threads` was told."""
    return _wanted_threads


def threads_now() -> int:
    """Threads that torch reckons with; 1 where nothing has loaded it."""
    torch = sys.modules.get("torch")
    return 1 if torch is None else int(torch.get_num_threads())


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads inside the block; where nothing has loaded it, nothing in the block needs it."""
    torch = sys.modules.get("torch")
    before = threads if torch is None else torch.get_num_threads()
    if torch is None or before == threads:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compiled() -> str:
    """Of the judgement, which runs on the CPU: what compiled it, and whose logarithms it calls."""
    return f"numba-{metadata.version('numba')} {'-'.join(platform.libc_ver()) or platform.system()}"


def _mkl(built_with_mkl: bool) -> str:
    if not built_with_mkl:
        return "without-mkl"
    if _torch_came_first:
        return "mkl-not-strict(torch-was-loaded-before-detectors)"
    return f"mkl-{os.environ.get(CBWR) or 'not-strict'}"
