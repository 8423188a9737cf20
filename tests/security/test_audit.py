"""The audit fails on what nobody has decided on, and never takes silence for an all-clear."""

from __future__ import annotations

import importlib.util
import re
import sys
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(PROJECT / "deploy")  # as a script it finds its neighbour
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
    assert audit.decided(PAGE) == {("CVE-2026-1", "b")}
    assert audit.judge(FOUND, audit.decided(PAGE)) == 0


def test_what_is_not_fails_and_is_named(audit: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.judge(FOUND, set()) == 1
    assert audit.judge(FOUND, {("CVE-2026-1", "a")}) == 1
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


@pytest.fixture
def servers(audit: ModuleType) -> ModuleType:
    return sys.modules["audit_servers"]


@pytest.mark.parametrize(
    ("version", "holed"),
    [
        ("6.2.19", True), ("6.2.20", False), ("6.0.20", True), ("7.0.15", True), ("7.2.5", True), ("7.2.10", True),
        ("7.2.11", False), ("7.2.16", False), ("8.2.1", True), ("8.2.2", False), ("8.4.0", False), ("10.0.0", False),
    ],
)  # fmt: skip
def test_a_version_is_compared_with_the_mend_of_its_own_line(servers: ModuleType, version: str, holed: bool) -> None:
    hole = {"fixed": ["6.2.20", "7.2.11", "7.4.6", "8.0.4", "8.2.2"]}
    assert servers.affected(version, hole) is holed
    assert servers.affected("6.9.9", {"since": "7.0.0", **hole}) is False


def test_servers_and_images_are_named_and_a_decision_is_about_one_place(
    audit: ModuleType, servers: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decisions = audit.decided((PROJECT / "docs/security.md").read_text())
    assert servers.judge_servers(decisions, date(2025, 12, 1)) == 0
    told = capsys.readouterr().out
    for name in ("kafka (docker-compose.yml)", "redis (docker-compose.yml)", "prometheus", "grafana", "python"):
        assert f"audit: {name}" in told
    assert "kafka (pipeline/embedded/jars.txt)" in told
    assert "WARNING" not in told
    monkeypatch.setattr(servers, "servers", lambda: [servers.Server("redis", "7.2.5", "docker-compose.yml")])
    assert servers.judge_servers(decisions, date(2027, 1, 1)) == 12
    told = capsys.readouterr().out
    assert "CVE-2025-49844 code by a Lua script (use after free) (fixed in 6.2.20, 7.2.11" in told
    assert "WARNING: server_holes.toml is of 2025-11-30, 397 days ago" in told


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
