"""What is freed is kept by a process that asks for it: the next batch takes the same pages."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import resource
import numpy as np
from pipeline.process_memory import keep_freed
assert keep_freed()
def batch():
    large = [np.ones(2_500_000) for _ in range(2)]
    return large[0][0] + large[1][0]
for _ in range(3):
    batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    batch()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""


def faults() -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps or gives back as it likes")
def test_what_a_batch_freed_the_next_one_takes_without_asking_the_kernel() -> None:
    assert faults() < 100  # 1,000 without, where pages are of 4 KB


def test_what_is_left_when_a_command_ends_is_not_walked_once_more() -> None:
    code = (
        "import gc, sys\n"
        "from pipeline.cli import main\n"
        "sys.argv = ['tidewatch', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit:\n    sys.exit(not gc.get_freeze_count())\n"
        "sys.exit(2)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
