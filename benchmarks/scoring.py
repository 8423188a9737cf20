"""Windows scored per second by LSTM, TCN and autoencoder over batch sizes, beside what the hardware allows.

    python benchmarks/scoring.py                     on the device at hand, a minute or two
    python benchmarks/scoring.py --device cpu --batches 1,256,65536

`score` is what the worker calls: numpy in, numpy out; on the CPU a program of compiled steps. `forward` is the bare network
on tensors that lie on the device already, at that batch size; on CUDA also in bfloat16 and through `torch.compile`. Limits:
`compute` is the device's measured matrix-product rate over the network's operations, `memory` its measured copy rate over the
bytes of a window in and a score out, as if everything between stayed on the chip.

Times are the best of several runs, on the CPU those of the process and not of the clock, so that other work on the machine
counts little; ratios within one run are what to read. With several threads the clock is taken.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from detectors import registry
from detectors.networks import NetworkDetector
from detectors.recipes import METRIC
from detectors.torched.forecasting import ForecastNetwork
from detectors.torched.training import reproducible

# isort: split
import torch  # after detectors, which set how MKL sums

T, COVARIATES = 48, 2
BATCHES = (1, 16, 64, 256, 1024, 4096, 16384, 65536)
MEMBERS = tuple((name, {"window": T, "covariates": COVARIATES, **settings}) for name, settings in METRIC.detectors)
"""As the product's default has them."""


def detector(name: str, settings: dict[str, Any], device: str) -> NetworkDetector:
    """One with random weights: speed does not depend on them."""
    built = registry.create(name, **settings)
    assert isinstance(built, NetworkDetector)
    with reproducible(0):
        built.adopt({key: value.numpy() for key, value in built._build().state_dict().items()})
    built.to(device)
    return built


def operations(name: str, network: torch.nn.Module) -> int:
    """Additions and multiplications of the matrix products for one window."""
    if name == "autoencoder":
        return sum(2 * w.numel() for key, w in network.named_parameters() if key.endswith("weight"))
    assert isinstance(network, ForecastNetwork)
    length = (T - network.horizon) // network.patch
    if name == "lstm":
        recurrent = sum(w.numel() for key, w in network.named_parameters() if "weight_" in key)
        return 2 * length * recurrent
    total = 0
    for i, block in enumerate(network.encoder.encoder.blocks):
        length = (length + 1) // 2 if i else length
        total += length * sum(2 * w.numel() for key, w in block.named_parameters() if w.dim() > 1)
    return total


def best(run: Callable[[], object], device: str, seconds: float) -> float:
    """Seconds of one run: the best of those that fit into the time, three at least."""

    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter

    def once() -> float:
        start = clock()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        return clock() - start

    once()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < until:
        times.append(once())
    return min(times)


def variants(member: NetworkDetector, device: str) -> dict[str, Callable[[np.ndarray], Callable[[], object]]]:
    """Name -> from windows to the run that is timed."""

    def score(x: np.ndarray) -> Callable[[], object]:
        return lambda: member.score(x)

    def forward(network: torch.nn.Module, dtype: torch.dtype) -> Callable[[np.ndarray], Callable[[], object]]:
        def prepare(x: np.ndarray) -> Callable[[], object]:
            on_device = torch.from_numpy(x).to(device=device, dtype=dtype)

            def run() -> None:
                with torch.inference_mode():
                    member._judge(network, on_device)

            return run

        return prepare

    found = {"score": score, "forward float32": forward(member.network, torch.float32)}
    if device != "cpu":
        half = detector(member.name, member.config.model_dump(exclude={"training", "seed", "channels"}), device)
        found["forward bfloat16"] = forward(half.network.to(torch.bfloat16), torch.bfloat16)
        found["compiled float32"] = forward(torch.compile(member.network, dynamic=False), torch.float32)
        found["compiled bfloat16"] = forward(torch.compile(half.network, dynamic=False), torch.bfloat16)
    return found


def hardware(device: str, seconds: float) -> dict[str, float]:
    """Measured: operations per second of large matrix products, bytes per second of a copy (read and written)."""
    n = 8192 if device != "cpu" else 1536
    rates = {}
    for dtype in (torch.float32, torch.bfloat16) if device != "cpu" else (torch.float32,):
        a = torch.randn(n, n, device=device, dtype=dtype)
        rates[str(dtype).removeprefix("torch.")] = 2 * n**3 / best(lambda a=a: a @ a, device, seconds)
    source = torch.zeros((1 << 30 if device != "cpu" else 1 << 27) // 4, device=device)
    target = torch.empty_like(source)
    rates["bytes"] = 2 * 4 * source.numel() / best(lambda: target.copy_(source), device, seconds)
    return rates


def measure(device: str, batches: tuple[int, ...], seconds: float) -> dict[str, Any]:
    rates = hardware(device, seconds)
    rng = np.random.default_rng(0)
    results: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device != "cpu" else platform.processor() or "cpu",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "hardware": rates,
        "detectors": {},
    }
    for name, settings in MEMBERS:
        member = detector(name, settings, device)
        ops, width = operations(name, member.network), member.width
        limits = {
            "memory": rates["bytes"] / (4 * T * width + 8),
            **{f"compute {kind}": rates[kind] / ops for kind in ("float32", "bfloat16") if kind in rates},
        }
        speeds: dict[str, dict[int, float]] = {}
        for variant, prepare in variants(member, device).items():
            speeds[variant] = {}
            for batch in batches:
                x = rng.normal(size=(batch, T, width)).astype(np.float32)
                try:
                    speeds[variant][batch] = batch / best(prepare(x), device, seconds)
                except torch.OutOfMemoryError:
                    speeds[variant][batch] = float("nan")
        results["detectors"][name] = {
            "operations": ops,
            "limits": limits,
            "windows_per_second": speeds,
        }
    return results


def short(x: float) -> str:
    """Three figures: 1.23 M, 45.6 k."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if x >= size:
            return f"{x / size:.3g}{unit}"
    return f"{x:.3g}"


def table(results: dict[str, Any]) -> str:
    """Markdown: windows per second, times the smallest batch's, and the share of the nearest limit."""
    rates = results["hardware"]
    lines = [
        f"{results['device']}, torch {results['torch']}, {results['threads']} thread(s); measured: "
        + ", ".join(f"{short(v)} {'bytes/s' if k == 'bytes' else f'operations/s in {k}'}" for k, v in rates.items()),
        "",
    ]
    for name, of in results["detectors"].items():
        speeds = of["windows_per_second"]
        batches = list(next(iter(speeds.values())))
        limits = ", ".join(f"{k} {short(v)}" for k, v in of["limits"].items())
        lines += [
            f"**{name}**: {of['operations']:,} operations a window; limits in windows/s: {limits}",
            "",
            "| batch | " + " | ".join(speeds) + " |",
            "| ---: |" + " ---: |" * len(speeds),
        ]
        for batch in batches:
            cells = [f"{short(s[batch])} ({s[batch] / s[batches[0]]:.0f}x)" for s in speeds.values()]
            lines.append(f"| {batch:,} | " + " | ".join(cells) + " |")
        nearest = min(of["limits"]["memory"], of["limits"]["compute float32"])
        top = max(max(s.values()) for v, s in speeds.items() if "float32" in v)
        lines += ["", f"best float32 forward: {top / nearest:.0%} of the nearer limit", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--seconds", type=float, default=0.3, help="time of one cell")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    results = measure(device, tuple(int(b) for b in args.batches.split(",")), args.seconds)
    print(table(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
