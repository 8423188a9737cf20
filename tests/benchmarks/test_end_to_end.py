"""Tables of what goes through Kafka: both pages read the same figures."""

from __future__ import annotations

from benchmarks import gpu
from benchmarks.end_to_end import run


def figures(rate: float, delay: float) -> dict[str, dict[str, dict[str, float]]]:
    """As `run.py` prints them."""
    jobs = ("agent", "take", "handwritten", "read", "tidewatch", "default")
    ours = {"p50": 2 * delay, "p99": 3 * delay, "max": 4 * delay, "alerts": 20, "spikes": 21}
    return {
        "figures": {job: {"records": 10, "rate": rate * (i + 1), "peak_mib": 5} for i, job in enumerate(jobs)},
        "latency": {"worker": ours, "relay": {**ours, "p50": delay, "p99": delay}},
    }


def test_rates_are_told_beside_the_baselines_and_the_delay_beside_a_bare_relay() -> None:
    of = figures(100.0, 4.0)
    text = run.table(of["figures"], of["latency"])
    assert "| (c) hand-written loop: decode, window, score, send | 10 | 300 | 1.67 x | 5 MiB |" in text
    assert "Tidewatch takes 2.00 x and 3.00 x as long" in text


def test_a_gpu_is_told_beside_the_cpu() -> None:
    lines = gpu.worker_table({"cpu": figures(100.0, 4.0), "cuda": figures(50.0, 8.0)})
    assert "| default | 600 records/s | 300 records/s | 0.50 x |" in lines
    assert "| produce to alert, default, p50 | 8.0 ms | 16.0 ms | 2.00 x |" in lines
