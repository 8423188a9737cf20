"""What all tests share: where the real data is."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import detectors  # noqa: F401  # before any test loads torch: it sets how MKL sums

pytest_plugins = ["kafka_fixtures"]

# A shell starts what it puts in the background with SIGINT ignored, and every child inherits that: the tests of Ctrl-C need it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the real data sets. CI fails without it; elsewhere the test is skipped."""
    folder = Path(os.environ.get("TIDEWATCH_DATA") or "/nonexistent")
    if not (folder / "nab").is_dir():
        message = (
            f"needs the real data sets: TIDEWATCH_DATA={os.environ.get('TIDEWATCH_DATA', '')!r} holds no folder nab"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder
