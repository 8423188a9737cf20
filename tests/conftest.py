"""What all tests share: where the real data is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["kafka_fixtures"]


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
