"""Write the lock files from pyproject.toml; `make lock` calls it (LOCK_ARGS=--upgrade takes the newest versions).

    requirements.lock        what Tidewatch needs to run, embedded Kafka and Redis included, without torch
    requirements-dev.lock    the same and what tests and linters need
    requirements-torch.lock  torch and the CUDA packages that its Linux build names; CPU builds need none of them

One resolution for Python 3.11 to 3.13 and all platforms, with hashes; the small files are cut from the large one.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements-dev.lock", "requirements-torch.lock")
ONLY_TORCH = re.compile(r"^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==")


def main() -> None:
    """Resolve twice (all, then without the development tools at the same versions) and write three files."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as kept:
        if "--upgrade" not in sys.argv:  # what is locked stays at its version, where pyproject.toml lets it
            kept.write("\n".join(x for name in LOCKS for x in requirements((PROJECT / name).read_text())) + "\n")
            kept.flush()
        everything = compiled(
            ["--extra", "embedded", "--extra", "setup", "--extra", "dev", "--constraints", kept.name, *sys.argv[1:]]
        )
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pinned:
        pinned.write("\n".join(requirements(everything)) + "\n")
        pinned.flush()
        runtime = compiled(["--extra", "embedded", "--extra", "setup", "--constraints", pinned.name])
    write("requirements-dev.lock", [b for b in blocks(everything) if not ONLY_TORCH.match(b)])
    write("requirements.lock", [b for b in blocks(runtime) if not ONLY_TORCH.match(b)])
    write("requirements-torch.lock", [b for b in blocks(runtime) if ONLY_TORCH.match(b)])


def compiled(arguments: list[str]) -> str:
    """What uv resolves pyproject.toml to, hashes included."""
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "compile", "-q", "--universal", "--python-version", "3.11", "--generate-hashes"]
    command += ["--no-annotate", "--no-header", "pyproject.toml", *arguments]
    return subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout  # noqa: S603


def blocks(text: str) -> list[str]:
    """One requirement each, with its hashes."""
    return re.findall(r"^[A-Za-z0-9][^\n]*(?:\n {4}[^\n]*)*", text, re.MULTILINE)


def requirements(text: str) -> list[str]:
    """The requirements without hashes."""
    return [b.splitlines()[0].rstrip(" \\") for b in blocks(text)]


def write(name: str, lines: list[str]) -> None:
    """One lock file."""
    (PROJECT / name).write_text("# Written by `make lock` from pyproject.toml.\n" + "\n".join(lines) + "\n")
    print(f"{name}: {len(lines)} packages")


if __name__ == "__main__":
    main()
