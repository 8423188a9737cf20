"""Let atheris, a coverage-guided fuzzer, look for bytes that make a decoder raise: `make fuzz`.

    python tests/hostile/fuzz.py --seconds 60 [--format otlp]

It is instrumented for the decoders and what they read with; msgspec is C and is only seen from outside. A crash prints the bytes
and leaves them in a file of the working folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

FORMATS = (
    "native", "three", "table", "telegraf", "prometheus", "otlp", "influx", "csv", "remote-write", "otlp-protobuf", "cloudevents", "auto",
)  # fmt: skip


def main() -> int:
    """One process for each format, since libFuzzer ends its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each format")
    parser.add_argument("--format", choices=FORMATS, help="only this one")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        return fuzz(given.format, given.seconds)
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("error: atheris is not installed here; pip install atheris (wheels for Linux on x86-64)", file=sys.stderr)
        return 2
    for name in [given.format] if given.format else FORMATS:
        command = [sys.executable, __file__, "--here", "--format", name, "--seconds", str(given.seconds)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        last = [line for line in done.stderr.splitlines() if "cov:" in line or line.startswith("Done")]
        if done.returncode:
            print(done.stdout[-2000:] + done.stderr[-4000:])
            return 1
        print(f"{name}: nothing raised; {last[-1] if last else ''}", flush=True)
    return 0


def fuzz(name: str, seconds: int) -> int:
    """Feed one decoder until the time is up."""
    import random

    import atheris

    with atheris.instrument_imports(include=["pipeline.steps.decoding", "producers.formats", "producers.records"]):
        import numpy as np
        from hostile.attacks import attacks
        from hostile.test_hostile_records import DECODERS, became, check

        from pipeline.steps.batches.records import RecordBatch

    which = {"three": "native, three channels", "table": "native, a table"}.get(name, name)
    kind, decoder = DECODERS[which]
    seeds = [v for _, v in attacks(0, kind, 300) if v]
    chance = random.Random(0)

    def one(data: bytes) -> None:
        values: list[bytes | None] = [data, chance.choice(seeds), data[: len(data) // 2]]
        batch = RecordBatch("t", 0, np.arange(3), 3, [None, b"k", data[:40]], values, np.zeros(3, np.int64))
        check(*decoder.decode(batch), 3)
        became(decoder, [(None, data)])

    import tempfile

    with tempfile.TemporaryDirectory() as corpus:
        for i, value in enumerate(seeds):
            (Path(corpus) / str(i)).write_bytes(value[:4096])
        atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-rss_limit_mb=2000", "-max_len=4096", corpus], one)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
