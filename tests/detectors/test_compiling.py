"""What is compiled is kept, by what it is made of, and is loaded when a score comes; tests/detectors/judgement/test_compiling.py has what may go wrong."""

from __future__ import annotations

import ast
import ctypes
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detectors import compiling
from detectors.budget import parse
from detectors.budget_threshold import BudgetThreshold
from detectors.calibration import Empirical
from detectors.kernels import ufuncs

ROOT = Path(__file__).parents[2]


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


def test_nothing_imports_numba_before_a_score_comes() -> None:
    code = "import sys, pipeline.app, detectors.budget_threshold, detectors.calibration; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_is_compiled_is_found_by_the_next_process() -> None:
    Empirical().prepare()
    BudgetThreshold(parse("1 per 1000 rows")).prepare()
    code = "from detectors.compiling import *; print([sum(compiled(k).stats.cache_hits.values()) for k in KERNELS])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[1, 1]", "")
