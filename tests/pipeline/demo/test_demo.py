"""The demo as a person runs it, on a small made-up stream: files, kills, Ctrl-C, nothing left behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.embedded, pytest.mark.slow]

PROJECT = Path(__file__).parents[3]
DRIVER = """
import sys
from pathlib import Path
from rich.console import Console
from pipeline import cli
from pipeline.demo.live import create_view
from pipeline.demo.run import Options, run_demo
from pipeline.demo.streams import DemoStream

small = DemoStream(
    name="taxi", title="Taxi", dataset="synthetic-taxi", detector="zscore", why="quick",
    settings={"alerts": {"resolve_after": "12h"}},
)
run = lambda: run_demo(Options(Path(sys.argv[1]), 1, sys.argv[2], False, (small,)), create_view(Console(width=140)))
cli.create_cli = lambda: run  # errors and Ctrl-C end as on the command line
cli.main()
"""


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path)
    yield running
    running.clean_up()


class Demo:
    """A demo in a process of its own, and all processes that it ever had."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output.txt"
        self.family: set[psutil.Process] = set()

    def start(self, speed: str = "max") -> None:
        with self.output.open("w") as out:
            self.process = psutil.Popen(
                [sys.executable, "-c", DRIVER, str(self.folder / "out"), speed],
                cwd=PROJECT,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, pattern: str, seconds: float = 180.0) -> None:
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.output.read_text()):
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            self.look()
            time.sleep(0.1)

    def look(self) -> None:
        self.family.update(self.process.children(recursive=True))

    def workers(self) -> list[psutil.Process]:
        self.look()
        found = []
        for process in self.family:
            with suppress(psutil.Error):  # gone, or a zombie
                if "worker" in process.cmdline():
                    found.append(process)
        return found

    def finish(self, seconds: float = 120.0) -> int:
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self.look()
            time.sleep(0.1)
        return int(self.process.wait(timeout=1))

    def left_over(self) -> list[psutil.Process]:
        _, alive = psutil.wait_procs(list(self.family), timeout=60)
        return alive

    def clean_up(self) -> None:
        for process in [self.process, *self.family]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def alerts(self) -> list[str]:
        """The tables of the report."""
        text = self.output.read_text()
        return [line for line in text[text.index("Taxi ──") :].splitlines() if "records;" not in line]


def test_the_demo_ends_by_itself_with_a_report_and_a_killed_worker_changes_nothing(demo: Demo, tmp_path: Path) -> None:
    demo.start()
    assert demo.finish() == 0, demo.output.read_text()
    assert demo.left_over() == []
    undisturbed = demo.alerts()
    assert demo.output.read_text().startswith("SYNTHETIC DATA for taxi")
    page = (tmp_path / "out/report.html").read_text()
    assert "Synthetic data for taxi" in page
    assert page.count("data-chart=") == 2
    assert not re.search(r'(src|href)="(?!data:|#)', page), "the page needs nothing but itself"

    demo.start(speed="250000x")  # some 75 seconds: a worker that needs half a minute to start still sees a part live
    demo.wait_for(r"[1-9][\d,]*/10,320")
    for times in (1, 2):
        for worker in demo.workers():
            worker.kill()
        demo.wait_for(r"(?s)(started again as process.*){" + str(times) + "}")
        time.sleep(1.0)
    assert demo.finish() == 0, demo.output.read_text()
    assert demo.left_over() == []
    assert demo.alerts() == undisturbed


@pytest.mark.parametrize("moment", ["training taxi", "workers? started"])
def test_ctrl_c_at_any_moment_stops_every_process(demo: Demo, moment: str) -> None:
    demo.start(speed="20000x")
    demo.wait_for(moment)
    demo.process.send_signal(signal.SIGINT)
    assert demo.finish(60.0) == 130, demo.output.read_text()
    assert "Traceback" not in demo.output.read_text()
    assert demo.left_over() == []


def test_a_demo_that_is_killed_leaves_nothing_behind(demo: Demo) -> None:
    demo.start(speed="20000x")
    demo.wait_for("workers? started")
    demo.look()
    assert len(demo.family) >= 3
    demo.process.kill()
    demo.process.wait()
    assert demo.left_over() == []
