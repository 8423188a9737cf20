"""Where machine code is kept, what happens where it cannot be, and what it calls."""

from __future__ import annotations

import ast
import ctypes
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detectors import compiling
from detectors.compiling import JUDGEMENT
from detectors.kernels import ufuncs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Whether it was kept, each time it is made; nothing is compiled."""
    found: list[bool] = []
    monkeypatch.setattr(compiling, "_made", lambda _, cache=False: found.append(cache) or print)
    compiling.compiled.cache_clear()
    yield found
    compiling.compiled.cache_clear()


def test_it_is_kept_in_the_cache_folder_and_made_once_in_a_process(
    made: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TIDEWATCH_CACHE", str(tmp_path))
    compiling.compiled(JUDGEMENT)
    compiling.compiled(JUDGEMENT)
    assert made == [True]
    assert [r.getMessage() for r in caplog.records] == ["compiling the judgement once, about 20 s"]
    (folder,) = (tmp_path / "compiled").iterdir()
    (folder / "run.nbi").touch()
    compiling.compiled.cache_clear()
    compiling.compiled(JUDGEMENT)
    assert len(caplog.records) == 1  # it is there


def test_a_cache_that_cannot_be_written_is_said_and_stops_nothing(
    made: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TIDEWATCH_CACHE", str(tmp_path / "file"))
    compiling.compiled(JUDGEMENT)
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
    folder = compiling.folder_of(JUDGEMENT, numba.__version__)
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
        compiling, "_made", lambda _, cache: read.append(Path(numba.config.CACHE_DIR, "run.nbi").read_text()) or print
    )
    compiling.compiled.cache_clear()
    try:
        compiling.compiled(JUDGEMENT)
    finally:
        compiling.compiled.cache_clear()
    assert (read, caplog.records) == (["as compiled"], [])


def test_a_damaged_file_in_it_is_said_and_removed_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object, cache: bool = False) -> object:
        if cache:
            raise EOFError("Ran out of input")
        return print

    monkeypatch.setattr(compiling, "_made", broken)
    monkeypatch.setenv("TIDEWATCH_CACHE", str(tmp_path))
    compiling.compiled.cache_clear()
    try:
        assert compiling.compiled(JUDGEMENT) is print
    finally:
        compiling.compiled.cache_clear()
    assert f"what is in {tmp_path}" in caplog.records[-1].getMessage()
    assert not list((tmp_path / "compiled").iterdir())  # the next start keeps it again


@pytest.mark.parametrize("kernel", compiling.KERNELS, ids=lambda k: k.module)
def test_another_source_of_what_it_uses_has_another_folder(
    kernel: compiling.Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.py").write_text("FAR = 11.0\n")
    monkeypatch.setattr(compiling, "_ROOT", tmp_path)
    of = replace(kernel, made_of=("a.py",))
    first = compiling.folder_of(of, "1")
    assert compiling.folder_of(of, "2") != first
    (tmp_path / "a.py").write_text("FAR = 12.0\n")
    assert compiling.folder_of(of, "1") != first


@pytest.mark.parametrize("kernel", compiling.KERNELS, ids=lambda k: k.module)
def test_all_that_it_takes_something_from_is_among_what_it_is_made_of(kernel: compiling.Kernel) -> None:
    sources = [Path(kernel.module.replace(".", "/") + ".py")]
    for source in sources:
        imports = [n for n in ast.parse((ROOT / source).read_text()).body if isinstance(n, ast.ImportFrom)]
        own = [
            n.module for n in imports if n.module is not None and n.module.split(".")[0] in {"detectors", "pipeline"}
        ]
        assert all(
            any(Path(name.replace(".", "/") + ".py").is_relative_to(of) for of in kernel.made_of) for name in own
        )
        sources += [
            p for n in own if (p := Path(n.replace(".", "/") + ".py")).parent.name == "kernels" and p not in sources
        ]


def test_compiled_code_calls_the_functions_that_numpy_calls() -> None:
    numba = pytest.importorskip("numba")
    x = np.exp(np.random.default_rng(0).normal(0, 4, 20_000))

    @numba.njit
    def all_of(loops, x, out):  # type: ignore[no-untyped-def]
        for i in range(len(x)):
            out[0, i], out[1, i] = ufuncs.log10(loops, x[i]), ufuncs.log1p(loops, x[i])
            out[2, i], out[3, i] = ufuncs.expm1(loops, -x[i]), ufuncs.ten_to(loops, -x[i])

    out = np.empty((4, len(x)))
    all_of(ufuncs.loops(), x, out)
    np.testing.assert_array_equal(out, [np.log10(x), np.log1p(x), np.expm1(-x), 10.0**-x])


def test_a_ufunc_that_is_built_otherwise_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(ctypes.Structure):
        _fields_ = (("head", ctypes.c_char * 8), *ufuncs._UFunc._fields_[1:])

    monkeypatch.setattr(ufuncs, "_UFunc", Other)
    with pytest.raises(RuntimeError, match=r"^numpy .* keeps its log10 where compiled code cannot call it$"):
        ufuncs.loops.__wrapped__()


def test_nothing_imports_numba_or_scipy_before_a_score_comes() -> None:
    code = "import sys, pipeline.app, pipeline.offline.scorefile, detectors.budget_threshold, detectors.judgement.population; print({'numba', 'scipy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_is_compiled_is_found_by_the_next_process() -> None:
    for kernel in compiling.KERNELS:
        compiling.compiled(kernel)
    code = "from detectors.compiling import *; print([sum(compiled(k).stats.cache_hits.values()) for k in KERNELS])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (str([1] * len(compiling.KERNELS)), "")


def test_what_is_kept_is_loaded_without_what_compiling_needs_and_others_can_be_compiled_behind_it() -> None:
    compiling.compiled(compiling.LEVEL)  # it is kept now
    subprocess.run([sys.executable, "-c", _LOADS], check=True, timeout=120)


_LOADS = """
import sys
import numba
from detectors import compiling
assert numba.__version__.startswith(compiling._SWIFT), "look whether this version loads without its registries, and add it"
compiling.compiled(compiling.LEVEL)
assert "numba.np.arraymath" not in sys.modules
assert numba.njit(lambda x: x.sum())(__import__("numpy").ones(3)) == 3.0
"""


def test_threads_that_ask_at_once_load_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[int] = []
    most: list[int] = []

    def made(*_: object, **__: object) -> object:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()
        return print

    monkeypatch.setattr(compiling, "_made", made)
    compiling.compiled.cache_clear()
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(compiling.compiled, (compiling.LEVEL, compiling.POLICY, compiling.VOTES)))
    compiling.compiled.cache_clear()
    assert most == [1, 1, 1]


def test_kept_code_is_loaded_without_what_only_compiling_needs() -> None:
    """What Numba makes of numpy's `argmin` or `sort` names a module of it that imports scipy: 0.2 s of every start."""
    for kernel in compiling.KERNELS:
        compiling.compiled(kernel)
    code = (
        "import sys; from detectors import compiling; [compiling.compiled(k) for k in compiling.KERNELS]; "
        "sys.exit('scipy.linalg' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
