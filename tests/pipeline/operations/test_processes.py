"""The demo's processes: started again when killed, gone when the demo is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import TidewatchError
from pipeline.operations.processes import Children

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    with Children() as children:
        child = children.start("sleeper", SLEEPER, os.environ, tmp_path / "log")
        assert eventually(lambda: "up" in child.log.read_text())
        assert children.check() == []
        first = child.pid
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: not alive(first))
        [restart] = children.check()
        assert restart.how == "signal 9"
        assert restart.pid == child.pid != first
    assert not alive(child.pid)


def test_a_process_that_ends_with_a_settings_error_is_not_started_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('error: no broker'); sys.exit(2)"]
    with Children() as children:
        children.start("worker", command, os.environ, tmp_path / "log")
        with pytest.raises(TidewatchError, match="worker ended with exit code 2: no broker"):
            eventually(lambda: bool(children.check()))


def test_a_process_that_ignores_being_asked_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.operations.processes.GRACE", 0.5)
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    with Children() as children:
        child = children.start("deaf", [sys.executable, "-c", deaf], os.environ, tmp_path / "log")
        assert eventually(lambda: "up" in child.log.read_text())
    assert not alive(child.pid)


def test_when_the_demo_is_killed_its_processes_end(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from pipeline.operations.processes import Children\n"
        f"child = Children().start('sleeper', {SLEEPER!r}, os.environ, Path({str(tmp_path / 'log')!r}))\n"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        pid = int(demo.stdout.readline())
        assert alive(pid)
        demo.kill()
    assert eventually(lambda: not alive(pid))
