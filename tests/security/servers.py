"""Servers that require what production servers require: certificates, passwords, rights; all made here, for one run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import redis

from detectors.calibration import create
from detectors.model_file import save
from detectors.training import train_metric
from pipeline.embedded.process import free_port

PROJECT = Path(__file__).parents[2]


def skip_or_fail(missing: str) -> None:
    """In CI nothing may be missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority with what it signed for a server at 127.0.0.1, and an authority that signed nothing."""

    ca: Path
    certificate: Path
    key: Path
    stranger: Path


def make_certificates(folder: Path) -> Certificates:
    """With the command openssl."""
    if shutil.which("openssl") is None:
        skip_or_fail("needs the command openssl (Debian: apt install openssl)")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "rsa:2048", "-nodes")
    for name in ("ca", "stranger"):
        openssl(
            "req",
            "-x509",
            *new,
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.pem",
            "-subj",
            f"/CN=test-{name}",
            "-days",
            "2",
        )
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1")
    openssl("req", *new, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "server.pem",
            "-days", "2", "-extfile", "san")  # fmt: skip
    return Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key", folder / "stranger.pem")


@contextmanager
def tls_redis(folder: Path, certificates: Certificates, user: str) -> Iterator[int]:
    """A Redis that speaks TLS alone and knows one user beside its administrator (`admin`, same password); yields its port."""
    program = shutil.which("redis-server")
    if program is None:
        skip_or_fail("needs redis-server with TLS on the PATH (Debian: apt install redis-server)")
    (folder / "users.acl").write_text(f"user default off\nuser admin on >administrator ~* &* +@all\n{user}\n")
    port = free_port()
    command = [str(program), "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "",
               "--tls-cert-file", str(certificates.certificate), "--tls-key-file", str(certificates.key),
               "--tls-ca-cert-file", str(certificates.ca), "--tls-auth-clients", "no", "--aclfile", str(folder / "users.acl"),
               "--maxmemory-policy", "noeviction"]  # fmt: skip
    with (folder / "redis.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        admin = admin_of(port, certificates)
        end = time.monotonic() + 30
        while True:
            try:
                admin.ping()
                break
            except redis.ConnectionError:
                if server.poll() is not None or time.monotonic() > end:
                    pytest.fail(f"redis-server does not come up with TLS: {(folder / 'redis.log').read_text()[-300:]}")
                time.sleep(0.05)
        admin.close()
        yield port
    finally:
        server.terminate()
        server.wait()


def admin_of(port: int, certificates: Certificates) -> redis.Redis:
    """The administrator's client."""
    return redis.Redis(
        host="127.0.0.1",
        port=port,
        ssl=True,
        ssl_ca_certs=str(certificates.ca),
        username="admin",
        password="administrator",
    )


def small_model(folder: Path) -> Path:
    """A model that needs no training time: a z-score over a day of one series."""
    rows = np.arange(300)
    values = 100.0 + 10.0 * np.sin(rows / 4.0) + np.random.default_rng(0).normal(0.0, 1.0, len(rows))
    model = train_metric({"s": (rows * 60_000, values[:, None])}, [("zscore", {"window": 24})], create("empirical"))
    save(model, folder / "small.model")
    return folder / "small.model"


def tidewatch(*arguments: str, cwd: Path, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command with nothing of this machine's settings."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=cwd, env=clean_environment() | environment, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def clean_environment() -> dict[str, str]:
    """Without settings of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TIDEWATCH_")}
    return kept | {"PYTHONPATH": str(PROJECT), "COLUMNS": "500", "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
