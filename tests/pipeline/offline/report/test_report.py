"""The report is one file that loads nothing, runs only its own code, and draws in a real browser; names in it stay names."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from browser import browser_page

from pipeline.offline import alert_list
from pipeline.offline.report.scored import write_report
from pipeline.offline.scorefile import score_dataset
from producers.datasets import Dataset, Series

EVIL = "</script><script>document.title='broken'</script>"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    times = 1_767_225_600_000 + np.arange(30_000) * 60_000
    values = 50 + rng.normal(size=30_000)
    values[20_000] += 80
    data = Dataset("d", "metric", ("<b>load</b>",), "here", {EVIL: Series(EVIL, times, (values,))})
    scored = score_dataset(data, detector="zscore")
    path = tmp_path / "report.html"
    write_report(data, scored, alert_list.alert_rows(data, scored), path)
    return path


def test_nothing_is_loaded_and_only_its_own_code_runs(report: Path) -> None:
    text = report.read_text()
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert "default-src &#39;none&#39;" in policy
    assert "unsafe" not in policy
    assert not re.findall(r'(?:src|href)="', text)
    assert EVIL not in text
    assert text.count("<script") == 3


def test_no_spike_is_lost_where_points_are_left_out(report: Path) -> None:
    data = re.search(r'id="data">(.*?)</script>', report.read_text(), re.DOTALL)
    assert data is not None
    values = json.loads(data[1])[0]["lines"][0]["y"]
    assert len(values) < 30_000
    assert max(values) > 120


def test_where_an_alarm_decides_the_ranking_score_and_its_band_are_drawn(tmp_path: Path) -> None:
    n = 600
    values = 50 + np.random.default_rng(1).normal(size=n)
    data = Dataset("d", "metric", ("load",), "here", {"a": Series("a", np.arange(n) * 60_000, (values,))})
    scored = score_dataset(data, detector="zscore")
    wide = np.full((n, 1), 1e9)
    judged = replace(scored, alarm=np.zeros(n), score=np.linspace(0, 30, n), lower=-wide, upper=wide)
    for one, said in ((scored, "The score is calibrated"), (judged, "The score ranks")):
        write_report(data, one, (), tmp_path / "r.html")
        assert said in (tmp_path / "r.html").read_text()
    found = re.search(r'id="data">(.*?)</script>', (tmp_path / "r.html").read_text(), re.DOTALL)
    assert found is not None
    above, below = json.loads(found[1])
    low, high = (next(line["y"] for line in above["lines"] if line["kind"] == kind) for kind in ("low", "high"))
    assert max(below["lines"][0]["y"]) == 30
    assert values.min() - 2 < min(low) < max(high) < values.max() + 2  # a wild band does not squeeze the picture


def test_all_of_it_is_in_the_wheel() -> None:
    project = Path(__file__).parents[4]
    shipped = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["pipeline"]
    folders = ("pipeline/offline/report", "pipeline/pictures", "pipeline/pictures/vendor", "pipeline/dashboard/page")
    own = [p for folder in folders for p in (project / folder).iterdir() if p.is_file() and p.suffix != ".py"]
    assert len(own) > 20
    assert [p.name for p in own if not any(p.match(pattern.replace("**/", "")) for pattern in shipped)] == []


async def test_it_draws_in_a_browser_and_the_names_stay_names(report: Path) -> None:
    async with browser_page(report.as_uri()) as tab:
        await tab.locator("tr.link").first.click()
        await tab.wait_for_selector(".chart canvas")
        assert await tab.locator(".chart canvas").count() == 2
        assert await tab.title() == "Tidewatch: d"
        assert tab.problems == []


@pytest.mark.parametrize(("width", "theme"), [(1440, "dark"), (390, "light")])
async def test_it_fits_the_screen_obeys_the_keyboard_and_axe_finds_nothing(
    report: Path, width: int, theme: str
) -> None:
    async with browser_page(report.as_uri(), width=width, height=844, color_scheme=theme, bypass_csp=True) as tab:
        await tab.locator("tr.link").first.focus()
        await tab.evaluate("scrollTo(0, 0)")
        await tab.keyboard.press("Enter")
        await tab.wait_for_function("scrollY > 0")  # there, as a click leads
        assert await tab.evaluate("document.documentElement.scrollWidth") <= width
        await tab.add_script_tag(path=AXE_FILE_PATH)
        found = await tab.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found["violations"]] == []
