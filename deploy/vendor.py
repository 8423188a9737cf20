"""Bring the libraries of page and reports into `pipeline/pictures/vendor/`; `make lock` calls it (LOCK_ARGS=--upgrade takes the newest versions).

Each file is taken as its npm package has it, with the licence; `vendor.json` says version, licence, where from, and the SHA-256 of what lies
there (`pipeline.pictures.vendored` and its test compare). The one change made: modules that name `preact` read the file beside them, since a
browser knows no packages and the page's policy (CSP) lets no inline import map in.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import tarfile
import urllib.request
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "pipeline" / "pictures" / "vendor"
REGISTRY = "https://registry.npmjs.org"
WANTED = {
    "preact": {"dist/preact.mjs": "preact.js", "hooks/dist/hooks.mjs": "hooks.js", "LICENSE": "preact.LICENSE"},
    "htm": {"dist/htm.module.js": "htm.js", "LICENSE": "htm.LICENSE"},
    "uplot": {"dist/uPlot.iife.min.js": "uplot.js", "dist/uPlot.min.css": "uplot.css", "LICENSE": "uplot.LICENSE"},
}
"""npm package -> file in it -> name here."""


def main() -> None:
    """Write the files, and what they are."""
    upgrade = "--upgrade" in sys.argv
    listed = FOLDER / "vendor.json"
    known = json.loads(listed.read_text()) if listed.exists() else {}
    told = {}
    FOLDER.mkdir(exist_ok=True)
    for package, files in WANTED.items():
        version = "latest" if upgrade or package not in known else known[package]["version"]
        about = json.loads(_read(f"{REGISTRY}/{package}/{version}"))
        packed = _read(about["dist"]["tarball"])
        _require_integrity(packed, about["dist"]["integrity"], package)
        written = {}
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            for inside, name in files.items():
                member = archive.extractfile(f"package/{inside}")
                if member is None:
                    sys.exit(
                        f"error: {package} {about['version']} holds no file {inside}; mend WANTED in deploy/vendor.py"
                    )
                content = _for_browsers(member.read(), name)
                (FOLDER / name).write_bytes(content)
                written[name] = hashlib.sha256(content).hexdigest()
        told[package] = {
            "version": about["version"],
            "licence": about["license"],
            "from": about["dist"]["tarball"],
            "files": written,
        }
        print(f"{package} {about['version']}, {about['license']}: {', '.join(written)}")
    listed.write_text(json.dumps(told, indent=2) + "\n")


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310  # https, by the constant above or the registry's word
        return bytes(answer.read())


def _require_integrity(packed: bytes, integrity: str, package: str) -> None:
    kind, _, wanted = integrity.partition("-")
    if base64.b64encode(hashlib.new(kind, packed).digest()).decode() != wanted:
        sys.exit(f"error: {package} is not what npm's registry says it is (integrity {integrity})")


def _for_browsers(content: bytes, name: str) -> bytes:
    if not name.endswith(".js"):
        return content
    text = content.decode()
    lines = [line for line in text.splitlines() if not line.startswith("//# sourceMappingURL=")]
    return ("\n".join(lines).replace('from"preact"', 'from"./preact.js"') + "\n").encode()


if __name__ == "__main__":
    main()
