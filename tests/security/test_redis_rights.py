"""Redis over TLS, with a user that sees its own prefix and no more commands than docs/security.md says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from security.servers import PROJECT, Certificates, admin_of, make_certificates, tls_redis

from pipeline.errors import Refused, StoreError
from pipeline.partition.stores.base import Identity
from pipeline.partition.stores.redis import RedisStore
from pipeline.settings import RedisSettings

PASSWORD = "canary-of-redis"
IDENTITY = Identity(
    cluster_id="c", topic_id="t", stream="s", numerics="n", format=2
)  # fmt: skip


def documented_user() -> str:
    """The ACL line of the page, with this test's password."""
    page = (PROJECT / "docs/security.md").read_text()
    block = page.partition("<!-- redis -->")[2].partition("<!-- /redis -->")[0]
    [line] = re.findall(r"^user tidewatch .*$", block, re.MULTILINE)
    return line.replace(">PASSWORD", f">{PASSWORD}")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def port(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with tls_redis(tmp_path_factory.mktemp("redis"), certificates, documented_user()) as port:
        yield port


def settings(port: int, certificates: Certificates, **changes: Any) -> RedisSettings:
    url = f"rediss://tidewatch:{changes.pop('password', PASSWORD)}@127.0.0.1:{port}/0"
    given = {"url": url, "ca_file": certificates.ca, "timeout": timedelta(seconds=5), **changes}
    return RedisSettings.model_validate(given)


async def life_of_a_partition(store: RedisStore) -> None:
    """All that a worker asks of its store."""
    claim = await store.claim("s", 0)
    assert await store.load(claim) is None
    claim = await store.save(claim, 5, IDENTITY, {"a": b"1", "b": b"2"}, write_id="w1")
    claim = await store.save(claim, 9, IDENTITY, {"a": b"3"}, removed=("b",), write_id="w2")
    claim = await store.save(claim, 9, IDENTITY, {"c": b"4"}, write_id="w3", replace=True)
    again = await store.claim("s", 0)
    with pytest.raises(Refused):
        await store.save(claim, 10, IDENTITY, {}, write_id="w4")
    stored = await store.load(again)
    assert stored is not None
    assert (stored.offset, dict(stored.fields)) == (9, {"c": b"4"})
    assert await store.delete("s", 0)


async def test_the_documented_user_can_do_all_that_a_worker_asks(port: int, certificates: Certificates) -> None:
    store = RedisStore(settings(port, certificates))
    await life_of_a_partition(store)
    await store.close()


async def test_it_sees_no_key_but_its_own(port: int, certificates: Certificates) -> None:
    store = RedisStore(settings(port, certificates, prefix="somebody-else"))
    with pytest.raises(StoreError, match=r"refuses the user of redis\.url .*mend the password or the ACL"):
        await store.claim("s", 0)
    await store.close()


NEEDED = sorted(set(re.findall(r"\+(\w+)", documented_user())))


@pytest.mark.parametrize("command", NEEDED)
async def test_each_right_is_needed_and_its_lack_is_one_line_that_names_it(
    port: int, certificates: Certificates, command: str
) -> None:
    admin = admin_of(port, certificates)
    admin.execute_command("ACL", "SETUSER", "tidewatch", f"-{command}")
    admin.script_flush()
    store = RedisStore(settings(port, certificates))
    try:
        with pytest.raises(StoreError, match=rf"^Redis at 127\.0\.0\.1:{port} refuses the user.*\b{command}\b") as told:
            await life_of_a_partition(store)
        assert "\n" not in str(told.value)
        assert PASSWORD not in str(told.value)
    finally:
        admin.execute_command("ACL", "SETUSER", "tidewatch", f"+{command}")
        admin.delete("tidewatch:state:s:0")
        admin.close()
        await store.close()


@pytest.mark.parametrize(("changes", "says"), [
    ({"password": "wrong-secret"}, r"refuses the user of redis\.url .*mend the password"),
    ({"ca_file": "stranger"}, r"cannot be reached .*certificate.*redis\.ca_file"),
    ({"ca_file": None}, r"cannot be reached .*certificate.*redis\.ca_file"),
    ({"url": "plain"}, r"Redis at 127\.0\.0\.1"),
])  # fmt: skip
async def test_what_is_wrong_is_one_line_without_the_secret(
    port: int, certificates: Certificates, changes: dict[str, Any], says: str
) -> None:
    if changes.get("ca_file") == "stranger":
        changes = {"ca_file": certificates.stranger}
    if changes.get("url") == "plain":
        changes = {"url": f"redis://tidewatch:{PASSWORD}@127.0.0.1:{port}/0"}
    store = RedisStore(settings(port, certificates, **changes))
    with pytest.raises(StoreError, match=says) as told:
        await store.claim("s", 0)
    await store.close()
    text = str(told.value)
    assert "\n" not in text
    assert not {PASSWORD, "wrong-secret"} & set(re.split(r"[:@/ ]", text))


async def test_a_name_that_the_certificate_is_not_for_is_refused(port: int, certificates: Certificates) -> None:
    url = f"rediss://tidewatch:{PASSWORD}@localhost:{port}/0"
    store = RedisStore(settings(port, certificates, url=url))
    with pytest.raises(StoreError, match=r"(?i)hostname mismatch|not valid for|cannot be reached"):
        await store.claim("s", 0)
    await store.close()
