"""Data stays data: nothing in the packages runs what a file, a setting or a record holds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
FILES = sorted(
    file
    for folder in ("pipeline", "producers", "detectors", "deploy", "benchmarks")
    for file in (PROJECT / folder).rglob("*.py")
)
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "codeop", "runpy", "imp"}
CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
METHODS = {
    ("torch", "load"), ("torch", "save"), ("torch.jit", "load"), ("torch.hub", "load"), ("yaml", "load"), ("yaml", "unsafe_load"),
    ("numpy", "fromregex"), ("np", "fromregex"), ("pd", "read_pickle"), ("pandas", "read_pickle"), ("pd", "eval"), ("os", "system"),
    ("os", "popen"), ("subprocess", "getoutput"), ("ctypes", "CDLL"),
}  # fmt: skip
NAMED_MODULES = {
    # file -> text that shows that the name is one of ours: a verb of the list, a key of the table, a kernel that stands above.
    "pipeline/cli.py": "for verb in COMMANDS",
    "detectors/compiling.py": "KERNELS = (\n    JUDGEMENT,\n",
    "detectors/__init__.py": "importlib.import_module(_HOME[name])",
    "detectors/registry.py": 'module, kind = _HOME[name].split(".")',
    "pipeline/__init__.py": "importlib.import_module(_HOME[name])",
    "producers/__init__.py": "importlib.import_module(_HOME[name])",
}


def findings(file: Path, text: str) -> Iterator[str]:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        where = f"{file}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"{where} imports {name}" for name in names if name.split(".")[0] in MODULES)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        owner, _, name = called.rpartition(".")
        if called in CALLS or (owner, name) in METHODS:
            yield f"{where} calls {called}"
        if name in ("import_module", "find_spec", "spec_from_file_location") and not isinstance(
            node.args[0], ast.Constant
        ):
            yield f"{where} imports a module by a name that is computed"
        for keyword in node.keywords:
            constant = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if keyword.arg == "allow_pickle" and constant is not False:
                yield f"{where} allows pickle"
            if keyword.arg == "shell" and constant is not False:
                yield f"{where} runs a shell"
        if name == "load" and owner in ("np", "numpy") and not any(k.arg == "allow_pickle" for k in node.keywords):
            yield f"{where} loads an array without saying allow_pickle=False"


def test_nothing_of_ours_runs_data() -> None:
    found = [told for file in FILES for told in findings(file.relative_to(PROJECT), file.read_text())]
    expected = [f for f in found if f.split(":")[0] in NAMED_MODULES and "a name that is computed" in f]
    assert [f for f in found if f not in expected] == []
    for file, shown in NAMED_MODULES.items():
        assert (PROJECT / file).read_text().count(shown) == 1


@pytest.mark.parametrize("code", [
    "import pickle", "from joblib import load", "eval(x)", "torch.load(f)", "yaml.load(f)", "np.load(f)",
    "np.load(f, allow_pickle=True)", "importlib.import_module(settings.detector)", "subprocess.run(x, shell=True)", "exec(code)",
])  # fmt: skip
def test_the_search_finds_what_it_is_for(code: str) -> None:
    assert list(findings(Path("x.py"), code))


def test_detectors_and_formats_are_looked_up_not_imported() -> None:
    """A name in settings or a model file is a key of a table that is written down."""
    from detectors.registry import DETECTORS
    from producers.formats import FOREIGN

    assert all(isinstance(name, str) and isinstance(kind, type) for name, kind in DETECTORS.items())
    assert all(callable(parse) for parse in FOREIGN.values())
