"""docs/first-steps.md is run as it stands: its commands in their order, with free ports put in."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs/first-steps.md"

pytestmark = [pytest.mark.embedded, pytest.mark.slow, pytest.mark.timeout(400)]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


class Reader:
    """Somebody who does what the page says, in a folder of his own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[str]] = {}
        self._logs = 0
        bin_folder = Path(sys.executable).parent
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("TIDEWATCH_")}
        self.environment |= {"PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(PROJECT), "COLUMNS": "200"}

    def start(self, command: list[str]) -> Path:
        """Leave it running; returns the file that holds what it prints."""
        printed = self.folder / f"{self._logs}.log"
        self._logs += 1
        with printed.open("w") as out:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=out, stderr=subprocess.STDOUT, text=True
            )
        self.running[command[1]] = process
        return printed

    def end(self, verb: str) -> None:
        """Ctrl-C in its terminal."""
        process = self.running.pop(verb)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, self.said()

    def restart(self, verb: str) -> None:
        """Stop it and start it again, until it says that it goes on from its stored state."""
        command = self.running[verb].args
        self.end(verb)
        assert isinstance(command, list)
        printed = self.start(command)
        deadline = time.monotonic() + 120
        while "partition opened" not in printed.read_text():
            assert self.running[verb].poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.2)
        assert "state loaded" in printed.read_text()

    def reads(self) -> list[str]:
        """All alert records; their order across partitions is Kafka's."""
        return sorted(self.do("python examples/read_alerts.py --once").splitlines())

    def sees_the_outage(self) -> None:
        """`tidewatch alerts` shows it before long."""
        deadline = time.monotonic() + 180
        while "\tlyon\t2026-01-22" not in (alerts := self.do("tidewatch alerts")):
            assert time.monotonic() < deadline, f"no alert of the outage:\n{alerts}\n{self.said()}"
            time.sleep(2)

    def said(self) -> str:
        return "\n".join(file.read_text() for file in sorted(self.folder.glob("*.log")))

    def run(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def do(self, line: str) -> str:
        """One line of the page; a line that is to be left running gives its first line of output, if it has one."""
        command = shlex.split(line, comments=True)
        if command[0] == "make" or command[0] == "source":
            return ""  # that is what runs this test
        if command[:2] == ["tidewatch", "servers"]:
            printed = self.start([*command[:2], "--kafka-port", "0", "--redis-port", "0"])
            deadline = time.monotonic() + 180
            while (match := re.search(r"Kafka at (\S+), Redis at (\S+);", told := printed.read_text())) is None:
                assert time.monotonic() < deadline, told
                time.sleep(0.1)
            self.environment |= {"TIDEWATCH_KAFKA__BROKERS": match[1], "TIDEWATCH_REDIS__URL": match[2]}
            return told
        if "leave it running" in line:
            self.start(command)
            return ""
        if command[0] == "python":
            command = [sys.executable, str(PROJECT / command[1]), *command[2:]]
            if "send_metrics" in command[1]:
                command += ["--brokers", self.environment["TIDEWATCH_KAFKA__BROKERS"]]
        return self.run(command)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    someone = Reader(tmp_path)
    yield someone
    for process in reversed(someone.running.values()):
        process.terminate()
    for process in reversed(someone.running.values()):
        process.wait(timeout=30)


def test_whoever_follows_the_page_sees_the_outage(reader: Reader) -> None:
    (toml,) = blocks("toml")
    (reader.folder / "tidewatch.toml").write_text(toml)
    lines = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]
    shown = {line: reader.do(line) for line in lines}
    assert len(shown) >= 10
    assert "failed" not in shown["tidewatch doctor"]

    reader.sees_the_outage()
    read = reader.reads()
    fired = [
        line for line in read if line.startswith("2026-01-22T12") and "shops lyon firing" in line and "anomaly" in line
    ]
    assert len(fired) == 1
    for file in named_files():
        assert (reader.folder / file).exists(), f"the page names {file}"
    said = reader.said()
    assert "first record scored" in said
    assert "first alert" in said

    # "It may be stopped and started at any time": the worker, then everything.
    reader.restart("worker")
    assert reader.reads() == read
    for verb in ("worker", "servers"):
        reader.end(verb)
    reader.do("tidewatch servers --kafka-port 0 --redis-port 0  # leave it running")
    reader.do("tidewatch worker  # leave it running")
    reader.sees_the_outage()
    assert reader.reads() == read
    assert "failed" not in reader.do("tidewatch doctor")
    assert [p.poll() for p in reader.running.values()] == [None, None], f"ended by itself:\n{reader.said()}"


def named_files() -> list[str]:
    """What the page names as files of the reader's own."""
    names = set(re.findall(r"`([\w./]+)`", PAGE.read_text()))
    return sorted(n for n in names if re.fullmatch(r"[\w/]+(\.\w+)*\.(png|tidewatch|toml)|out/\w+", n))


def test_the_page_names_files_of_each_kind() -> None:
    assert named_files() == ["out/servers", "shops.curves.png", "tidewatch.toml"]
