"""MKL's strict mode is in force wherever torch is loaded, unless a user chose another; what holds is named honestly."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detectors import numerics, registry
from detectors.recipes import METRIC

ROOT = Path(__file__).parents[2]
FOLDERS = ("detectors", "pipeline", "producers", "benchmarks", "tests", "examples", "deploy")
AUTO, STRICT, BRANCH = 2, 1 << 16, {"AVX2": 10, "AVX512": 12}
"""Where MKL has not the branch that is asked for (seen on AMD family 25) it takes one that it chooses itself, and is strict all the same."""
IN_FORCE = """
import ctypes, torch
from pathlib import Path
try:
    get = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")).mkl_serv_cbwr_get
except (OSError, AttributeError):
    print("unknown")
else:
    torch.ones(3, 3) @ torch.ones(3, 3)
    print(get(-1))
from detectors import numerics
print(numerics.describe("cpu"))
"""
"""What MKL itself says, where torch's build shows it, and what we say."""


def told(first: str, **environment: str) -> tuple[str, str]:
    """What MKL and we say in a new process that begins with the lines `first`."""
    rest = {name: value for name, value in os.environ.items() if name != numerics.CBWR and name not in numerics.CHOICES}
    done = subprocess.run(
        [sys.executable, "-c", f"{first}\n{IN_FORCE}"],
        env=rest | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    mkl, ours = done.stdout.splitlines()[-2:]
    return mkl, ours


needs_mkl = pytest.mark.skipif(numerics.strict_mode() is None, reason="no MKL, or no strict mode, on this CPU")


@needs_mkl
@pytest.mark.parametrize("first", ["import detectors", "import pipeline.app", "import detectors.checks"])
def test_the_strict_mode_is_in_force_before_torch_is_loaded(first: str) -> None:
    mkl, ours = told(first)
    mode = numerics.strict_mode()
    assert mode is not None
    assert f" mkl-{mode} " in ours
    if mkl != "unknown":
        assert int(mkl) & STRICT
        assert int(mkl) & ~STRICT in {BRANCH[mode.split(",")[0]], AUTO}


@needs_mkl
def test_what_a_user_set_stays_and_is_named() -> None:
    mkl, ours = told("import detectors", MKL_CBWR="COMPATIBLE", ATEN_CPU_CAPABILITY="avx2")
    assert mkl in {"unknown", "3"}
    assert " AVX2 mkl-COMPATIBLE " in ours
    assert ours.endswith(" float32 ATEN_CPU_CAPABILITY=avx2")


@needs_mkl
def test_where_torch_was_loaded_first_nothing_is_claimed() -> None:
    mkl, ours = told("import torch; torch.ones(3, 3) @ torch.ones(3, 3); import detectors")
    assert "mkl-not-strict(torch-was-loaded-before-detectors)" in ours
    assert mkl == "unknown" or not int(mkl) & STRICT


@pytest.mark.parametrize(
    ("machine", "flags", "mode"),
    [
        ("aarch64", "", None),
        ("arm64", "", None),
        ("x86_64", "sse4_2", None),
        ("x86_64", "fma avx2", "AVX2,STRICT"),
        ("AMD64", "fma avx2 avx512f", "AVX2,STRICT"),  # not all of what MKL asks for
        ("x86_64", "fma avx2 avx512f avx512cd avx512bw avx512dq avx512vl", "AVX512,STRICT"),
    ],
)
def test_the_mode_is_the_best_that_the_cpu_has(
    machine: str, flags: str, mode: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(numerics, "_flags", lambda: frozenset(flags.split()))
    monkeypatch.delenv(numerics.CBWR, raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert numerics.strict_mode() == mode
    numerics.hold()
    assert os.environ.get(numerics.CBWR) == mode


def test_a_build_without_mkl_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mkl.is_available", lambda: False)
    assert " without-mkl torch-" in numerics.describe("cpu")


def loads_torch_too_early(source: str) -> bool:
    """Whether a module outside the two packages imports torch without detectors, pipeline or a test's conftest before it."""
    for node in ast.walk(ast.parse(source)):
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        roots = {name.split(".")[0] for name in names}
        if roots & {"detectors", "pipeline"}:
            return False
        if "torch" in roots:
            return True
    return False


def test_no_module_loads_torch_before_detectors() -> None:
    """Within `detectors` and `pipeline` the package comes first; pytest loads the conftest first."""
    early = [
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        if folder not in {"detectors", "pipeline"}
        for path in (ROOT / folder).rglob("*.py")
        if not (folder == "tests" and path.name.startswith("test_")) and loads_torch_too_early(path.read_text())
    ]
    assert early == []
    assert loads_torch_too_early("import numpy\nimport torch\nfrom detectors import base")
    assert not loads_torch_too_early("from detectors import base\nimport torch")


def without_torch(code: str) -> str:
    """What a new process prints that runs this and must not have loaded torch."""
    code += "\nimport sys; assert 'torch' not in sys.modules, 'torch was loaded'"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_default_scores_on_the_cpu_without_torch(tmp_path: Path) -> None:
    members = []
    for member in METRIC.detectors:
        name, settings = (member, {}) if isinstance(member, str) else member
        members.append(registry.create(name, **{**settings, "window": 24, "training": {"epochs": 1}}))
    wave = np.sin(np.arange(300) / 5.0)[:, None].repeat(members[0].width, axis=1)
    x = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(wave, 24, axis=0).transpose(0, 2, 1), np.float32)
    for i, member in enumerate(members):
        member.fit(x)
        np.savez(tmp_path / f"{i}.npz", **member.arrays())
    np.save(tmp_path / "x.npy", x)
    said = without_torch(
        "import numpy as np, hashlib\nfrom detectors import registry, numerics\n"
        f"x = np.load(r'{tmp_path / 'x.npy'}')\n"
        + "".join(
            f"kind = registry.find('{m.name}')\n"
            f"d = kind.from_arrays(kind.Config.model_validate_json({m.config.model_dump_json()!r}), dict(np.load(r'{tmp_path / f'{i}.npz'}')))\n"
            "d.to('cpu').prepare()\n"
            "assert not d.by_torch\n"
            "print(hashlib.sha256(d.score(x).raw.tobytes()).hexdigest())\n"
            for i, m in enumerate(members)
        )
        + "print(numerics.describe('cpu', by_torch=False))"
    ).splitlines()
    assert said[:-1] == [hashlib.sha256(m.score(x).raw.tobytes()).hexdigest() for m in members]
    assert said[-1] == numerics.describe("cpu", by_torch=False)
    assert "torch" not in said[-1]


def test_a_worker_s_programs_are_loaded_without_torch() -> None:
    without_torch("import pipeline.app")


@pytest.mark.skipif(sys.platform != "linux", reason="looks at Linux' device files")
def test_a_machine_without_a_driver_is_not_asked_for_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "False" in without_torch(
        "from detectors import numerics; numerics._DRIVERS = ('/dev/no-such-driver',); print(numerics.gpu_there())"
    )
    code = f"from detectors import numerics; import sys; numerics._DRIVERS = (r'{tmp_path}',); numerics.gpu_there(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True", "what has a driver was not asked"


def test_threads_that_were_asked_for_hold_once_torch_is_loaded() -> None:
    code = (
        "from detectors import numerics, registry; numerics.use_threads(3)\n"
        "d = registry.create('gru', training={'epochs': 1})\n"
        "import numpy as np; d.fit(np.zeros((40, 48, 1), np.float32) + np.arange(40)[:, None, None])\n"
        "print(numerics.threads_now())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"
