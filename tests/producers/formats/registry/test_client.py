"""A registry that answers well, badly, late or not at all: a schema, a lasting no, or somebody who has to wait."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from registry_stand_in import StandIn, stand_in

from producers.errors import RegistryError
from producers.formats.base import Reason
from producers.formats.registry.address import check_url
from producers.formats.registry.client import MAX_SCHEMA, Registry
from producers.formats.registry.schemas import JSON, Schema, Unknown

AVRO = json.dumps(
    {"type": "record", "name": "M", "fields": [{"name": "ts", "type": "long"}, {"name": "of", "type": "x.Of"}]}
)
OF = json.dumps({"type": "record", "name": "Of", "namespace": "x", "fields": [{"name": "v", "type": "double"}]})


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in() as server:
        yield server


def fetched(server: StandIn, schema: int = 1, **options: str) -> Schema | Unknown:
    return Registry(server.url, timeout=5, **options).fetch_now([schema])[schema]  # type: ignore[arg-type]


def test_a_schema_and_what_it_refers_to_are_fetched_once(server: StandIn) -> None:
    server.says("schemas/ids/1", schema=AVRO, references=[{"name": "x.Of", "subject": "of/sub", "version": 3}])
    server.says("subjects/of%2Fsub/versions/3", schema=OF, subject="of", version=3, id=7)
    registry = Registry(server.url + "/")
    found = registry.fetch_now([1])[1]
    assert isinstance(found, Schema)
    assert found.read is not None
    assert list(found.read(b"\x02" + b"\0" * 8)) == [(("ts",), 1), (("of", "v"), 0.0)]
    assert registry.fetch_now([1])[1] is found
    assert server.asked == ["schemas/ids/1", "subjects/of%2Fsub/versions/3"]


def test_types_are_told_apart(server: StandIn) -> None:
    server.says("schemas/ids/1", schema="{}", schemaType="JSON")
    server.says("schemas/ids/2", schema="x", schemaType="XML")
    assert fetched(server) == JSON
    unknown = fetched(server, 2)
    assert isinstance(unknown, Unknown)
    assert "type 'XML' is none of AVRO, JSON and PROTOBUF" in unknown.detail
    assert unknown.lasting


def test_what_it_does_not_know_is_told_and_may_come(server: StandIn) -> None:
    unknown = fetched(server)
    assert isinstance(unknown, Unknown)
    assert (unknown.reason, unknown.lasting) == (Reason.UNDECODABLE, False)
    assert unknown.detail.endswith("does not know it")


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ("{", "no JSON"),
        ('{"type":"record"}', "no Avro schema"),
        ('"long"', "no records"),
        ("[" * 50_000, "no JSON"),
        ('{"type":"array","items":' * 500 + '"long"' + "}" * 500, "too many types"),
        ('{"type":"record","name":"N","fields":[{"name":"n","type":["null","N"]}]}', "it holds itself"),
        ('{"type":"record","name":"N","fields":[{"name":"n","type":{"type":"map","values":{"type":"array","items":"N"}}}]}', "it holds itself"),
        ('{"type":"record","name":"N","fields":[{"name":"n","type":{"type":"array","items":"null"}}]}', "may take no room"),
        ('{"type":"record","name":"N","fields":[{"name":"n","type":{"type":"array","items":{"type":"fixed","name":"F","size":0}}}]}', "may take no room"),
    ],
)  # fmt: skip
def test_schemas_that_cannot_be_used_are_a_lasting_no(server: StandIn, schema: str, says: str) -> None:
    server.says("schemas/ids/1", schema=schema)
    unknown = fetched(server)
    assert isinstance(unknown, Unknown)
    assert unknown.lasting
    assert says in unknown.detail


def test_names_that_stand_for_more_and_more_are_counted_not_followed(server: StandIn) -> None:
    def record(n: int) -> str:
        types = [f"R{n - 1}"] * 2 if n else ["double"]
        fields = [{"name": f"f{i}", "type": of} for i, of in enumerate(types)]
        return json.dumps({"type": "record", "name": f"R{n}", "fields": fields})

    for n in range(40):
        more = [{"name": f"R{n - 1}", "subject": f"r{n - 1}", "version": 1}] if n else []
        server.says(f"subjects/r{n}/versions/1", schema=record(n), references=more)
    server.says("schemas/ids/1", schema=record(40), references=[{"name": "R39", "subject": "r39", "version": 1}])
    unknown = fetched(server)
    assert isinstance(unknown, Unknown)
    assert (unknown.reason, unknown.lasting) == (Reason.TOO_LARGE, True)


def test_references_in_a_ring_or_without_end_come_to_an_end(server: StandIn) -> None:
    server.says("schemas/ids/1", schema=AVRO, references=[{"name": "a", "subject": "a", "version": 1}])
    server.says("subjects/a/versions/1", schema=OF, references=[{"name": "b", "subject": "b", "version": 1}])
    server.says("subjects/b/versions/1", schema='"long"', references=[{"name": "a", "subject": "a", "version": 1}])
    assert isinstance(fetched(server), Schema)
    for n in range(200):
        server.says(
            f"subjects/c{n}/versions/1",
            schema='"long"',
            references=[{"name": f"c{n + 1}", "subject": f"c{n + 1}", "version": 1}],
        )
    server.says("schemas/ids/2", schema=AVRO, references=[{"name": "c0", "subject": "c0", "version": 1}])
    unknown = fetched(server, 2)
    assert isinstance(unknown, Unknown)
    assert "more than 100 others" in unknown.detail


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((500, "text/plain", b"oh"), "it answers 500"),
        ((401, "application/json", b'{"error_code":401}'), "registry.username and registry.password"),
        ((403, "text/html", b""), "403, it refuses"),
        ((302, "text/html", b""), "it answers 302"),
        ((404, "text/html", b"<html>"), "no word of a schema registry"),
        ((404, "application/json", b'{"status":404}'), "no word of a schema registry"),
        ((200, "text/html", b"<html>"), r"its answer is none of a schema registry \('text/html'\)"),
        ((200, "application/json", b"[" * 100_000), "its answer is none"),
        ((200, "application/json", b'{"schema":5}'), "its answer is none"),
        ((200, "text/html", b"x" * (MAX_SCHEMA + 9)), "its answer is none"),
    ],
)
def test_what_is_no_answer_of_a_registry_has_to_be_waited_for(
    server: StandIn, answer: tuple[int, str, bytes], says: str
) -> None:
    server.answers["schemas/ids/1"] = answer
    with pytest.raises(RegistryError, match=says):
        fetched(server)


def test_a_schema_that_is_too_large_is_a_lasting_no(server: StandIn) -> None:
    server.says("schemas/ids/1", schema="x" * MAX_SCHEMA)
    assert fetched(server) == Unknown(Reason.TOO_LARGE, "it is larger than 1 MiB")


def test_nobody_there_or_nobody_who_answers_has_to_be_waited_for(server: StandIn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RegistryError, match=f"http://127.0.0.1:{port} cannot be asked"):
        Registry(f"http://127.0.0.1:{port}").fetch_now([1])
    server.wait = 0.5
    with pytest.raises(RegistryError, match=r"no answer within 0\.1 s"):
        Registry(server.url, timeout=0.1).fetch_now([1])


def test_the_registry_is_told_who_asks_and_no_error_says_it(server: StandIn) -> None:
    fetched(server, username="me", password="hush hush")
    fetched(server, token="ticket")
    assert server.authorization == ["Basic bWU6aHVzaCBodXNo", "Bearer ticket"]
    server.answers["schemas/ids/1"] = (401, "text/plain", b"hush")
    with pytest.raises(RegistryError) as refused:
        fetched(server, username="me", password="hush hush")
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("registry:8081", "write it as http://host:8081"),
        ("ftp://registry", "write it as http://host:8081"),
        ("http://", "write it as http://host:8081"),
        ("http://a:99999", "write it as http://host:8081"),
        ("http://me:secret@a:1", "set registry.username and registry.password"),
        ("http://a:1/x?y=secret", "without \\? and #"),
    ],
)
def test_an_address_that_is_none_is_told_without_a_secret(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        check_url(url)
    assert "secret" not in str(refused.value)
