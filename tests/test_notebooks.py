"""The notebooks of examples/ hold no outputs, and run as they stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.ipynb"))


def cells(notebook: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return found


def test_there_are_two() -> None:
    assert [n.name for n in NOTEBOOKS] == ["from_dataframe_to_alerts.ipynb", "from_labels_to_a_detector.ipynb"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda n: n.stem)
def test_a_notebook_runs_and_says_what_it_promises(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cell by cell in one name space, as a kernel does; the assertions are the notebook's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    code = [cell for cell in cells(notebook) if cell["cell_type"] == "code"]
    assert len(code) >= 5
    for number, cell in enumerate(code, 1):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        exec(compile("".join(cell["source"]), f"{notebook.name}, cell {number}", "exec"), names)  # our own file
    assert any("assert " in "".join(cell["source"]) for cell in code)
