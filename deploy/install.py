"""Install Tidewatch and what it needs into the Python that runs this file: `.venv/bin/python deploy/install.py [--dev]`.

Standard library only; `make` calls it. Versions and hashes come from the lock files (`make lock` writes them). uv does the
work, because it is several times faster than pip, and pip does it where uv cannot. Both are told the registry, certificates
and links that pip is configured with on this machine.

torch is handled apart: its build for Linux in the plain registry brings 4.7 GB of CUDA libraries. A torch of the locked version
that is already there is kept; without an NVIDIA driver PyTorch's CPU builds are tried first, then the plain registry.
A second run finds its stamp and installs nothing.

Last come the jars of Apache Kafka, for the embedded broker (`pipeline.embedded.jars`, which also says where they are kept). Without them
the set-up is done all the same: the first start tries again, and has a fallback. An image needs none (`--without-kafka`), nor the judgement compiled
for this CPU (`detectors.compiling`), which is tried behind them. Meanwhile Python's byte code is written.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import metadata
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
RUNTIME = PROJECT / "requirements.lock"
DEVELOPMENT = PROJECT / "requirements-dev.lock"
TORCH = PROJECT / "requirements-torch.lock"
INPUTS = (RUNTIME, DEVELOPMENT, TORCH, PROJECT / "pyproject.toml", Path(__file__).resolve())

# How pip's settings are called in uv's environment.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
}


class InstallError(Exception):
    """Nothing more can be tried; one line."""


def main() -> int:
    """Install; 0 when everything is there, 2 with one line when it cannot be."""
    parser = argparse.ArgumentParser(description="Install Tidewatch into the Python that runs this.")
    parser.add_argument("--dev", action="store_true", help="also what tests and linters need")
    parser.add_argument("--packages", action="store_true", help="not Tidewatch itself (a layer of an image)")
    parser.add_argument("--without-kafka", action="store_true", help="not the jars of the embedded broker (an image)")
    arguments = parser.parse_args()
    dev, itself = arguments.dev, not arguments.packages
    stamp = Path(sys.prefix) / (".tidewatch-dev" if dev else ".tidewatch")
    wanted = fingerprint()
    if stamp.is_file() and stamp.read_text() == wanted:
        return 0
    if sys.prefix == sys.base_prefix:
        say("error: refusing to install outside a virtual environment; run `make setup`")
        return 2
    started = time.monotonic()
    try:
        install(dev=dev, itself=itself)
        with bytecode() if itself else nullcontext():
            if itself and not arguments.without_kafka:
                get_kafka()
                compile_ahead()
    except InstallError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        return 130
    for file in {stamp, stamp.with_name(".tidewatch")} if itself else ():  # the larger set includes the smaller
        file.write_text(wanted)
    say(f"installed in {time.monotonic() - started:.0f} s")
    return 0


def install(*, dev: bool, itself: bool) -> None:
    """Everything, in order: uv, torch, the locked packages, Tidewatch itself."""
    settings = pip_settings(run([sys.executable, "-m", "pip", "config", "list"]).stdout)
    lock = DEVELOPMENT if dev else RUNTIME
    uv = get_uv(lock, settings)
    get_torch(uv)
    count = len(re.findall(r"^[A-Za-z0-9]", lock.read_text(), re.MULTILINE))
    must(
        f"{count} packages of {lock.name}",
        uv.install("--require-hashes", "--no-deps", "-r", str(lock))
        or Pip().install("--require-hashes", "--no-deps", "-r", str(lock)),
    )
    if itself:
        project = ("--no-deps", "--no-build-isolation", "-e", str(PROJECT))
        must("tidewatch itself", uv.install(*project) or Pip().install(*project))


def get_kafka() -> None:
    """The jars of the embedded Kafka, over the same certificates as pip's."""
    settings = pip_settings(run([sys.executable, "-m", "pip", "config", "list"]).stdout)
    environment = dict(os.environ)
    if "cert" in settings:
        environment.setdefault("SSL_CERT_FILE", settings["cert"])
    done = subprocess.run([sys.executable, "-m", "pipeline.embedded.jars"], env=environment, cwd=PROJECT, check=False)
    say(
        "Apache Kafka: ok"
        if done.returncode == 0
        else "without Apache Kafka: see above; Tansu serves until it is there"
    )


@contextmanager
def bytecode() -> Iterator[None]:
    """What Python makes of every source file, written meanwhile, as pip does it and uv does not.

    Else a process that may not write it, as in an image, or is not to (PYTHONDONTWRITEBYTECODE), makes it anew of the 3,000 files that a
    worker needs: 8 s of CPU at each start.
    """
    packages = Path(sysconfig.get_path("purelib"))
    command = [sys.executable, "-m", "compileall", "-qq", "-x", r"[/\\]tests?[/\\]", str(packages)]
    command += [str(PROJECT / wing) for wing in ("producers", "detectors", "pipeline")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603
        try:
            yield
            process.wait()  # what it could not compile no Python of this version can: templates, other versions' syntax
        finally:
            process.kill()


def compile_ahead() -> None:
    """What runs row by row, as machine code; what does not succeed here is done at its first use."""
    done = subprocess.run([sys.executable, "-m", "detectors.compiling"], cwd=PROJECT, check=False)
    if done.returncode:
        say("what runs row by row is compiled when it is first used")


def get_uv(lock: Path, settings: dict[str, str]) -> Installer:
    """The locked uv in this environment; pip where it cannot be had."""
    requirement = locked(lock.read_text(), "uv")
    one = Path(sys.prefix) / "uv.lock.txt"
    one.write_text(requirement)
    done = Pip().install("--require-hashes", "--no-deps", "-r", str(one))
    one.unlink()
    return Uv(settings) if done else Pip()


def get_torch(uv: Installer) -> None:
    """The locked torch: kept, from PyTorch's CPU builds, or from the plain registry."""
    version = torch_version(TORCH.read_text())
    if installed("torch") == version:
        say(f"torch {version} is already installed")
        return
    if wants_cpu_build() and isinstance(uv, Uv):
        say(f"no NVIDIA driver: trying PyTorch's CPU build of torch {version}")
        if uv.install("--torch-backend", "cpu", "--no-deps", f"torch=={version}", impatient=True, quiet_failure=True):
            return
        say(
            "PyTorch's CPU builds cannot be reached: taking the plain registry's (large, it brings CUDA; it runs on CPUs too)"
        )
    must(f"torch {version}", torch_from_registry(uv) or torch_from_registry(Pip()))


def torch_from_registry(installer: Installer) -> bool:
    """Install torch and what it alone needs; its other dependencies are in the lock file."""
    return installer.install("--require-hashes", "--no-deps", "-r", str(TORCH))


class Installer:
    """Something that installs requirements; false when it could not."""

    def install(self, *arguments: str, impatient: bool = False, quiet_failure: bool = False) -> bool:
        """Install; `impatient` gives up on a registry that does not answer at once."""
        raise NotImplementedError


class Pip(Installer):
    """The pip of this environment; it reads its own configuration."""

    def install(self, *arguments: str, impatient: bool = False, quiet_failure: bool = False) -> bool:
        """See the base."""
        patience = ["--timeout", "5", "--retries", "0"] if impatient else []
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", *patience, *arguments]
        return waited(command, None, quiet_failure=quiet_failure)


class Uv(Installer):
    """uv, told what pip is configured with."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.program = Path(sys.executable).with_name("uv")
        self.environment = dict(os.environ)
        for name, variable in UV_NAMES.items():
            if name in settings:
                self.environment.setdefault(variable, settings[name])

    def install(self, *arguments: str, impatient: bool = False, quiet_failure: bool = False) -> bool:
        """See the base."""
        patience = (
            {"UV_HTTP_CONNECT_TIMEOUT": "5", "UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "0"} if impatient else {}
        )
        command = [str(self.program), "pip", "install", "-q", "--python", sys.executable, *arguments]
        return waited(command, self.environment | patience, quiet_failure=quiet_failure)


def waited(command: list[str], environment: dict[str, str] | None, *, quiet_failure: bool) -> bool:
    """Run a command that may take minutes, with a sign of life; whether it succeeded."""
    what = next((a for a in reversed(command) if not a.startswith("-")), "")
    done = threading.Event()

    def alive() -> None:
        started = time.monotonic()
        while not done.wait(20):
            say(f"  ... {Path(what).name}: {time.monotonic() - started:.0f} s")

    threading.Thread(target=alive, daemon=True).start()
    try:
        result = run(command, environment)
    finally:
        done.set()
    if result.returncode and not quiet_failure:
        say(f"  {Path(command[0]).name} could not install it: {' '.join(result.stderr.split())[-400:]}")
    return result.returncode == 0


def run(command: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it says."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603


def must(what: str, done: bool) -> None:
    """One line for what is there now; InstallError when it is not."""
    if not done:
        raise InstallError(
            f"{what} could not be installed; is a package registry reachable (pip config, PIP_INDEX_URL)?"
        )
    say(f"{what}: ok")


def pip_settings(listing: str) -> dict[str, str]:
    r"""From `pip config list` to a dict; the environment is listed last and so wins.

    >>> pip_settings("global.cert='/a.pem'\n:env:.cert='/b.pem'\ninstall.find-links='x'")
    {'cert': '/b.pem', 'find-links': 'x'}
    """
    found: dict[str, tuple[int, str]] = {}
    rank = {"global": 0, "install": 1, ":env:": 2}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in rank and rank[section] >= found.get(name, (0, ""))[0]:
            found[name] = (rank[section], value.strip().strip("'\""))
    return {name: value for name, (_, value) in found.items()}


def locked(text: str, package: str) -> str:
    """The lines of one package in a lock file, with its hashes."""
    match = re.search(rf"^{re.escape(package)}==[^\n]*(\n    --hash[^\n]*)*", text, re.MULTILINE)
    if match is None:
        raise InstallError(f"{package} is not in the lock file; run `make lock`")
    return match.group(0) + "\n"


def torch_version(text: str) -> str:
    """The version of torch in its lock file."""
    match = re.search(r"^torch==([^\s;\\]+)", text, re.MULTILINE)
    if match is None:
        raise InstallError("torch is not in requirements-torch.lock; run `make lock`")
    return match.group(1)


def installed(package: str) -> str | None:
    """Version without its local part (`2.13.0+cpu` is 2.13.0), None where it is not installed."""
    try:
        return metadata.version(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def wants_cpu_build() -> bool:
    """On Linux without an NVIDIA driver a CUDA build is of no use. TIDEWATCH_TORCH=registry asks for it all the same."""
    driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    return sys.platform == "linux" and not driver and os.environ.get("TIDEWATCH_TORCH") != "registry"


def fingerprint() -> str:
    """What the stamp must say for an installation to be current."""
    digest = hashlib.sha256(f"{sys.version} {platform.platform()}".encode())
    for file in INPUTS:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def say(line: str) -> None:
    """One line for whoever watches."""
    print(f"set-up: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
