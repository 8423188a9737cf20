"""The libraries of page and reports are what their list says, and nothing else lies there."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files

import pytest

from pipeline import pictures
from pipeline.errors import TidewatchError

FOLDER = files("pipeline.pictures") / "vendor"
LISTED = json.loads((FOLDER / "vendor.json").read_text())


@pytest.mark.parametrize("package", LISTED)
def test_each_file_is_the_one_that_was_taken_with_its_licence(package):
    about = LISTED[package]
    assert about["from"].startswith("https://registry.npmjs.org/")
    assert about["version"] in about["from"]
    assert f"{package}.LICENSE" in about["files"]
    for name, sha256 in about["files"].items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == sha256, f"{name}: run `make lock`"


def test_no_file_lies_there_unlisted():
    listed = {name for about in LISTED.values() for name in about["files"]}
    assert {f.name for f in FOLDER.iterdir()} == listed | {"vendor.json"}


def test_no_module_makes_code_of_text_or_asks_for_a_package():
    for file in FOLDER.iterdir():
        if file.name.endswith(".js"):
            text = file.read_text()
            assert "new Function" not in text
            assert "eval(" not in text
            assert 'from"preact"' not in text


def test_a_file_that_was_changed_is_not_used(monkeypatch):
    monkeypatch.setattr(pictures, "_listed", lambda: {"uplot.css": "0" * 64})
    with pytest.raises(TidewatchError, match="install tidewatch anew"):
        pictures.vendored("uplot.css")
