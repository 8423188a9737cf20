"""The look that the page and the reports share: colours, how pictures are drawn, and the libraries from elsewhere.

`palette.css` has the colours, light and dark; `draw.js` what every chart does (ranges, numbers, shades, zoom with the wheel); `vendor/` the libraries,
each with its licence, as `vendor.json` lists them (`deploy/vendor.py` brings them). Knows nothing of the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from pipeline.errors import TidewatchError


def own(name: str) -> str:
    """A file of this folder, as text."""
    return (files(__name__) / name).read_text(encoding="utf-8")


def as_script(name: str) -> str:
    """A module of this folder for a page that is one file: what it exports is simply there."""
    return own(name).replace("export ", "")


def vendored(name: str) -> str:
    """A library's file. Raises TidewatchError where it is not the one that was shipped."""
    content = (files(__name__) / "vendor" / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != _listed().get(name):
        msg = f"{name} of the installed package is not the one that was shipped; install tidewatch anew"
        raise TidewatchError(msg)
    return content.decode()


def scripts_and_styles() -> Iterator[tuple[str, str]]:
    """Name and text of every library's file that a browser reads."""
    for name in _listed():
        if name.endswith((".js", ".css")):
            yield name, vendored(name)


@cache
def _listed() -> dict[str, str]:
    packages = json.loads((files(__name__) / "vendor" / "vendor.json").read_text(encoding="utf-8"))
    return {name: sha256 for package in packages.values() for name, sha256 in package["files"].items()}
