from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from producers.datasets import catalog, open_dataset
from producers.datasets.catalog import Source, locate
from producers.errors import DataError


@pytest.fixture
def taxi_only(data_dir: Path, tmp_path: Path) -> Path:
    """A data folder that holds the taxi files and nothing else."""
    for file in ("data/realKnownCause/nyc_taxi.csv", "labels/combined_windows.json"):
        (tmp_path / "given" / "nab" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data_dir / "nab" / file, tmp_path / "given" / "nab" / file)
    return tmp_path / "given"


@pytest.fixture
def host(taxi_only: Path) -> Iterator[str]:
    """A web server that has the taxi files."""
    handler = partial(QuietHandler, directory=str(taxi_only / "nab"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def from_host(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    taxi = catalog.sources()["taxi"]
    changed = Source(taxi.folder, taxi.files, lambda file: tuple(f"{a}/{file}" for a in addresses))
    monkeypatch.setattr(catalog, "sources", lambda: {"taxi": changed})


def test_the_given_folder_comes_first(taxi_only: Path, tmp_path: Path) -> None:
    found = locate("taxi", {"TIDEWATCH_DATA": str(taxi_only), "XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert found.folder == taxi_only / "nab"


def test_then_the_cache(taxi_only: Path, tmp_path: Path) -> None:
    shutil.copytree(taxi_only, tmp_path / "cache" / "tidewatch" / "data")
    found = locate("taxi", {"TIDEWATCH_DATA": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert found.folder == tmp_path / "cache" / "tidewatch" / "data" / "nab"


def test_where_there_is_none_the_message_says_where_it_looked(tmp_path: Path) -> None:
    found = locate("nab", {"TIDEWATCH_DATA": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "TIDEWATCH_OFFLINE": "1"})
    assert found.folder is None
    assert str(tmp_path / "nab") in found.message
    assert "TIDEWATCH_OFFLINE" in found.message
    assert "\n" not in found.message


def test_a_set_without_a_public_address_says_so(tmp_path: Path) -> None:
    found = locate("ctg", {"XDG_CACHE_HOME": str(tmp_path)})
    assert "no public address" in found.message


def test_a_damaged_file_is_named_with_the_mend(taxi_only: Path, tmp_path: Path) -> None:
    file = taxi_only / "nab" / "data" / "realKnownCause" / "nyc_taxi.csv"
    file.write_bytes(file.read_bytes().replace(b"10844", b"10845", 1))
    with pytest.raises(DataError, match=r"nyc_taxi.csv is damaged: its SHA-256 .*put the original file there"):
        locate("taxi", {"TIDEWATCH_DATA": str(taxi_only), "XDG_CACHE_HOME": str(tmp_path)})


def test_a_download_is_verified_and_kept(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_host(monkeypatch, "http://127.0.0.1:1", host)  # the first address does not answer, the second does
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    found = locate("taxi", environment)
    assert found.folder == tmp_path / "cache" / "tidewatch" / "data" / "nab"
    assert sorted(p.name for p in found.folder.rglob("*") if p.is_file()) == ["combined_windows.json", "nyc_taxi.csv"]
    from_host(monkeypatch, "http://127.0.0.1:1")
    assert locate("taxi", environment).folder == found.folder


def test_another_file_at_the_address_is_not_kept(
    host: str, taxi_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (taxi_only / "nab" / "labels" / "combined_windows.json").write_text("{}")
    from_host(monkeypatch, host)
    found = locate("taxi", {"XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert found.folder is None
    assert "another SHA-256" in found.message
    assert not (tmp_path / "cache" / "tidewatch" / "data" / "nab" / "labels" / "combined_windows.json").exists()


def test_the_twin_is_offered_and_taken_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TIDEWATCH_DATA", str(tmp_path))
    monkeypatch.setenv("TIDEWATCH_OFFLINE", "1")
    with pytest.raises(DataError, match="take its made-up twin synthetic-taxi"):
        open_dataset("taxi")
    assert open_dataset("taxi", synthetic_ok=True).synthetic
    with pytest.raises(DataError, match="ctg: no real data"):
        open_dataset("ctg", synthetic_ok=True)


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(DataError, match="no data set 'mars'; there are nab, taxi, kdd"):
        open_dataset("mars")
