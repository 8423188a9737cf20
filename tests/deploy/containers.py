"""Services of a compose file without an engine: each in namespaces of its own that hold what its definition gives it, no more.

A `Container` gets a root folder with the image's programs (read-only), its volumes, its environment, its user, no capabilities, and
the network namespace that all share, where every service's name is 127.0.0.1. So what an image brings is a stand-in by this machine;
what docker-compose.yml says is as an engine would apply it. Needs root on Linux (`missing`).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
_OF_THE_SYSTEM = ("/usr", "/etc/alternatives", "/etc/ssl", "/etc/ld.so.cache", "/etc/passwd", "/etc/group")
_LINKS = ("bin", "sbin", "lib", "lib64")


def missing() -> str:
    """Why no container can be made here; empty where one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux for namespaces"
    for program in ("unshare", "nsenter", "setpriv", "ip"):
        if shutil.which(program) is None:
            return f"needs {program} on the PATH (Debian: apt install util-linux iproute2)"
    tried = subprocess.run(["unshare", "-mn", "ip", "link", "set", "lo", "up"], capture_output=True, text=True)
    return f"no namespaces may be made here: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass(frozen=True)
class Image:
    """What an image brings.

    Attributes
    ----------
    user
        Its own; a service may name another.
    folders
        Made in it, the user's.
    parts
        Path in it -> what of this machine stands for it.
    scripts
        Path in it -> text of a program that this machine lacks.
    """

    user: int
    workdir: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    parts: Mapping[str, Path] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)


def tidewatch_image() -> Image:
    """deploy/Dockerfile's last stage; this checkout and its virtual environment stand for /app."""
    stage = (PROJECT / "deploy/Dockerfile").read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    [variables] = re.findall(r"^ENV (.*)$", stage, re.MULTILINE)
    environment = dict(word.split("=", 1) for word in variables.split())
    [user] = re.findall(r"--uid (\d+)", stage)
    [folders] = re.findall(r"install -d -o tidewatch (.*)$", stage, re.MULTILINE)
    [entrypoint] = re.findall(r"^ENTRYPOINT (.*)$", stage, re.MULTILINE)
    [workdir] = re.findall(r"^WORKDIR (.*)$", stage, re.MULTILINE)
    venv = Path(sys.prefix).resolve()  # a checkout may hold a link to it
    python = Path(sys.base_prefix)
    environment["PATH"] = environment["PATH"].replace("/app/.venv", str(venv)).replace("$PATH", "/usr/bin:/bin")
    environment["PYTHONPATH"] = "/app"  # in the image they are installed
    sources = {f"/app/{name}": PROJECT / name for name in ("producers", "detectors", "pipeline")}
    return Image(
        user=int(user),
        workdir=workdir,
        entrypoint=tuple(json.loads(entrypoint)),
        environment=environment,
        folders=("/home/tidewatch", *folders.split()),
        parts={str(venv): venv, str(python): python, **sources},
    )


class Network:
    """A network namespace with a loopback device, in which every service's name is 127.0.0.1."""

    def __init__(self, names: Iterable[str]) -> None:
        self.hosts = f"127.0.0.1 localhost container {' '.join(names)}\n"
        self._holder = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "up\n"
        self.pid = self._holder.pid

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


class Container:
    """One service of a file as Compose understands it, its anchors merged and variables filled in.

    Parameters
    ----------
    volumes
        Where named volumes are kept; one that is used for the first time is the image's folder's, as an engine makes it.
    scratch
        An empty folder for the root, the output and scripts.
    """

    def __init__(
        self, service: Mapping[str, Any], image: Image, network: Network, volumes: Path, scratch: Path
    ) -> None:
        self.service, self.image, self._network = service, image, network
        self.output = scratch / "output.log"
        self._root, self._scratch = scratch / "root", scratch
        self._root.mkdir(parents=True)
        for name in image.scripts:
            self._script(name)
        self._mounts = [self._mount(str(v), volumes) for v in service.get("volumes", [])]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Exactly what a process in it sees."""
        given = {k: str(v) for k, v in (self.service.get("environment") or {}).items()}
        return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/home/tidewatch", **self.image.environment, **given}  # fmt: skip

    @property
    def command(self) -> list[str]:
        """Entry point and command; the service's own where it names them."""
        own = self.service.get("entrypoint")
        entrypoint = list(self.image.entrypoint) if own is None else list(own)
        command = self.service.get("command") or ([] if own is not None else list(self.image.command))
        return [*entrypoint, *map(str, command)]

    def start(self) -> None:
        with self.output.open("ab") as output:
            self._process = self._popen(self.command, output)

    def wait(self, timeout: float) -> int:
        assert self._process is not None
        return self._process.wait(timeout)

    @property
    def returncode(self) -> int | None:
        assert self._process is not None
        return self._process.poll()

    def stop(self, timeout: float) -> int:
        """As `docker compose stop`: SIGTERM, and SIGKILL after the grace."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(timeout)
        finally:
            self._process.kill()
            self._process.wait()

    def run(self, command: list[str], timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """As `docker compose exec`."""
        words = self._enter(command)
        return subprocess.run(words, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)

    def healthy(self) -> bool:
        """Its health check, once."""
        kind, *words = self.service["healthcheck"]["test"]
        return self.run(["/bin/sh", "-c", *words] if kind == "CMD-SHELL" else words).returncode == 0

    def _popen(self, command: list[str], output: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._enter(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def _script(self, name: str) -> None:
        file = self._scratch / name.replace("/", "-")
        file.write_text(self.image.scripts[name])
        file.chmod(0o755)

    def _mount(self, volume: str, volumes: Path) -> tuple[Path, str, bool]:
        source, target, mode = (*volume.split(":"), "rw")[:3]
        if not source.startswith("/"):
            place = volumes / source
            if not place.exists():
                place.mkdir(parents=True)
                owner = self.image.user if target in self.image.folders else 0
                os.chown(place, owner, owner)
            source = str(place)
        return Path(source), target, mode == "ro"

    def _enter(self, command: list[str]) -> list[str]:
        """The words that run a command in it. The last step is the command itself: its process id is the one that was started."""
        root = self._root
        lines = [
            "set -e",
            f"hostname {self.service.get('hostname', 'container')}",
            f"mount -t tmpfs -o mode=755 none {root}",
        ]
        for path in (*_OF_THE_SYSTEM, "/dev"):
            if Path(path).exists():
                lines += _bind(Path(path), root / path[1:], read_only=path != "/dev")
        lines += [f"ln -s usr/{name} {root}/{name}" for name in _LINKS if Path("/usr", name).exists()]
        lines += [f"mkdir -p {root}/proc", f"mount --rbind /proc {root}/proc", f"mkdir -m 1777 {root}/tmp"]
        lines.append(f"printf %s {shlex.quote(self._network.hosts)} > {root}/etc/hosts")
        for path in self.service.get("tmpfs", []):  # before the parts: a checkout may itself lie below /tmp
            lines.append(f"mkdir -p {root}{path} && mount -t tmpfs -o mode=1777 none {root}{path}")
        for path in self.image.folders:
            lines.append(f"install -d -o {self.image.user} -g {self.image.user} {root}{path}")
        for path, source in self.image.parts.items():
            lines += _bind(source, root / path[1:], read_only=True)
        for path in self.image.scripts:
            lines += _bind(self._scratch / path.replace("/", "-"), root / path[1:], read_only=True)
        for source, target, read_only in self._mounts:
            lines += _bind(source, root / target[1:], read_only=read_only)
        if self.service.get("read_only"):
            lines.append(f"mount -o remount,ro none {root}")
        user = str(self.service.get("user", self.image.user))
        drop = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs"]
        drop += ["--inh-caps", "-all", "--bounding-set", "-all"] if self.service.get("cap_drop") == ["ALL"] else []
        variables = [f"{k}={v}" for k, v in self.environment.items()]
        inside = [
            "chroot",
            str(root),
            "/usr/bin/setpriv",
            *drop[1:],
            "/usr/bin/env",
            "-i",
            "-C",
            self.image.workdir,
            *variables,
            *command,
        ]
        lines.append("exec " + shlex.join(inside))
        outside = ["nsenter", "-t", str(self._network.pid), "-n", "unshare", "-mu", "--propagation", "private"]
        return [*outside, "sh", "-c", "\n".join(lines)]


def _bind(source: Path, target: Path, *, read_only: bool) -> list[str]:
    made = f"mkdir -p {target}" if source.is_dir() else f"mkdir -p {target.parent} && : > {target}"
    lines = [made, f"mount --{'r' if str(source) == '/dev' else ''}bind {source} {target}"]
    return [*lines, f"mount -o remount,ro,bind {target}"] if read_only else lines
