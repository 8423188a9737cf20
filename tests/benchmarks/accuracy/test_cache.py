"""Outcomes are kept part by part, and made anew when their code or settings change, not when a comment does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.accuracy import cache, nab
from benchmarks.accuracy import run as accuracy
from benchmarks.accuracy.cache import Job, Outcomes, WholeRun, carry_out, collect, digest, keep, sources, whole_run
from benchmarks.accuracy.experiments import experiments


class Work:
    """Notes which parts it was asked for; fails at `broken`."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.broken = ""

    def __call__(self, wanted: tuple[str, ...]) -> Iterator[tuple[str, Outcomes]]:
        for name in wanted:
            if name == self.broken:
                raise RuntimeError(name)
            self.made.append(name)
            yield name, [{"contender": name}]


def job(work: Work, **keys: str) -> Job:
    return Job("experiment", "In order, 0", work, (), keys)


def test_only_what_is_missing_or_has_another_key_is_made(tmp_path: Path) -> None:
    work = Work()
    assert carry_out(job(work, a="1", b="1"), tmp_path) == 2
    assert carry_out(job(work, a="1", b="1"), tmp_path) == 0
    assert carry_out(job(work, a="1", b="2", c="1"), tmp_path) == 2
    assert work.made == ["a", "b", "b", "c"]


def test_a_stop_loses_one_part(tmp_path: Path) -> None:
    work = Work()
    work.broken = "b"
    with pytest.raises(RuntimeError):
        carry_out(job(work, a="1", b="1"), tmp_path)
    work.broken = ""
    assert carry_out(job(work, a="1", b="1"), tmp_path) == 1
    assert work.made == ["a", "b"]


def test_what_is_stale_is_counted_and_what_is_no_longer_asked_for_is_left_out(tmp_path: Path) -> None:
    carry_out(job(Work(), a="1", b="1", gone="1"), tmp_path)
    found = collect([job(Work(), a="1", b="2")], tmp_path)["experiment"]
    assert (found.parts, found.stale, found.missing) == (2, 1, 0)
    assert [o["contender"] for o in found.outcomes] == ["a", "b"]


def test_a_job_that_is_not_complete_counts_as_missing(tmp_path: Path) -> None:
    carry_out(job(Work(), a="1", b="1"), tmp_path)
    other = Job("experiment", "other", Work(), (), {"a": "1"})
    carry_out(other, tmp_path)
    found = collect([job(Work(), a="1", b="1", c="1"), other], tmp_path)["experiment"]
    assert (found.parts, found.missing, len(found.outcomes)) == (4, 3, 1)


def test_a_whole_run_is_remembered_until_a_part_of_the_plan_has_another_key(tmp_path: Path) -> None:
    plan = [job(Work(), a="1", b="1")]
    assert whole_run(plan, tmp_path) is None
    keep(WholeRun(digest(plan), 60.0, 100.0, 2), tmp_path)
    assert whole_run(plan, tmp_path) == WholeRun(digest(plan), 60.0, 100.0, 2)
    assert whole_run([job(Work(), a="1", b="2")], tmp_path) is None
    assert whole_run([*plan, Job("more", "0", Work(), (), {"a": "1"})], tmp_path) is None


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(cache, "ROOT", tmp_path)
    folder = tmp_path / "detectors"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "one.py").write_text("from detectors.two import f\n")
    (folder / "two.py").write_text("import numpy\n\ndef f():\n    return 1\n")
    (folder / "three.py").write_text("x = 1\n")
    cache._read.cache_clear()
    yield folder
    cache._read.cache_clear()


def digest_after(path: Path, text: str, apart: tuple[str, ...] = ()) -> str:
    path.write_text(text)
    cache._read.cache_clear()
    return sources("detectors.one", apart=apart)


def test_the_digest_follows_imports_and_ignores_comments_and_docstrings(project: Path) -> None:
    before = sources("detectors.one")
    two = project / "two.py"
    assert digest_after(two, 'import numpy\n\n\ndef f():\n    """One."""\n    return 1  # one\n') == before
    assert digest_after(two, "import numpy\n\ndef f():\n    return 2\n") != before
    assert digest_after(two, "import numpy\n\ndef f():\n    return 1\n") == before
    assert digest_after(project / "three.py", "x = 2\n") == before


def test_a_module_that_is_set_apart_does_not_count(project: Path) -> None:
    before = sources("detectors.one", apart=("detectors.two",))
    assert digest_after(project / "two.py", "y = 3\n", apart=("detectors.two",)) == before


def test_each_part_of_the_plan_has_a_place_and_a_key_of_its_own() -> None:
    for quick in (False, True):
        plan = list(accuracy.jobs(quick=quick))
        files = [job.file(Path()) for job in plan]
        assert len(set(files)) == len(files)
        keys = [key for job in plan for key in job.keys.values()]
        assert len(set(keys)) == len(keys)
        assert all(job.keys for job in plan)
    assert {job.experiment for job in accuracy.jobs(quick=False)} >= {"nab", "mnist", "taxi", "kdd-http", "creditcard"}


def test_the_order_of_the_plan_knows_every_experiment() -> None:
    assert sorted(accuracy.LONGEST_FIRST) == sorted(e.name for e in experiments())
    assert set(accuracy.SLOW_ON_NAB) <= set(nab.detectors())


def test_one_command_makes_a_part_of_the_page_and_says_what_it_took(tmp_path: Path, data_dir: Path) -> None:
    command = [sys.executable, cache.ROOT / "benchmarks/accuracy/run.py", "--quick", "--only", "ctg"]
    done = subprocess.run([*command, "--processes", "1"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[4/4]" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("out/accuracy/quick.md written: 28 parts made in ")
    assert last.endswith(" of processor time")
    text = (tmp_path / "out/accuracy/quick.md").read_text(encoding="utf-8")
    assert "## Cardiotocography (CTG)" in text
    assert "| RBM | network | normal |" in text
    assert "**Not run yet:** mnist" in text
