"""Where the judgement's machine code is kept, and what happens where it cannot be."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from detectors.judgement import compiling
from detectors.judgement.population import Population


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Whether it was kept, each time it is made; nothing is compiled."""
    found: list[bool] = []
    monkeypatch.setattr(compiling, "_made", lambda *, cache=False: found.append(cache) or print)
    compiling.compiled.cache_clear()
    yield found
    compiling.compiled.cache_clear()


def test_it_is_kept_in_the_cache_folder_and_made_once_in_a_process(
    made: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TIDEWATCH_CACHE", str(tmp_path))
    compiling.compiled()
    compiling.compiled()
    assert made == [True]
    assert [r.getMessage() for r in caplog.records] == ["compiling the judgement once, about 20 s"]
    (folder,) = (tmp_path / "compiled").iterdir()
    (folder / "run.nbi").touch()
    compiling.compiled.cache_clear()
    compiling.compiled()
    assert len(caplog.records) == 1  # it is there


def test_a_cache_that_cannot_be_written_is_said_and_stops_nothing(
    made: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TIDEWATCH_CACHE", str(tmp_path / "file"))
    compiling.compiled()
    assert made == [False]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "each start does" in record.getMessage()
    assert str(tmp_path / "file") in record.getMessage()


def test_a_folder_that_can_only_be_read_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As in an image with a read-only file system. The tests may run as root, who can write anywhere: so writing fails by itself."""
    numba = pytest.importorskip("numba")
    monkeypatch.setenv("TIDEWATCH_CACHE", str(tmp_path))
    folder = compiling.folder_of(numba.__version__)
    folder.mkdir(parents=True)
    (folder / "run.nbi").write_text("as compiled")
    plain = tempfile.TemporaryFile

    def refused(dir: Path | None = None) -> object:  # noqa: A002
        if dir == folder:
            raise OSError(30, "Read-only file system")
        return plain(dir=dir)

    read: list[str] = []
    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    monkeypatch.setattr(
        compiling, "_made", lambda *, cache: read.append(Path(numba.config.CACHE_DIR, "run.nbi").read_text()) or print
    )
    compiling.compiled.cache_clear()
    try:
        compiling.compiled()
    finally:
        compiling.compiled.cache_clear()
    assert (read, caplog.records) == (["as compiled"], [])


def test_a_damaged_file_in_it_is_said_and_removed_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*, cache: bool = False) -> object:
        if cache:
            raise EOFError("Ran out of input")
        return print

    monkeypatch.setattr(compiling, "_made", broken)
    monkeypatch.setenv("TIDEWATCH_CACHE", str(tmp_path))
    compiling.compiled.cache_clear()
    try:
        assert compiling.compiled() is print
    finally:
        compiling.compiled.cache_clear()
    assert f"what is in {tmp_path}" in caplog.records[-1].getMessage()
    assert not list((tmp_path / "compiled").iterdir())  # the next start keeps it again


def test_another_source_and_another_numba_have_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_SOURCES", tmp_path)
    (tmp_path / "terms.py").write_text("FAR = 11.0\n")
    first = compiling.folder_of("1")
    assert compiling.folder_of("2") != first
    (tmp_path / "terms.py").write_text("FAR = 12.0\n")
    second = compiling.folder_of("1")
    assert second != first
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/row.py").write_text("def judge(): ...\n")
    assert compiling.folder_of("1") != second


def test_nothing_imports_numba_before_a_row_is_judged() -> None:
    code = "import sys, pipeline.app, pipeline.offline.scorefile, detectors.judgement.population; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_is_compiled_is_found_by_the_next_process() -> None:
    population = Population.none(1)
    states = np.zeros(1, population.state_dtype)
    population.step(states, np.zeros(1, np.intp), np.zeros((1, 1)), np.zeros(1, np.int64))
    code = "from detectors.judgement.compiling import compiled; print(sum(compiled().stats.cache_hits.values()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("1", "")
