"""The audit fails on what nobody has decided on, and never takes silence for an all-clear."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deploy_audit", PROJECT / "deploy/audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FOUND = [
    {"name": "a", "version": "1", "vulns": []},
    {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["3"]}]},
]
PAGE = "<!-- findings -->\n| finding | package | decision |\n|---|---|---|\n| CVE-2026-1 | b | not reached: we never parse XML |\n<!-- /findings -->"


def test_what_is_decided_on_passes_also_under_another_name(audit: ModuleType) -> None:
    assert audit.decided(PAGE) == {"CVE-2026-1"}
    assert audit.judge(FOUND, audit.decided(PAGE)) == 0


def test_what_is_not_fails_and_is_named(audit: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.judge(FOUND, set()) == 1
    assert "PYSEC-2026-1 b 2 (fixed in 3): NOT DECIDED" in capsys.readouterr().out


def test_a_row_without_a_decision_is_none(audit: ModuleType) -> None:
    assert audit.decided(PAGE.replace("not reached: we never parse XML", "")) == set()


@pytest.mark.parametrize("answer", [None, [{"name": "a", "skip_reason": "Dependency not found on PyPI"}]])
def test_silence_is_told_as_such_and_does_not_fail(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: object
) -> None:
    monkeypatch.setattr(audit, "ask", lambda service, lock: answer)
    assert audit.main() == 0
    assert "WARNING: no vulnerability service could be asked" in capsys.readouterr().err


def test_every_package_is_pinned_by_hash() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock", "requirements-torch.lock"):
        blocks = re.findall(r"^[A-Za-z0-9][^\n]*(?:\n {4}[^\n]*)*", (PROJECT / lock).read_text(), re.MULTILINE)
        assert len(blocks) > 1
        for block in blocks:
            assert re.match(r"[\w.\[\]-]+==", block), block.splitlines()[0]
            assert "--hash=sha256:" in block, block.splitlines()[0]


def test_the_image_installs_by_hash_and_nothing_when_it_runs() -> None:
    image = (PROJECT / "deploy/Dockerfile").read_text()
    assert "deploy/install.py --packages" in image
    last = image.rpartition("\nFROM ")[2]
    assert not re.search(r"\b(pip|uv|apt-get|curl|wget)\b", last)
    assert "USER tidewatch" in last
    assert '"--require-hashes", "--no-deps", "-r", str(lock)' in (PROJECT / "deploy/install.py").read_text()
